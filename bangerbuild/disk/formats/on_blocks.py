"""What formats share that keep one ext4 in one file, behind a mapping of their own.

Such a format says how the ext4's bytes are found in the file, see `over`. All else follows from that, and a
format replaces what it can do with less work.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, TypeVar

from typing_extensions import override

from bangerbuild.disk import interrupted
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.formats.format import DiskFormat
from bangerbuild.disk.journal import through_journal
from bangerbuild.disk.superblock import mend_hint, read_superblock
from bangerbuild.errors import FilesystemError, JournalError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bangerbuild.disk import checking
    from bangerbuild.disk.blocks import Blocks
    from bangerbuild.disk.formats.values import DiskJob, StoredDisk
    from bangerbuild.disk.layers import Layers, Written
    from bangerbuild.disk.opened import OpenedDisk
    from bangerbuild.tree import DiskMount

S = TypeVar("S")
W = TypeVar("W")


class OnBlocks(DiskFormat, ABC):
    """A format whose disks are one ext4 behind a `Blocks`."""

    @abstractmethod
    def over(self, file: Blocks, disk: StoredDisk, stack: ExitStack) -> Blocks:
        """The ext4 that a file holds.

        Args:
            file: the disk's file, open; perhaps as it will be once an interrupted change of it is mended.
            disk: what it is called, and its base.
            stack: closes what is opened beside it.
        """

    def files(  # noqa: PLR0913 - independent choices, each by its name
        self,
        blocks: Blocks,
        disk: StoredDisk,  # noqa: ARG002  # what stands on a base may need it
        stack: ExitStack,
        *,
        writable: bool = False,
        now: int,
        allow_unclean: bool = False,
        place: DiskMount,
    ) -> Filesystem:
        """The files on the ext4, see `Filesystem`; `stack` closes them."""
        return stack.enter_context(
            Filesystem(blocks, writable=writable, now=now, allow_unclean=allow_unclean, place=place)
        )

    def unused(self, blocks: Blocks) -> tuple[int, Callable[[int], bool]] | None:  # noqa: ARG002  # by default nothing is known
        """Which chunks of the file nothing refers to, so that a transaction may write them before it commits.

        Their size in bytes, and whether the one of a number is such; None: that is not known.
        """
        return None

    def put_together(self, blocks: Blocks, disk: StoredDisk, target: Path) -> None:  # noqa: ARG002  # a base may help
        """Write the whole ext4 into a new raw file."""
        from bangerbuild.disk import merging

        merging.copy(blocks, target)

    @override
    def size_of(self, path: Path) -> int:
        """The file's own."""
        return path.stat().st_size

    @contextmanager
    @override
    def opened(
        self,
        disk: StoredDisk,
        *,
        epoch: int,
        place: DiskMount,
        warn: Callable[[str], None] | None = None,
    ) -> Iterator[OpenedDisk]:
        with self._mended(disk) as blocks, ExitStack() as stack:
            journaled = _through_journal(blocks, warn)
            yield self.files(journaled, disk, stack, now=epoch, allow_unclean=True, place=place)

    @contextmanager
    def _mended(self, disk: StoredDisk) -> Iterator[Blocks]:
        """The ext4 as it will be once an interrupted change is mended, to be read."""
        with ExitStack() as stack:
            file = stack.enter_context(interrupted.open_recovered(disk.path, disk.name))
            yield self._named(file, disk, stack)

    def _named(self, file: Blocks, disk: StoredDisk, stack: ExitStack) -> Blocks:
        blocks = self.over(file, disk, stack)
        blocks.name = disk.name  # what a user knows it by, which may not be its place
        return blocks

    @contextmanager
    @override
    def opened_to_write(self, disk: StoredDisk, place: DiskMount, job: DiskJob) -> Iterator[OpenedDisk]:
        with ExitStack() as stack:
            file = stack.enter_context(RawFile(disk.path, writable=True, durable=False))
            blocks = self._named(file, disk, stack)
            yield self.files(blocks, disk, stack, writable=True, now=job.epoch, place=place)

    @override
    def fill(self, disk: StoredDisk, content: Layers[S, W], place: DiskMount, job: DiskJob) -> Written[S, W]:
        """Nothing is shared."""
        from bangerbuild.disk import layers

        with self.opened_to_write(disk, place, job) as filesystem:
            return layers.write(filesystem, content)

    @contextmanager
    @override
    def transaction(self, disk: StoredDisk, place: DiskMount, epoch: int) -> Iterator[OpenedDisk]:
        with self.changed(disk) as blocks, ExitStack() as stack:
            yield self.files(blocks, disk, stack, writable=True, now=epoch, place=place)

    @contextmanager
    def changed(self, disk: StoredDisk) -> Iterator[Blocks]:
        """The ext4 on a disk where it lies, in one transaction that its `flush` commits."""
        from bangerbuild.disk.transaction import Transaction

        with ExitStack() as stack:
            file = stack.enter_context(Transaction(disk.path, disk.name))
            blocks = self._named(file, disk, stack)
            if unused := self.unused(blocks):
                file.allow(*unused)
            yield blocks

    @override
    def replay(self, disk: StoredDisk, job: DiskJob) -> None:
        """Let e2fsck replay a copy, as it reads raw disks only; what changed there is copied back."""
        from bangerbuild.disk import merging, unreplayed

        copy = job.staging / "merged.ext4"
        with ExitStack() as stack:
            file = stack.enter_context(RawFile(disk.path))
            file.name = disk.name
            blocks = self._named(file, disk, stack)
            if unreplayed.is_replayed(blocks):
                return
            self.put_together(blocks, disk, copy)
            unreplayed.run_e2fsck(copy, blocks, job.epoch)
        with RawFile(copy) as replayed, self.changed(disk) as blocks:
            merging.copy_differences(replayed, blocks)
            blocks.flush()
        copy.unlink()

    @override
    def inspect(self, disk: StoredDisk, epoch: int) -> None:
        with self._mended(disk) as blocks:
            read_superblock(blocks, writable=True, allow_unreplayed=True)
            Filesystem(blocks, now=epoch, allow_unclean=True).abandon()

    @override
    def check(self, disk: StoredDisk, room: checking.CheckRoom) -> checking.Readable:
        """Make a copy, as e2fsck reads raw disks only."""
        from bangerbuild.disk import checking

        copy = room.directory / disk.path.name
        with self._mended(disk) as blocks:
            is_in_order = checking.is_in_order(blocks)
            self.put_together(blocks, disk, copy)
        if not is_in_order:
            checking.replay(copy, disk.name, room.epoch)
        return checking.Readable(disk, copy)


def _through_journal(blocks: Blocks, warn: Callable[[str], None] | None) -> Blocks:
    """The disk as it will be once its journal is replayed; with `warn`, as it stands where nobody knows."""
    try:
        return through_journal(blocks)
    except FilesystemError as err:
        if warn is None:
            if isinstance(err, JournalError):
                err.hint = mend_hint(blocks)
            raise
        warn(f"{err.brief}: what is read here may be old")
        return blocks
