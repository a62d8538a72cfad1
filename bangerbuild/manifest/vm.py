"""`[vm.NAME]`: the typed VM of its merged keys and entries, each value checked on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild.manifest.entries import check_visible, level, overridden
from bangerbuild.manifest.keys import public_keys
from bangerbuild.manifest.network import network
from bangerbuild.manifest.problems import Findings, UnfitError
from bangerbuild.manifest.source import Document, Place
from bangerbuild.manifest.values import default_hostname, hostname, memory_size, mount_target, store_capacity
from bangerbuild.spec import VM, FileSync, GuestDefaults, InlineFile, Mount, Root

if TYPE_CHECKING:
    from pathlib import Path

    from bangerbuild.manifest.merge import MergedVM

_MAX_LINUX_HOSTNAME = 64  # HOST_NAME_MAX of linux/limits.h


class VMs:
    """Builds the VMs of one file; what they share is read and checked once."""

    def __init__(self, document: Document, findings: Findings) -> None:
        self._directory: Path = document.path.parent
        self._findings = findings
        self._shared = level((Place(document), Place(document, ("defaults",))), findings)
        self._keys: dict[str, tuple[str, ...] | UnfitError] = {}

    def build(self, vm: MergedVM) -> VM:
        """One VM; with problems in the findings, one that must not be used."""
        entries = overridden(self._shared, level((vm.own,), self._findings))
        guest = GuestDefaults(**vm.table("guest"))
        check_visible(entries, our_fstab=guest.fstab, findings=self._findings)
        values = [entry.value for entry in entries]
        return VM(
            name=vm.name,
            image=vm.get("image", ""),
            hostname=self._hostname(vm),
            vcpus=vm.get("vcpus", VM.vcpus),
            memory_bytes=self._memory(vm),
            authorized_keys=self._authorized_keys(vm),
            drop_mounts=self._drop_mounts(vm),
            root=self._root(vm),
            guest=guest,
            network=network(vm, self._findings),
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

    def _memory(self, vm: MergedVM) -> int:
        given = vm.get("memory", VM.memory_bytes)
        return self._findings.attempt(vm.place("memory"), memory_size, given, VM.memory_bytes)

    def _root(self, vm: MergedVM) -> Root:
        table = vm.table("root")
        capacity = None
        if "size" in table:
            place = vm.place("root", "size")
            capacity = self._findings.attempt(place, store_capacity, table["size"], None)
        return Root("snapshot", capacity, table.get("on_new_base", Root.on_new_base))

    def _drop_mounts(self, vm: MergedVM) -> tuple[str, ...]:
        place = vm.place("drop_mounts")
        return tuple(
            self._findings.attempt(place / index, mount_target, target, target)
            for index, target in enumerate(vm.get("drop_mounts", VM.drop_mounts))
        )

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
            except UnfitError as err:
                self._keys[text] = err
        keys = self._keys[text]
        if isinstance(keys, UnfitError):
            raise keys
        return keys
