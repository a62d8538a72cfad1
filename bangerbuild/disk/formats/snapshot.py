"""`snapshot`: a dm-snapshot exception store over the shared image, which holds only what differs from it."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar, TypeVar, cast

from typing_extensions import override

from bangerbuild.disk import (
    checking,
    clone,
    deduplication,
    durable,
    interrupted,
    making,
    merging,
    overlay,
    snapshot,
)
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.formats import snapshot_device
from bangerbuild.disk.formats.on_blocks import OnBlocks
from bangerbuild.disk.formats.values import ATTACHED_ROOT, Attachment, Drive, SizeRule
from bangerbuild.disk.overlay import SnapshotStore
from bangerbuild.errors import FilesystemError, OtherBaseError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import ExitStack
    from pathlib import Path

    from bangerbuild.disk.blocks import Blocks
    from bangerbuild.disk.formats.values import Base, DiskJob, StoredDisk
    from bangerbuild.disk.layers import Layers, Written
    from bangerbuild.host.process import Program
    from bangerbuild.tree import DiskMount

S = TypeVar("S")
W = TypeVar("W")


class Snapshot(OnBlocks):
    """A root is a store of the chunks that differ from its image."""

    name: ClassVar[str] = "snapshot"
    kind: ClassVar[str] = "root-overlay"
    version: ClassVar[int] = 2
    tools: ClassVar[tuple[str, ...]] = ()
    programs: ClassVar[tuple[Program, ...]] = snapshot_device.PROGRAMS
    suffix: ClassVar[str] = ".cow"
    stands_on_base: ClassVar[bool] = True
    size: ClassVar[SizeRule] = SizeRule(
        least_bytes=1 << 20,
        too_small="too small a store for its own metadata and a patch",
        hint="give at least 1MiB, or leave size out for room for every block of the image",
        is_whole_blocks=False,
        is_of_clone=False,
    )

    @override
    def recognises(self, head: bytes) -> bool:
        return snapshot.has_magic(head)

    @override
    def attachment(self, root: str, base: str) -> Attachment:
        """No VMM knows such stores, so the kernel's device is made of it."""
        setup = snapshot_device.setup(root, base)
        return Attachment((Drive(ATTACHED_ROOT),), "a snapshot of its image", setup)

    @override
    def over(self, file: Blocks, disk: StoredDisk, stack: ExitStack) -> Blocks:
        base = base_of(disk)
        return SnapshotStore(stack.enter_context(RawFile(base.path)), file, base_name=base.name)

    @override
    def unused(self, blocks: Blocks) -> tuple[int, Callable[[int], bool]]:
        """What no exception refers to."""
        store = cast("SnapshotStore", blocks)
        return store.chunk_bytes, store.is_unused

    @override
    def put_together(self, blocks: Blocks, disk: StoredDisk, target: Path) -> None:
        """The base may be cloned."""
        _merge(cast("SnapshotStore", blocks), base_of(disk).path, target)

    @override
    def make(self, base: Base, disk: StoredDisk, size_bytes: int | None, job: DiskJob) -> None:
        """The store is empty."""
        base_bytes = base.path.stat().st_size
        overlay.make_file(disk.path, base_bytes, capacity_bytes=size_bytes, base_name=base.name)

    @override
    def fill(self, disk: StoredDisk, content: Layers[S, W], place: DiskMount, job: DiskJob) -> Written[S, W]:
        """Write what several roots of one image get alike once for all."""
        if content.shared_bytes > deduplication.MOST_BYTES:
            return super().fill(disk, content, place, job)
        return deduplication.fill(deduplication.NewStore(disk, base_of(disk), place), content, job)

    @contextmanager
    @override
    def opened_to_write(self, disk: StoredDisk, place: DiskMount, job: DiskJob) -> Iterator[Filesystem]:
        """The base is parsed once for all jobs of a run."""
        parsed = deduplication.parsed_base(base_of(disk), job)
        with RawFile(disk.path, writable=True, durable=False) as file:
            store = SnapshotStore(parsed.base, file, durable=False)
            store.name = disk.name
            with Filesystem(store, writable=True, now=job.epoch, place=place, parsed=parsed) as filesystem:
                yield filesystem

    @override
    def grow(self, disk: StoredDisk, size_bytes: int | None, job: DiskJob) -> None:
        """A store gets room for more chunks, and what is in it stays where it is."""
        with job.in_place(disk.name) as path:
            making.refuse_to_shrink(disk.name, path.stat().st_size, size_bytes)
            if size_bytes is not None:
                os.truncate(path, size_bytes)
                durable.sync_one(path)

    @override
    def inspect(self, disk: StoredDisk, epoch: int) -> None:  # what is in it, is its patch's business
        """Of the store only, as what is in it is looked at by who patches it."""
        base = base_of(disk)
        with RawFile(base.path) as under, interrupted.open_recovered(disk.path, disk.name) as file:
            marked = snapshot.parse_mark(file.read(0, min(snapshot.HEAD_BYTES, file.size_bytes)))
            if marked is not None and marked != base.name:
                raise OtherBaseError.of(disk.name, marked, base.name)
            SnapshotStore(under, file)

    @override
    def check(self, disk: StoredDisk, room: checking.CheckRoom) -> checking.Readable:
        """Of a store that is in order e2fsck gets its base's metadata and its own chunks."""
        copy, base = room.directory / disk.path.name, base_of(disk).path
        with self._mended(disk) as blocks:
            is_in_order = checking.is_in_order(blocks)
            skeleton = room.skeletons.of(base) if is_in_order else base
            _merge(cast("SnapshotStore", blocks), skeleton, copy)
        if not is_in_order:
            checking.replay(copy, disk.name, room.epoch)
        if skeleton == base:
            return checking.Readable(disk, copy)
        return checking.Readable(disk, copy, lambda place: self.opened(disk, epoch=room.epoch, place=place))


def base_of(disk: StoredDisk) -> Base:
    """The image that a store stands on.

    Raises:
        FilesystemError: nobody knows which.
    """
    if disk.base is None:
        raise FilesystemError(f"it is not known which image '{disk.name}' stands on")
    return disk.base


def _merge(store: SnapshotStore, base: Path, target: Path) -> None:
    """Make a raw file of a store and what it stands on."""
    clone.clone(base, target)
    merging.put_chunks(store.changed_chunks(), store.chunk_bytes, target)
