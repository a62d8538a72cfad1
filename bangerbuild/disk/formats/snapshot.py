"""`snapshot`: a dm-snapshot exception store over the shared image, which holds only what differs from it."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from bangerbuild.disk import interrupted, snapshot, snapshot_store
from bangerbuild.disk.attachment import ATTACHED_ROOT, Attachment, Drive
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.formats.over_base import OverBase, base_of
from bangerbuild.disk.formats.values import SizeRule
from bangerbuild.disk.snapshot_store import SnapshotStore
from bangerbuild.errors import OtherBaseError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bangerbuild.disk.base import ParsedBase
    from bangerbuild.disk.formats.values import Base, DiskJob, StoredDisk
    from bangerbuild.host.process import Program


class Snapshot(OverBase):
    """A root is a store of the chunks that differ from its image."""

    name: ClassVar[str] = "snapshot"
    kind: ClassVar[str] = "root-overlay"
    version: ClassVar[int] = 2
    tools: ClassVar[tuple[str, ...]] = ()
    suffix: ClassVar[str] = ".cow"
    store: ClassVar[type[SnapshotStore]] = SnapshotStore
    size: ClassVar[SizeRule] = SizeRule(
        least_bytes=1 << 20,
        too_small="too small a store for its own metadata and a patch",
        hint="give at least 1MiB, or leave out `size` for room for every block of the image",
        is_whole_blocks=False,
        is_of_clone=False,
        is_of_filesystem=False,
    )

    @property
    @override
    def programs(self) -> tuple[Program, ...]:
        from bangerbuild.disk.formats import snapshot_device

        return snapshot_device.PROGRAMS

    @override
    def recognises(self, head: bytes) -> bool:
        return snapshot.has_magic(head)

    @override
    def base_of(self, path: Path) -> str | None:
        with path.open("rb") as file:
            return snapshot.parse_mark(file.read(snapshot.HEAD_BYTES))

    @override
    def attachment(self, root: str, base: str) -> Attachment:
        """No VMM knows such stores, so the kernel's device is made of it."""
        from bangerbuild.disk.formats import snapshot_device

        setup = snapshot_device.setup(root, base)
        return Attachment((Drive(ATTACHED_ROOT),), "a snapshot of its image", setup)

    @override
    def make(self, base: Base, disk: StoredDisk, size_bytes: int | None, job: DiskJob) -> None:
        """The store is empty."""
        base_bytes = base.path.stat().st_size
        snapshot_store.make_file(disk.path, base_bytes, capacity_bytes=size_bytes, base_name=base.name)

    @contextmanager
    @override
    def starting(self, disk: StoredDisk, job: DiskJob) -> Iterator[ParsedBase]:
        from bangerbuild.disk import deduplication

        yield deduplication.parsed_base(base_of(disk), job)

    @override
    def grow(self, disk: StoredDisk, size_bytes: int | None, job: DiskJob) -> None:
        """A store gets room for more chunks, and what is in it stays where it is."""
        from bangerbuild.disk import durable, making

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
