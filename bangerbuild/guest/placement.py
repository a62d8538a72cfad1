"""Which of a VM's disks a guest path lands on: the one whose mount point is its longest prefix."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bangerbuild.declared import Mount
from bangerbuild.guest.paths import normal
from bangerbuild.tree import DiskMount

if TYPE_CHECKING:
    from bangerbuild.declared import VM

ROOT = "/"


@dataclass(frozen=True)
class Placement:
    """The mount points of a VM's disks but the root's, by label: the work disk first, then data disks."""

    mount_points: dict[str, str]

    @classmethod
    def of(cls, vm: VM) -> Placement:
        """As the VM is declared."""
        work = {WORK_LABEL: normal(vm.work.mount)} if vm.work else {}
        return cls(work | {disk.name: normal(disk.mount) for disk in vm.disks})

    def lands_on(self, path: str, mount_point: str) -> bool:
        """Whether a guest path lands on the disk mounted there."""
        path = normal(path)
        prefixes = [
            point for point in self.mount_points.values() if path == point or path.startswith(f"{point}/")
        ]
        return max(prefixes, key=len, default=ROOT) == mount_point

    def inside(self, vm: VM, mount_point: str) -> tuple[str, ...]:
        """Where other filesystems are mounted in that disk, so that it has to have directories there."""
        targets = {*self.mount_points.values(), *(normal(mount.target) for mount in vm.mounts)}
        held = sorted(target for target in targets - {mount_point} if target.startswith("/"))
        return tuple(target for target in held if self.lands_on(posixpath.dirname(target), mount_point))

    def place(self, mount_point: str) -> DiskMount:
        """What a path on the disk mounted there has to keep to."""
        return DiskMount(mount_point, frozenset(self.mount_points.values()) - {mount_point})

    def fstab(self) -> tuple[Mount, ...]:
        """A line for each disk, by label as device letters shift; one that holds another goes first."""
        by_depth = sorted(self.mount_points.items(), key=lambda point: point[1].count("/"))
        return tuple(
            Mount(f"LABEL={label}", target, "ext4", ("defaults",), dump=0, fsck_pass=2)
            for label, target in by_depth
        )


WORK_LABEL = "work"
