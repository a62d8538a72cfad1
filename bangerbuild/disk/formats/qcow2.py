"""`qcow2`: a file over the shared image that QEMU and cloud-hypervisor read themselves, without root.

Such a file may be larger than its image: then the filesystem in it has grown, and the image has not. Growing
takes the metadata of the filesystem only, in a copy (`_grow`).
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self, cast

from typing_extensions import override

from bangerbuild.disk import interrupted, qcow2, qcow2_header, qcow2_store, superblock
from bangerbuild.disk.attachment import Attachment, Drive
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.formats.over_base import OverBase, base_of, merge
from bangerbuild.disk.formats.values import SIZE_OF_DISK, SizeRule
from bangerbuild.disk.qcow2_store import Qcow2Store
from bangerbuild.errors import OtherBaseError, OverlayError, readable_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.disk.base import ParsedBase
    from bangerbuild.disk.blocks import Blocks
    from bangerbuild.disk.ext4 import Filesystem
    from bangerbuild.disk.formats.values import Base, DiskJob, StoredDisk
    from bangerbuild.host.process import Program
    from bangerbuild.tree import DiskMount

_NO_QCOW2 = "Firecracker reads raw disks only: take root.format 'raw' or 'snapshot' for it"


class Qcow2(OverBase):
    """A root is a qcow2 file of the clusters that differ from its image."""

    name: ClassVar[str] = "qcow2"
    kind: ClassVar[str] = "root-qcow2"
    version: ClassVar[int] = 2
    programs: ClassVar[tuple[Program, ...]] = ()
    suffix: ClassVar[str] = ".qcow2"
    store: ClassVar[type[Qcow2Store]] = Qcow2Store
    size: ClassVar[SizeRule] = replace(SIZE_OF_DISK, most_bytes=qcow2.most_bytes())

    @property
    @override
    def tools(self) -> tuple[str, ...]:
        from bangerbuild.disk import making

        return making.TOOLS

    @override
    def recognises(self, head: bytes) -> bool:
        return head.startswith(qcow2.MAGIC)

    @override
    def attachment(self, root: str, base: str) -> Attachment:
        drive = Drive(root, image_type="qcow2", options={"cloud-hypervisor": {"backing_files": "on"}})
        return Attachment((drive,), "a qcow2 file over its image", refusals={"firecracker": _NO_QCOW2})

    @override
    def size_of(self, path: Path) -> int:
        """Of the disk that the file holds, once an interrupted change of it is mended."""
        with interrupted.open_recovered(path, str(path)) as file:
            return qcow2_header.parse_header(_head(file), str(path)).size_bytes

    @override
    def base_of(self, path: Path) -> str | None:
        with RawFile(path) as file:
            named = qcow2_header.base_of(_head(file))
        return None if named is None else qcow2_store.base_name(named)

    @override
    def make(self, base: Base, disk: StoredDisk, size_bytes: int | None, job: DiskJob) -> None:
        from bangerbuild.disk import making

        qcow2_store.make_file(disk.path, making.root_bytes(base.path, size_bytes), base.name)

    @contextmanager
    @override
    def starting(self, disk: StoredDisk, job: DiskJob) -> Iterator[ParsedBase]:
        from bangerbuild.disk import deduplication

        base = base_of(disk)
        with RawFile(disk.path) as file:
            size_bytes = qcow2_header.parse_header(_head(file), disk.name).size_bytes
        plain = deduplication.parsed_base(base, job)
        if size_bytes == plain.size_bytes:
            yield plain
            return
        with job.using(
            ("grown", base.path, size_bytes), lambda: _grown_base(base, size_bytes, job)
        ) as parsed:
            yield parsed

    @contextmanager
    @override
    def opened_to_write(self, disk: StoredDisk, place: DiskMount, job: DiskJob) -> Iterator[Filesystem]:
        with _Room(disk.path, disk.name) as room, super().opened_to_write(disk, place, job) as filesystem:
            room.store = cast("Qcow2Store", filesystem.blocks)
            yield filesystem

    @contextmanager
    @override
    def changed(self, disk: StoredDisk) -> Iterator[Blocks]:
        with _Room(disk.path, disk.name) as room, super().changed(disk) as blocks:
            room.store = cast("Qcow2Store", blocks)
            yield blocks

    @override
    def grow(self, disk: StoredDisk, size_bytes: int | None, job: DiskJob) -> None:
        """Grow the filesystem in a copy of its metadata, then take over what changed in one transaction."""
        from bangerbuild.disk import making

        with job.in_place(disk.name) as path:
            now_bytes = self.size_of(path)
            making.refuse_to_shrink(disk.name, now_bytes, size_bytes)
            self.replay(disk, job)
            if size_bytes is None or size_bytes == now_bytes:
                return
            with self.changed(disk) as blocks:
                _grow(cast("Qcow2Store", blocks), base_of(disk).path, size_bytes, job)
                blocks.flush()

    @override
    def inspect(self, disk: StoredDisk, epoch: int) -> None:  # what is in it, is its patch's business
        """Of the file only, as what is in it is looked at by who patches it."""
        base = base_of(disk)
        with RawFile(base.path) as under, interrupted.open_recovered(disk.path, disk.name) as file:
            header = qcow2_header.parse_header(_head(file), disk.name)
            named = qcow2_store.base_name(header.base)
            if named != base.name:
                raise OtherBaseError.of(disk.name, named, base.name)
            store = Qcow2Store(under, file)
            if store.size_bytes < under.size_bytes:
                size, least = readable_size(store.size_bytes), readable_size(under.size_bytes)
                raise OverlayError(
                    f"'{disk.name}' is a disk of {size}, and its image has {least}",
                    hint="put the file back from where there is a copy, or make it anew with --replace",
                )


def _head(file: Blocks) -> bytes:
    return file.read(0, min(qcow2.HEAD_BYTES, file.size_bytes))


class _Room:
    """While a file is written, it is as large as it could become; what is not used is cut off again.

    After a kill a file keeps its unused end, which does no harm: nothing refers to it. The next change of it
    cuts that off.

    Raises:
        OverlayError: there is no room for a file of that size.
    """

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self._name = name
        self.store: Qcow2Store | None = None
        """Who knows at the end what is used."""

    def __enter__(self) -> Self:
        with RawFile(self._path) as file:
            header = qcow2_header.parse_header(_head(file), self._name)
            self._old_bytes = file.size_bytes
        room_bytes = qcow2_store.room_bytes(header.size_bytes, header.cluster_bits)
        self._resize(self._old_bytes + room_bytes)
        return self

    def _resize(self, size_bytes: int) -> None:
        try:
            os.truncate(self._path, size_bytes)
        except OSError as err:
            size = readable_size(size_bytes)
            raise OverlayError(f"'{self._name}' can't have room for {size}: {err.strerror}") from err

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        from bangerbuild.disk import redo_log

        if redo_log.path_beside(self._path).exists():
            return
        self._resize(self.store.used_bytes if self.store and kind is None else self._old_bytes)


def _grow(store: Qcow2Store, base: Path, size_bytes: int, job: DiskJob) -> None:
    """Grow the filesystem on a disk that has nothing to replay; its base stays as it is."""
    import tempfile

    from bangerbuild.disk import checking, clone, making, merging

    with tempfile.TemporaryDirectory(dir=job.staging) as name:
        room = Path(name)
        before, after = room / "before.ext4", room / "after.ext4"
        under = checking.Skeletons(room).of(base) if _grows_in_place(base, size_bytes) else base
        merge(store, under, before)
        clone.clone(before, after)
        making.grow(after, size_bytes, job.epoch)
        store.resize(size_bytes)
        merging.copy_changes(before, after, store)


def _grows_in_place(base: Path, size_bytes: int) -> bool:
    """Whether the metadata of a filesystem is all that its growth reads and writes."""
    with RawFile(base) as blocks:
        raw = blocks.read(superblock.OFFSET, superblock.SIZE)
    return superblock.has_room_for_groups(raw, size_bytes)


@contextmanager
def _grown_base(base: Base, size_bytes: int, job: DiskJob) -> Iterator[ParsedBase]:
    """A base with a filesystem that has grown, for all new disks of that size."""
    from bangerbuild.disk import deduplication
    from bangerbuild.disk.base import ParsedBase

    plain = deduplication.parsed_base(base, job)
    path = job.staging / "grown.qcow2"
    with Qcow2Store.create(plain.base, path, base_name=base.name, durable=False) as store:
        path.unlink()  # the open file is enough
        _grow(store, base.path, size_bytes, job)
        with ParsedBase(store) as parsed:
            yield parsed
