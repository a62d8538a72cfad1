"""What a VM mounts where: nothing twice, and nothing where a tmpfs would hide it from the guest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bangerbuild.declared import VM, Disk, Mount, Work
from bangerbuild.manifest.values import is_below, kept_mount, mount_target

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bangerbuild.manifest.entries import DeclaredEntry
    from bangerbuild.manifest.files import Location
    from bangerbuild.manifest.merge import MergedVM
    from bangerbuild.manifest.problems import Findings

_IN_MEMORY = {"tmpfs", "ramfs"}
_TMPFS_OF_OUR_FSTAB = {"/run": "tmpfs", "/tmp": "tmpfs"}  # noqa: S108  paths in the guest
_FSTAB = "/etc/fstab"
_DISK_FSTYPE = "ext4"


@dataclass(frozen=True)
class MountPoint:
    """A target, what is mounted there, and where that is said."""

    target: str
    fstype: str
    place: Location
    entry: Location | None = None
    """The table that says it; None for the work disk, which needs no words."""
    is_disk: bool = True
    """Whether it is one of the VM's own disks."""

    def __str__(self) -> str:
        """For a message about another place."""
        return f"in {self.entry}" if self.entry else "by the work disk"


def mount_points(entries: Sequence[DeclaredEntry], work: Work | None, vm: MergedVM) -> tuple[MountPoint, ...]:
    """Everything that a VM itself asks to mount: the work disk, the data disks, the mounts.

    Args:
        entries: all of the VM's.
        work: its work disk.
        vm: says where the work disk's mount point is said.
    """
    of_work = (MountPoint(work.mount, _DISK_FSTYPE, vm.place("work", "mount")),) if work else ()
    return (*of_work, *_of_disks(entries), *_of_mounts(entries))


def check_targets(points: Sequence[MountPoint], findings: Findings) -> None:
    """Finds two that are mounted at one target."""
    found: dict[str, MountPoint] = {}
    for point in points:
        first = found.setdefault(point.target, point)
        if first is not point:
            findings.add(point.place, f"mount target '{point.target}' is given twice, first {first}")


def check_visible(
    entries: Sequence[DeclaredEntry], points: Sequence[MountPoint], *, our_fstab: bool, findings: Findings
) -> None:
    """Finds files, and mount points of the VM's disks, that a tmpfs would hide from the guest.

    Args:
        entries: all of a VM's.
        points: its mount points; one at `/run` or `/tmp` takes the place of the default tmpfs.
        our_fstab: whether the default fstab is written, with its tmpfs on `/run` and `/tmp`.
        findings: takes the problems.
    """
    files = [entry for entry in entries if entry.key == "guest"]
    if any(entry.target == _FSTAB for entry in files):
        our_fstab = False
    mounted = dict(_TMPFS_OF_OUR_FSTAB) if our_fstab else {}
    mounted |= {point.target: point.fstype for point in points}
    for entry in files:
        if over := _tmpfs_over(entry.target, mounted):
            message = f"guest path '{entry.target}' is under {over}"
            findings.add(entry.place / "guest", message, "the guest would never see it: put it elsewhere")
    for point in points:
        others = {target: fstype for target, fstype in mounted.items() if target != point.target}
        if point.is_disk and (over := _tmpfs_over(point.target, others)):
            findings.add(point.place, f"mount point '{point.target}' is under {over}", "mount it elsewhere")


def drop_mounts(vm: MergedVM, findings: Findings) -> tuple[str, ...]:
    """The targets whose lines are removed from the image's fstab."""
    given = vm.get("drop_mounts", None)
    if given is None:
        return VM.drop_mounts
    place = vm.place("drop_mounts")
    return tuple(
        findings.attempt(place / index, mount_target, target, target) for index, target in enumerate(given)
    )


def keep_mounts(vm: MergedVM, dropped: Sequence[str], findings: Findings) -> tuple[str, ...]:
    """The targets whose lines stay although the VM does not have their device; finds those also dropped."""
    given = vm.get("keep_mounts", None)
    if given is None:
        return VM.keep_mounts
    place = vm.place("keep_mounts")
    kept = []
    for index, text in enumerate(given):
        target = findings.attempt(place / index, kept_mount, text, text)
        if target in dropped:
            said = vm.place("drop_mounts") if vm.get("drop_mounts", None) is not None else "its default"
            findings.add(
                place / index, f"'{text}' is in drop_mounts too: {said}", "leave it out of one of them"
            )
        kept.append(target)
    return tuple(kept)


def _tmpfs_over(path: str, mounted: Mapping[str, str]) -> str | None:
    """What hides a path: the tmpfs it lies on, if it does."""
    target = max((target for target in mounted if is_below(path, target)), key=len, default=None)
    if target is None or mounted[target] not in _IN_MEMORY:
        return None
    return f"the {mounted[target]} on '{target}'"


def _of_disks(entries: Sequence[DeclaredEntry]) -> Iterator[MountPoint]:
    for entry in entries:
        if isinstance(entry.value, Disk):
            yield MountPoint(entry.value.mount, _DISK_FSTYPE, entry.place / "mount", entry.place)


def _of_mounts(entries: Sequence[DeclaredEntry]) -> Iterator[MountPoint]:
    for entry in entries:
        if isinstance(entry.value, Mount):
            place = entry.place / "target"
            yield MountPoint(entry.target, entry.value.fstype, place, entry.place, is_disk=False)
