"""`raw`: a disk of its own, an ext4 byte for byte; a root is a clone of its image, grown to its size."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from bangerbuild.disk import interrupted, superblock
from bangerbuild.disk.attachment import Attachment, Drive
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.formats.on_blocks import OnBlocks
from bangerbuild.disk.formats.values import SIZE_OF_DISK, SizeRule
from bangerbuild.errors import BangerError
from bangerbuild.tree import ALONE, DiskMount

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bangerbuild.disk import checking
    from bangerbuild.disk.blocks import Blocks
    from bangerbuild.disk.formats.values import Base, DiskJob, StoredDisk
    from bangerbuild.host.process import Program


class Raw(OnBlocks):
    """The format of work and data disks too, which have a label."""

    name: ClassVar[str] = "raw"
    kind: ClassVar[str] = "root-raw"
    version: ClassVar[int] = 1
    programs: ClassVar[tuple[Program, ...]] = ()
    suffix: ClassVar[str] = ".ext4"
    stands_on_base: ClassVar[bool] = False
    size: ClassVar[SizeRule] = SIZE_OF_DISK

    @property
    @override
    def tools(self) -> tuple[str, ...]:
        from bangerbuild.disk import making

        return making.TOOLS

    @override
    def recognises(self, head: bytes) -> bool:  # it has no header of its own
        """None: a raw disk is what no other format recognises."""
        return False

    @override
    def base_of(self, path: Path) -> str | None:  # it stands on none
        return None

    @override
    def attachment(self, root: str, base: str) -> Attachment:  # it stands on none
        return Attachment((Drive(root),))

    @override
    def over(self, file: Blocks, disk: StoredDisk, stack: ExitStack) -> Blocks:  # it is the ext4
        return file

    @override
    def make(self, base: Base, disk: StoredDisk, size_bytes: int | None, job: DiskJob) -> None:
        from bangerbuild.disk import making

        root_bytes = making.root_bytes(base.path, size_bytes)
        making.make_clone(base.path, disk.path, job)
        if root_bytes > base.path.stat().st_size:
            making.grow(disk.path, root_bytes, job.epoch)

    @contextmanager
    @override
    def transaction(self, disk: StoredDisk, place: DiskMount, epoch: int) -> Iterator[Filesystem]:
        """Blocks that are free may be written before the commit."""
        from bangerbuild.disk.transaction import Transaction

        with Transaction(disk.path, disk.name) as file, ExitStack() as stack:
            filesystem = self.files(file, disk, stack, writable=True, now=epoch, place=place)
            file.allow(filesystem.superblock.block_bytes, filesystem.is_unused)
            yield filesystem

    @override
    def replay(self, disk: StoredDisk, job: DiskJob) -> None:
        """Let e2fsck replay the disk itself."""
        from bangerbuild.disk import unreplayed

        with RawFile(disk.path) as blocks:
            blocks.name = disk.name
            if not unreplayed.is_replayed(blocks):
                unreplayed.run_e2fsck(disk.path, blocks, job.epoch)

    @override
    def grow(self, disk: StoredDisk, size_bytes: int | None, job: DiskJob, *, label: str = "") -> None:
        """Grow the disk; with a label, the filesystem gets that."""
        from bangerbuild.disk import making

        with job.in_place(disk.name) as path:
            making.refuse_to_shrink(disk.name, path.stat().st_size, size_bytes)
            self.replay(disk, job)
            with RawFile(path) as blocks:
                blocks.name = disk.name
                with Filesystem(blocks, now=job.epoch) as filesystem:  # says what is wrong with it
                    relabel = label not in {"", filesystem.superblock.label}
            if relabel:
                with self.transaction(disk, ALONE, job.epoch) as filesystem:
                    filesystem.set_label(label)
            wanted_bytes = size_bytes or 0
            growth = wanted_bytes > path.stat().st_size
        if growth:
            _grow(disk.name, wanted_bytes, job)

    @override
    def check(self, disk: StoredDisk, room: checking.CheckRoom) -> checking.Readable:
        """Nothing is copied of a disk that is in order."""
        from bangerbuild.disk import checking, clone

        copy = room.directory / disk.path.name
        if interrupted.is_half_patched(disk.path) or interrupted.is_half_grown(disk.path):
            _copy_mended(disk, copy)
        elif _is_in_order(disk.path, disk.name, place=disk.path):
            return checking.Readable(disk, disk.path)
        else:
            clone.clone(disk.path, copy)
        if not _is_in_order(copy, disk.name, place=disk.path):
            checking.replay(copy, disk.name, room.epoch)
        return checking.Readable(disk, copy)


def _grow(name: str, size_bytes: int, job: DiskJob) -> None:
    """In a copy that shares its blocks with the disk; else where it lies.

    But `resize2fs -z` leaves a filesystem with blocks below 4 KiB in disorder (e2fsprogs 1.47.0: "Resize
    inode not valid"), so such a one, which is small as a rule, is copied whatever that takes.
    """
    from bangerbuild.disk import growing, making, tools

    with RawFile(job.path(name)) as file:
        blocks = superblock.read_superblock(file, writable=True)
    copy = job.copy(name, sharing=blocks.block_bytes >= tools.BLOCK_BYTES)
    if copy is not None:
        making.grow(copy, size_bytes, job.epoch)
        return
    with job.in_place(name) as path:
        growing.grow(path, name, size_bytes, epoch=job.epoch)


def _copy_mended(disk: StoredDisk, copy: Path) -> None:
    """A copy of a disk on which the change that was interrupted is finished or undone."""
    from bangerbuild.disk import checking, clone

    for file in (disk.path, *(file for file in interrupted.leftovers(disk.path) if file.exists())):
        clone.clone(file, copy.with_name(file.name))
    try:
        interrupted.mend(copy, disk.name)
    except BangerError as err:
        raise checking.told_of(err, copy, disk) from err


def _is_in_order(path: Path, name: str, *, place: Path) -> bool:
    """Whether a raw file needs no replay; `place` is the file that messages speak of."""
    from bangerbuild.disk import checking

    with RawFile(path) as blocks:
        blocks.name, blocks.place = name, str(place)
        return checking.is_in_order(blocks)
