"""A disk made of a raw base image and a qcow2 file that stands on it; `qcow2` has the format of the file.

QEMU may have written to the file, with clusters of any size; `qcow2_tables` reads and checks where it has
which. New clusters go behind all that are used or counted.
"""

from __future__ import annotations

import os
import struct
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Self

from typing_extensions import override

from bangerbuild.disk import qcow2, qcow2_header
from bangerbuild.disk.blocks import write_all
from bangerbuild.disk.overlay import OverlayStore
from bangerbuild.disk.qcow2_tables import Tables
from bangerbuild.errors import OverlayError

if TYPE_CHECKING:
    from array import array
    from pathlib import Path

    from bangerbuild.disk.blocks import Blocks

_TO_STORE = "../../"
"""From a VM's directory, where the file is published, to the store."""


def make_file(path: Path, size_bytes: int, base: str) -> None:
    """Make an empty file over a base.

    Args:
        path: at which nothing is yet.
        size_bytes: of the disk.
        base: the path of the base relative to the store.

    Raises:
        OverlayError: it can't be made.
    """
    content = qcow2.empty(size_bytes, f"{_TO_STORE}{base}")
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            write_all(fd, content, 0)
        finally:
            os.close(fd)
    except OSError as err:
        raise OverlayError(f"cannot make '{path}': {err.strerror}") from err


def base_name(path: str) -> str:
    """The path of a base relative to the store, of what a file in a VM's directory calls it."""
    return path.removeprefix(_TO_STORE)


def room_bytes(size_bytes: int, cluster_bits: int) -> int:
    """What a file may grow by if all of its disk is written at once, metadata included."""
    clusters = qcow2.clusters_of(size_bytes, cluster_bits)
    return (clusters + clusters // 16 + 64) << cluster_bits


class Qcow2Store(OverlayStore):
    """A qcow2 file over its base."""

    grows: ClassVar[bool] = True

    @classmethod
    @override
    def create(cls, base: Blocks, path: Path, *, base_name: str, durable: bool) -> Self:
        make_file(path, base.size_bytes, base_name)
        os.truncate(path, path.stat().st_size + room_bytes(base.size_bytes, qcow2.DEFAULT_CLUSTER_BITS))
        return cls(base, path, writable=True, durable=durable, base_name=base_name)

    @override
    def _read_metadata(self) -> None:
        head = self._file.read(0, min(qcow2.HEAD_BYTES, self._file.size_bytes))
        self.header = qcow2_header.parse_header(head, self.name)
        self._refuse_other_base(base_name(self.header.base))
        found = Tables.read(self._file, self.header, self.name)
        self.chunk_bytes = self.header.cluster_bytes
        self.size_bytes = self.header.size_bytes
        self._slots, self._reserved = found.slots, found.reserved
        self._tables, self._blocks = found.tables, found.blocks
        self._is_moved = self.header.is_dirty
        """Whether the header in the file is not `header`."""
        self._next_free = self._first_unused = found.first_unused
        self._counted = 0 if self.header.is_dirty else found.first_unused
        """All clusters below are counted in the file."""
        self._uncounted = found.leaks
        """Clusters that would be counted so, and are not used."""

    @override
    def is_unused(self, chunk: int) -> bool:
        return chunk >= self._first_unused

    @property
    @override
    def least_bytes(self) -> int:
        return self.used_bytes

    @override
    def _free_slots(self, count: int) -> list[int]:
        return self._free_clusters(count)

    def _free_clusters(self, count: int) -> list[int]:
        if self._next_free + count > self._file.size_bytes // self.chunk_bytes:
            raise OverlayError(f"'{self.name}' is full: there is no room for {count} clusters more")
        return list(range(self._next_free, self._next_free + count))

    def _allocated(self, count: int) -> int:
        """The first of so many new clusters, side by side."""
        first = self._next_free
        self._free_clusters(count)
        self._next_free += count
        return first

    @override
    def resize(self, size_bytes: int) -> None:
        if size_bytes == self.size_bytes:
            return
        old, self.header = self.header, self.header.resized(size_bytes)
        self.size_bytes, self._is_moved = size_bytes, True
        if self.header.l1_clusters > old.l1_clusters:
            first = self._allocated(self.header.l1_clusters)
            at = old.l1_offset >> old.cluster_bits
            self._uncounted.extend(range(at, at + old.l1_clusters))
            self.header = self.header.at(l1_offset=first << old.cluster_bits)
            self._put(bytes(self.header.l1_clusters << old.cluster_bits), self.header.l1_offset)
            self._write_l1(range(self.header.l1_entries))
        elif self.header.l1_entries > old.l1_entries:
            self._write_l1(range(old.l1_entries, self.header.l1_entries))

    @override
    def _write_metadata(self, fresh: array[int]) -> None:
        if self.header.is_dirty:
            self._clear_counts()
        if self.header.refcount_clusters < self.header.least_refcount_clusters:
            self._move_refcount_table(self.header.least_refcount_clusters)
        self._write_tables(fresh)
        self._uncounted.extend(self._reserved.pop(chunk) for chunk in fresh if chunk in self._reserved)
        self._count()
        if self._is_moved:
            self._put(self.header.packed(), 0)
            self._is_moved = False

    def _write_tables(self, fresh: array[int]) -> None:
        per_table = self.header.entries_per_table
        chunks: dict[int, list[int]] = {}
        for chunk in fresh:
            chunks.setdefault(chunk // per_table, []).append(chunk)
        new = [index for index in sorted(chunks) if index not in self._tables]
        for index in new:
            self._tables[index] = self._allocated(1)
            self._put(bytes(self.chunk_bytes), self._tables[index] * self.chunk_bytes)
        for index in sorted(chunks):
            self._write_entries(index, chunks[index])
        self._write_l1(new)

    def _write_entries(self, index: int, chunks: list[int]) -> None:
        offset = self._tables[index] * self.chunk_bytes
        table = bytearray(self._file.read(offset, self.chunk_bytes))
        for chunk in chunks:
            entry = self._slots[chunk] * self.chunk_bytes | qcow2.ONLY_REFERENCE
            struct.pack_into(">Q", table, chunk % self.header.entries_per_table * 8, entry)
        self._put(bytes(table), offset)

    def _write_l1(self, indexes: list[int] | range) -> None:
        for index in indexes:
            table = self._tables.get(index, 0)
            entry = table * self.chunk_bytes | qcow2.ONLY_REFERENCE if table else 0
            self._put(struct.pack(">Q", entry), self.header.l1_offset + index * 8)

    def _count(self) -> None:
        """Count all clusters that are new in the file, the blocks that count them included."""
        per_block = self.header.refcounts_per_block
        self._make_blocks()
        for index in range(self._counted // per_block, -(-self._next_free // per_block)):
            if index in self._blocks:
                first = index * per_block
                ones = range(max(self._counted, first), min(self._next_free, first + per_block))
                self._put_counts(index, ones, 1)
        for cluster in self._uncounted:
            self._put_counts(cluster // per_block, range(cluster, cluster + 1), 0)
        self._counted, self._uncounted = self._next_free, []

    def _clear_counts(self) -> None:
        """Have nothing counted, for all to be counted anew."""
        for block in self._blocks.values():
            self._put(bytes(self.chunk_bytes), block * self.chunk_bytes)
        self.header = replace(self.header, is_dirty=False)

    def _put_counts(self, index: int, clusters: range, count: int) -> None:
        offset = self._blocks[index] * self.chunk_bytes
        within = clusters.start - index * self.header.refcounts_per_block
        self._put(struct.pack(">H", count) * len(clusters), offset + within * 2)

    def _make_blocks(self) -> None:
        """Make the refcount blocks that new clusters need; each is a new cluster itself."""
        per_block = self.header.refcounts_per_block
        index = self._counted // per_block
        while index * per_block < self._next_free:
            if index not in self._blocks:
                self._make_room_in_table(index)
                self._blocks[index] = block = self._allocated(1)
                self._put(bytes(self.chunk_bytes), block * self.chunk_bytes)
                entry = struct.pack(">Q", block * self.chunk_bytes)
                self._put(entry, self.header.refcount_offset + index * 8)
            index += 1

    def _make_room_in_table(self, index: int) -> None:
        """Move the refcount table to a larger place if it has no entry of that number."""
        if index * 8 >= self.header.refcount_clusters << self.header.cluster_bits:
            self._move_refcount_table(self.header.refcount_clusters * 2)

    def _move_refcount_table(self, clusters: int) -> None:
        """Move the refcount table to a place of so many clusters, which are more than it has."""
        old = self.header
        first = self._allocated(clusters)
        table = self._file.read(old.refcount_offset, old.refcount_clusters << old.cluster_bits)
        self._put(table.ljust(clusters << old.cluster_bits, b"\0"), first << old.cluster_bits)
        at = old.refcount_offset >> old.cluster_bits
        self._uncounted.extend(range(at, at + old.refcount_clusters))
        self.header = old.at(refcount_offset=first << old.cluster_bits, refcount_clusters=clusters)
        self._is_moved = True
