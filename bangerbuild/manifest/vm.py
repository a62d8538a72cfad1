"""`[vm.NAME]`: the typed VM of its merged keys and entries, each value checked on the way."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

from bangerbuild.declared import VM, Disk, FileSync, GuestDefaults, InlineFile, Mount
from bangerbuild.manifest import templates
from bangerbuild.manifest.disks import root, work
from bangerbuild.manifest.entries import level, overridden
from bangerbuild.manifest.files import Location, ManifestFile, Table
from bangerbuild.manifest.keys import public_keys
from bangerbuild.manifest.members import OF_HOSTNAME, OF_NETWORK, OTHERS, basics
from bangerbuild.manifest.merge import Layer, defaults_of
from bangerbuild.manifest.mounts import (
    check_targets,
    check_visible,
    drop_mounts,
    keep_mounts,
    mount_points,
)
from bangerbuild.manifest.network import network
from bangerbuild.manifest.problems import Findings, InvalidValueError
from bangerbuild.manifest.toml_lines import dotted
from bangerbuild.manifest.values import default_hostname, hostname, memory_size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from bangerbuild.declared import Image, Network, SharedNetwork
    from bangerbuild.manifest.entries import DeclaredEntry
    from bangerbuild.manifest.merge import MergedVM

T = TypeVar("T")

_MAX_LINUX_HOSTNAME = 64  # HOST_NAME_MAX of linux/limits.h
_MAX_FIRECRACKER_VCPUS = 32


@dataclass(frozen=True)
class Surroundings:
    """What VMs are built from, of all files."""

    images: Mapping[str, Image]
    networks: Mapping[str, SharedNetwork]
    variables: Mapping[ManifestFile, Mapping[str, Any]]
    addresses: Mapping[str, Any]
    """Of all VMs that have one, by name; `templates.told()` of those that should."""


class VMs:
    """Builds the VMs of one file; what they share is read and checked once."""

    def __init__(self, document: ManifestFile, surroundings: Surroundings, findings: Findings) -> None:
        self._around = surroundings
        self._findings = findings
        everything = Layer(Location(document), document.tree)
        self._shared = level((everything, defaults_of(document)), findings)
        self._levels: dict[int, tuple[DeclaredEntry, ...]] = {}
        self._values: dict[object, object] = {}
        self._keys: dict[tuple[str, Path], tuple[str, ...] | InvalidValueError] = {}

    def build(self, vm: MergedVM) -> VM:
        """One VM; with problems in the findings, one that must not be used."""
        known = basics(vm, self._around.variables)
        known |= {"vms": self._around.addresses, "image": vm.get("image", "")}
        known |= _of_address(vm.table("network"), self._around.networks)
        vm.render(OF_NETWORK, known)
        net = network(vm, self._around.networks, self._findings)
        known |= _of_network(net, vm.table("network"))
        vm.render(OF_HOSTNAME, known)
        known["hostname"] = name = self._hostname(vm)
        vm.render(OTHERS, known)
        variables = self._around.variables
        entries = tuple(entry.filled(known, variables, self._findings) for entry in self._entries(vm))
        return self._built(vm, name, net, entries)

    def _entries(self, vm: MergedVM) -> tuple[DeclaredEntry, ...]:
        """All arrays of tables; each layer wins over those below it."""
        found = self._shared
        for layer in vm.entry_layers:
            found = overridden(found, self._level(layer))
        return found

    def _level(self, layer: Layer) -> tuple[DeclaredEntry, ...]:
        """The entries of a layer, which is often one for all members of a fleet."""
        key = id(layer.table)
        if key not in self._levels:
            found = level((layer,), self._findings)
            if not layer.is_shared:
                return found
            self._levels[key] = found
        return self._levels[key]

    def _built(self, vm: MergedVM, hostname: str, network: Network, entries: Sequence[DeclaredEntry]) -> VM:
        image = self._around.images.get(vm.get("image", ""))
        guest = self._one(GuestDefaults(**vm.table("guest")))
        work_disk = self._one(work(vm, image, self._findings))
        points = mount_points(entries, work_disk, vm)
        check_targets(points, self._findings)
        check_visible(entries, points, our_fstab=guest.fstab, findings=self._findings)
        values = [entry.value for entry in entries]
        dropped = drop_mounts(vm, self._findings)
        return VM(
            name=vm.name,
            image=vm.get("image", ""),
            hostname=hostname,
            vcpus=self._vcpus(vm),
            memory_bytes=self._memory(vm),
            authorized_keys=self._one(self._authorized_keys(vm)),
            drop_mounts=dropped,
            keep_mounts=keep_mounts(vm, dropped, self._findings),
            root=self._one(root(vm, image, self._findings)),
            work=work_disk,
            disks=tuple(value for value in values if isinstance(value, Disk)),
            guest=guest,
            network=network if network.address else self._one(network),
            files=tuple(value for value in values if isinstance(value, InlineFile)),
            file_syncs=tuple(value for value in values if isinstance(value, FileSync)),
            mounts=tuple(value for value in values if isinstance(value, Mount)),
            renamed_from=vm.renamed_from,
        )

    def _one(self, value: T) -> T:
        """One object for all equal values: most VMs are alike in most of what they declare."""
        return cast("T", self._values.setdefault(value, value))

    def _hostname(self, vm: MergedVM) -> str:
        place = partial(vm.place, "hostname")
        given: str | None = vm.get("hostname", None)
        if given is None:
            name = self._findings.attempt(place, default_hostname, vm.name, vm.name)
        else:
            name = self._findings.attempt(place, hostname, given, vm.name)
        if len(name) > _MAX_LINUX_HOSTNAME:
            self._findings.warnings.append(
                f"vm.{vm.name}: its host name is {len(name)} characters long, and Linux takes no more than 64"
            )
        return name

    def _vcpus(self, vm: MergedVM) -> int:
        vcpus: int = vm.get("vcpus", VM.vcpus)
        if vcpus > _MAX_FIRECRACKER_VCPUS:
            key = dotted(vm.place("vcpus").key)
            self._findings.warnings.append(f"{key} is {vcpus}, and Firecracker takes at most 32")
        return vcpus

    def _memory(self, vm: MergedVM) -> int:
        given = vm.get("memory", None)
        if given is None:
            return VM.memory_bytes
        return self._findings.attempt(partial(vm.place, "memory"), memory_size, given, VM.memory_bytes)

    def _authorized_keys(self, vm: MergedVM) -> tuple[str, ...]:
        given = vm.get("ssh_authorized_keys", ())
        if not given:
            return ()
        place = vm.place("ssh_authorized_keys")
        read = partial(self._public_keys, directory=place.document.path.parent)
        found: list[str] = []
        for index, text in enumerate(given):
            found += self._findings.attempt(place / index, read, text, ())
        return tuple(found)

    def _public_keys(self, text: str, directory: Path) -> tuple[str, ...]:
        """Reads a key file once however many VMs name it."""
        named = text, directory
        if named not in self._keys:
            try:
                self._keys[named] = public_keys(text, directory)
            except InvalidValueError as err:
                self._keys[named] = err
        keys = self._keys[named]
        if isinstance(keys, InvalidValueError):
            raise keys
        return keys


_OF_ADDRESS = ("address", "prefix", "gateway", "mac")
"""What templates know of a VM that has an address."""


def _of_address(table: Table, networks: Mapping[str, SharedNetwork]) -> dict[str, Any]:
    """What templates know of a VM's address before it is checked."""
    if "address" not in table:
        return dict.fromkeys(_OF_ADDRESS, templates.told()) if "name" in table else {}
    shared = networks.get(table.get("name", ""))
    address, _, prefix = str(table["address"]).partition("/")
    prefix = prefix or (shared.subnet.partition("/")[2] if shared else "")
    return {"address": address, **({"prefix": int(prefix)} if prefix.isascii() and prefix.isdigit() else {})}


def _of_network(network: Network, table: Table) -> dict[str, Any]:
    """What templates know of a VM's network; what it does not have is undefined."""
    if network.address is None and "address" in table:  # it is none
        return dict.fromkeys(("gateway", "mac"), templates.told())
    given = {"gateway": network.gateway, "mac": network.mac}
    return {key: value for key, value in given.items() if value is not None}
