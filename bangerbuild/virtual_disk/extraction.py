"""Write the root filesystem of a virtual disk to a file of its own, with its boot partition in its /boot."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from bangerbuild.disk import checking
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.superblock import INCOMPAT_RECOVER, PUT_BACK, read_superblock
from bangerbuild.errors import SourceError
from bangerbuild.formats.limits import Budget
from bangerbuild.virtual_disk import boot_partition, table
from bangerbuild.virtual_disk.disks import SECTOR_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bangerbuild.formats.limits import UnpackLimits
    from bangerbuild.virtual_disk.content import Content
    from bangerbuild.virtual_disk.disks import VirtualDisk


class Job(Protocol):
    """What the extraction is done for."""

    @property
    def epoch(self) -> int:
        """Seconds since 1970 for what is written."""

    def progress(self, what: str, done_bytes: int, total_bytes: int | None) -> None:
        """Tell how far it is."""


def check_sizes(content: Content, disk: VirtualDisk) -> None:
    """Refuse a filesystem that can't be whole.

    Raises:
        SourceError: it says that it is larger than its partition.
        FilesystemError: the disk ends before the partition does.
    """
    partition = content.partition
    table.check_end(partition, disk)
    if content.size_bytes > partition.size_bytes:
        raise SourceError(
            f"the filesystem of partition {partition.number} of '{disk.name}' says that it has "
            f"{content.size_bytes} bytes, and its partition has {partition.size_bytes}",
            hint=PUT_BACK,
        )


@dataclass(frozen=True)
class Extraction:
    """A disk of which filesystems are copied."""

    disk: VirtualDisk
    room: Path
    """A private directory."""
    limits: UnpackLimits
    source_bytes: int
    """The size of the file that the disk is in."""
    job: Job

    def take(self, content: Content, target: Path) -> None:
        """Copy a filesystem to `target`, which must not exist, and replay its journal.

        The file has the size of the filesystem, which may be smaller than its partition.

        Raises:
            SourceError: it holds too much, or what it says of itself can't be.
            FilesystemError: it has errors, or the disk ends before it.
        """
        check_sizes(content, self.disk)
        self._copy(content, content.size_bytes, target)
        self._replay(target)

    def _copy(self, content: Content, size_bytes: int, target: Path) -> None:
        length = -(-size_bytes // SECTOR_BYTES) * SECTOR_BYTES
        self.disk.copy(
            content.partition.start,
            length,
            target,
            budget=Budget(self.limits, self.source_bytes, self.disk.name),
            progress=lambda done: self.job.progress(self.disk.name, done, length),
        )

    def _replay(self, target: Path) -> None:
        """A machine that was not shut down leaves a journal, which its own system would replay."""
        with RawFile(target) as blocks:
            blocks.name = self.disk.name
            blocks.place = self.disk.name
            found = read_superblock(blocks, writable=False, allow_unreplayed=True)
        if found.incompat & INCOMPAT_RECOVER:
            checking.replay(target, self.disk.name, self.job.epoch)

    def take_boot(self, contents: Sequence[Content], root: Content, target: Path) -> None:
        """Copy what is in the partition that the root's /boot is, if it is one, into the root.

        The VM has one disk for both, and the kernel is looked for in its /boot.

        Raises:
            SourceError, FilesystemError: as of the root.
        """
        found = boot_partition.find(contents, root, self.disk, target)
        if found is None:
            return
        copy = self.room / "boot"
        where = f"partition {found.partition.number} of {self.disk.name}"
        if found.is_fat:
            table.check_end(found.partition, self.disk)
            self._copy(found, found.partition.size_bytes, copy)
            boot_partition.merge_fat(copy, target, where, self.job.epoch)
        else:
            self.take(found, copy)
            boot_partition.merge(copy, target, where, self.job.epoch)
        copy.unlink()
