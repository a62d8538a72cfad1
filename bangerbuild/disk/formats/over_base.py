"""What formats share that keep only what differs from a base image, as `OverlayStore` reads and writes it."""

from __future__ import annotations

import os
from abc import abstractmethod
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, ClassVar, TypeVar, cast

from typing_extensions import override

from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.formats.on_blocks import OnBlocks
from bangerbuild.errors import FilesystemError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from bangerbuild.disk import checking
    from bangerbuild.disk.base import ParsedBase
    from bangerbuild.disk.blocks import Blocks
    from bangerbuild.disk.formats.values import Base, DiskJob, StoredDisk
    from bangerbuild.disk.layers import Layers, Written
    from bangerbuild.disk.overlay import OverlayStore
    from bangerbuild.tree import DiskMount

S = TypeVar("S")
W = TypeVar("W")


class OverBase(OnBlocks):
    """A format whose disks are of no use without their image."""

    stands_on_base: ClassVar[bool] = True

    @property
    @abstractmethod
    def store(self) -> type[OverlayStore]:
        """How such a file is read and written."""

    @abstractmethod
    def starting(self, disk: StoredDisk, job: DiskJob) -> AbstractContextManager[ParsedBase]:
        """What a new disk holds before anything is written into it, parsed once for all that start alike."""

    @override
    def over(self, file: Blocks, disk: StoredDisk, stack: ExitStack) -> Blocks:
        base = base_of(disk)
        return self.store(stack.enter_context(RawFile(base.path)), file, base_name=base.name)

    @override
    def unused(self, blocks: Blocks) -> tuple[int, Callable[[int], bool]]:
        """What no chunk of the disk lies in."""
        store = cast("OverlayStore", blocks)
        return store.chunk_bytes, store.is_unused

    @override
    def put_together(self, blocks: Blocks, disk: StoredDisk, target: Path) -> None:
        """The base may be cloned."""
        merge(cast("OverlayStore", blocks), base_of(disk).path, target)

    @override
    def fill(self, disk: StoredDisk, content: Layers[S, W], place: DiskMount, job: DiskJob) -> Written[S, W]:
        """Write what several roots of one image get alike once for all."""
        from bangerbuild.disk import deduplication, layers

        if content.shared_bytes > deduplication.MOST_BYTES:
            with self.opened_to_write(disk, place, job) as filesystem:
                return layers.write(filesystem, content)
        with self.starting(disk, job) as parsed:
            new = deduplication.NewStore(self.store, disk, base_of(disk), parsed, place)
            return deduplication.fill(new, content, job)

    @contextmanager
    @override
    def opened_to_write(self, disk: StoredDisk, place: DiskMount, job: DiskJob) -> Iterator[Filesystem]:
        """The base is parsed once for all jobs of a run."""
        with ExitStack() as stack:
            parsed = stack.enter_context(self.starting(disk, job))
            file = stack.enter_context(RawFile(disk.path, writable=True, durable=False))
            store = self.store(parsed.base, file, durable=False)
            store.name = disk.name
            if parsed.chunks and not store.changed_count:
                store.start_with(parsed.chunks)
            with Filesystem(store, writable=True, now=job.epoch, place=place, parsed=parsed) as filesystem:
                yield filesystem

    @override
    def check(self, disk: StoredDisk, room: checking.CheckRoom) -> checking.Readable:
        """Of a disk that is in order e2fsck gets its base's metadata and its own chunks."""
        from bangerbuild.disk import checking

        copy, base = room.directory / disk.path.name, base_of(disk).path
        with self._mended(disk) as blocks:
            is_in_order = checking.is_in_order(blocks)
            skeleton = room.skeletons.of(base) if is_in_order else base
            merge(cast("OverlayStore", blocks), skeleton, copy)
        if not is_in_order:
            checking.replay(copy, disk.name, room.epoch)
        if skeleton == base:
            return checking.Readable(disk, copy)
        return checking.Readable(disk, copy, lambda place: self.opened(disk, epoch=room.epoch, place=place))


def base_of(disk: StoredDisk) -> Base:
    """The image that a disk stands on.

    Raises:
        FilesystemError: nobody knows which.
    """
    if disk.base is None:
        raise FilesystemError(f"it is not known which image '{disk.name}' stands on")
    return disk.base


def merge(store: OverlayStore, base: Path, target: Path) -> None:
    """Make a raw file of a disk: of its base, or of the base's metadata alone, and its own chunks."""
    from bangerbuild.disk import clone, merging

    clone.clone(base, target)
    if store.size_bytes != target.stat().st_size:
        os.truncate(target, store.size_bytes)
    merging.put_chunks(store.changed_chunks(), store.chunk_bytes, target)
