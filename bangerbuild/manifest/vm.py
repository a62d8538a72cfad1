"""`[vm.NAME]`: the typed VM of its merged keys and entries, each value checked on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild.declared import VM, Disk, FileSync, GuestDefaults, InlineFile, Mount
from bangerbuild.manifest.disks import root, work
from bangerbuild.manifest.entries import level, overridden
from bangerbuild.manifest.files import Location, ManifestFile
from bangerbuild.manifest.keys import public_keys
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
    from collections.abc import Mapping
    from pathlib import Path

    from bangerbuild.declared import Image, SharedNetwork
    from bangerbuild.manifest.merge import MergedVM

_MAX_LINUX_HOSTNAME = 64  # HOST_NAME_MAX of linux/limits.h
_MAX_FIRECRACKER_VCPUS = 32


class VMs:
    """Builds the VMs of one file; what they share is read and checked once."""

    def __init__(
        self,
        document: ManifestFile,
        images: Mapping[str, Image],
        networks: Mapping[str, SharedNetwork],
        findings: Findings,
    ) -> None:
        self._directory: Path = document.path.parent
        self._images = images
        self._networks = networks
        self._findings = findings
        self._shared = level((Location(document), Location(document, ("defaults",))), findings)
        self._keys: dict[str, tuple[str, ...] | InvalidValueError] = {}

    def build(self, vm: MergedVM) -> VM:
        """One VM; with problems in the findings, one that must not be used."""
        image = self._images.get(vm.get("image", ""))
        entries = overridden(self._shared, level((vm.own,), self._findings))
        guest = GuestDefaults(**vm.table("guest"))
        work_disk = work(vm, image, self._findings)
        points = mount_points(entries, work_disk, vm.place("work", "mount"))
        check_targets(points, self._findings)
        check_visible(entries, points, our_fstab=guest.fstab, findings=self._findings)
        values = [entry.value for entry in entries]
        dropped = drop_mounts(vm, self._findings)
        return VM(
            name=vm.name,
            image=vm.get("image", ""),
            hostname=self._hostname(vm),
            vcpus=self._vcpus(vm),
            memory_bytes=self._memory(vm),
            authorized_keys=self._authorized_keys(vm),
            drop_mounts=dropped,
            keep_mounts=keep_mounts(vm, dropped, self._findings),
            root=root(vm, image, self._findings),
            work=work_disk,
            disks=tuple(value for value in values if isinstance(value, Disk)),
            guest=guest,
            network=network(vm, self._networks, self._findings),
            files=tuple(value for value in values if isinstance(value, InlineFile)),
            file_syncs=tuple(value for value in values if isinstance(value, FileSync)),
            mounts=tuple(value for value in values if isinstance(value, Mount)),
        )

    def _hostname(self, vm: MergedVM) -> str:
        place = vm.place("hostname")
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
        given = vm.get("memory", VM.memory_bytes)
        return self._findings.attempt(vm.place("memory"), memory_size, given, VM.memory_bytes)

    def _authorized_keys(self, vm: MergedVM) -> tuple[str, ...]:
        place = vm.place("ssh_authorized_keys")
        found: list[str] = []
        for index, text in enumerate(vm.get("ssh_authorized_keys", ())):
            found += self._findings.attempt(place / index, self._public_keys, text, ())
        return tuple(found)

    def _public_keys(self, text: str) -> tuple[str, ...]:
        """Reads a key file once however many VMs name it."""
        if text not in self._keys:
            try:
                self._keys[text] = public_keys(text, self._directory)
            except InvalidValueError as err:
                self._keys[text] = err
        keys = self._keys[text]
        if isinstance(keys, InvalidValueError):
            raise keys
        return keys
