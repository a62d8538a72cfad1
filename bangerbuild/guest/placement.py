"""Find the disk of a VM that a guest path is on: the one whose mount point is the longest prefix."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from bangerbuild.declared import WORK_LABEL, Mount
from bangerbuild.guest.paths import normal
from bangerbuild.tree import DiskMount

if TYPE_CHECKING:
    from bangerbuild.declared import VM, Disk, Work

ROOT = "/"
_MOST = 1024
"""As many are kept, for the VMs that are alike in what they mount."""


@dataclass(frozen=True)
class Placement:
    """The mount points of a VM's disks without the root, by label: the work disk, then data disks."""

    mount_points: dict[str, str]

    @classmethod
    def of(cls, vm: VM) -> Placement:
        """The placement for a declared VM."""
        return _placement(vm.work, vm.disks)

    def lands_on(self, path: str, mount_point: str) -> bool:
        """Whether a guest path is on the disk mounted at `mount_point`."""
        path = normal(path)
        prefixes = [
            point for point in self.mount_points.values() if path == point or path.startswith(f"{point}/")
        ]
        return max(prefixes, key=len, default=ROOT) == mount_point

    def inside(self, vm: VM, mount_point: str) -> tuple[str, ...]:
        """The mount points of other filesystems on this disk, at which it must have directories."""
        targets = {*self.mount_points.values(), *(normal(mount.target) for mount in vm.mounts)}
        held = sorted(target for target in targets - {mount_point} if target.startswith("/"))
        return tuple(target for target in held if self.lands_on(posixpath.dirname(target), mount_point))

    def place(self, mount_point: str, hidden: frozenset[str] = frozenset()) -> DiskMount:
        """The DiskMount of the disk mounted at `mount_point`, for resolving paths on it."""
        return _disk_mount(mount_point, frozenset(self.mount_points.values()) - {mount_point}, hidden)

    def fstab(self) -> tuple[Mount, ...]:
        """A mount for each disk, by label because device letters change; outer mount points come first."""
        return _fstab(tuple(self.mount_points.items()))


@lru_cache(_MOST)
def _placement(work: Work | None, disks: tuple[Disk, ...]) -> Placement:
    labelled = {WORK_LABEL: normal(work.mount)} if work else {}
    return Placement(labelled | {disk.name: normal(disk.mount) for disk in disks})


@lru_cache(_MOST)
def _disk_mount(mount_point: str, others: frozenset[str], hidden: frozenset[str]) -> DiskMount:
    return DiskMount(mount_point, others, hidden)


@lru_cache(_MOST)
def _fstab(mount_points: tuple[tuple[str, str], ...]) -> tuple[Mount, ...]:
    by_depth = sorted(mount_points, key=lambda point: point[1].count("/"))
    return tuple(
        Mount(f"LABEL={label}", target, "ext4", ("defaults",), dump=0, fsck_pass=2)
        for label, target in by_depth
    )
