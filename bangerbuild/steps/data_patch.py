"""`vm.X.disk.NAME.patch`: the files and file_syncs that land on a data disk."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Self

from typing_extensions import override

from bangerbuild.guest.paths import normal
from bangerbuild.guest.placement import Placement
from bangerbuild.guest.sshd import AUTHORIZED_KEYS
from bangerbuild.steps.disk_patch import DiskPatch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.declared import Manifest


@dataclass(frozen=True, kw_only=True)
class DataPatch(DiskPatch):
    """One data disk, made to hold what is declared."""

    kind: ClassVar[str] = "data-patch"

    disk: str = field(metadata={"recipe": False})

    @classmethod
    @override
    def declare(cls, manifest: Manifest) -> Iterator[Self]:
        """One for each data disk of each VM."""
        for vm in manifest.vms.values():
            placement = Placement.of(vm)
            for disk in vm.disks:
                mount = normal(disk.mount)
                yield cls(
                    name=vm.name,
                    image=vm.image,
                    place=placement.place(mount),
                    disk=disk.name,
                    authorized_keys=vm.authorized_keys if placement.lands_on(AUTHORIZED_KEYS, mount) else (),
                    files=tuple(file for file in vm.files if placement.lands_on(file.guest, mount)),
                    file_syncs=tuple(sync for sync in vm.file_syncs if placement.lands_on(sync.guest, mount)),
                    mount_points=placement.inside(vm, mount),
                )

    @property
    @override
    def part(self) -> str:
        return f"disk.{self.disk}"
