"""`vm.X.work.patch`: the keys, files and file_syncs that land on a work disk."""

from __future__ import annotations

from dataclasses import dataclass
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
class WorkPatch(DiskPatch):
    """One VM's work disk, made to hold what is declared."""

    kind: ClassVar[str] = "work-patch"
    part: ClassVar[str] = "work"

    @classmethod
    @override
    def declare(cls, manifest: Manifest) -> Iterator[Self]:
        """One for each VM that has a work disk."""
        for vm in manifest.vms.values():
            if vm.work is None:
                continue
            placement, mount = Placement.of(vm), normal(vm.work.mount)
            yield cls(
                name=vm.name,
                image=vm.image,
                place=placement.place(mount),
                authorized_keys=vm.authorized_keys if placement.lands_on(AUTHORIZED_KEYS, mount) else (),
                files=tuple(file for file in vm.files if placement.lands_on(file.guest, mount)),
                file_syncs=tuple(sync for sync in vm.file_syncs if placement.lands_on(sync.guest, mount)),
                mount_points=placement.inside(vm, mount),
            )
