"""A disk made of a raw base image and a qcow2 file that stands on it; `qcow2` has the format of the file.

QEMU may have written to the file, with clusters of any size. What is read is checked: each cluster of the
file is referred to once, and the refcounts say so. A cluster that is counted and that nothing refers to (QEMU
was killed) does no harm; it stays where it is.
"""

from __future__ import annotations

import os
import struct
from array import array
from typing import TYPE_CHECKING, ClassVar, Self

from typing_extensions import override

from bangerbuild.disk import qcow2
from bangerbuild.disk.chunk_map import ChunkMap
from bangerbuild.disk.overlay import ZEROS, OverlayStore
from bangerbuild.errors import OverlayError

if TYPE_CHECKING:
    from pathlib import Path

    from bangerbuild.disk.blocks import Blocks

_CHECK_HINT = (
    "qemu-img check '{name}' says more; put the file back from a copy, or make it anew with --replace"
)

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
        with open(fd, "wb") as file:  # noqa: PTH123  # it is open already
            file.write(content)
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
        self.header = qcow2.parse_header(head, self.name)
        self._refuse_other_base(base_name(self.header.base))
        self.chunk_bytes = self.header.cluster_bytes
        self.size_bytes = self.header.size_bytes
        self._slots = ChunkMap()
        self._tables = ChunkMap()
        """Where each L2 table is, in clusters, by its index."""
        self._blocks = ChunkMap()
        """Where each refcount block is, in clusters, by its index."""
        self._is_moved = False
        """Whether the header in the file is not `header`."""
        self._capacity_chunks = self._file.size_bytes // self.chunk_bytes
        self._taken = bytearray(self._capacity_chunks // 8 + 1)
        self._next_free = 0
        self._read_refcount_table()
        self._read_tables()
        self._check_refcounts()
        self._first_unused = self._next_free
        self._counted = self._next_free
        """All clusters below are counted in the file."""
        self._uncounted: list[int] = []
        """Clusters that are counted in the file and not used any more."""

    def _damaged(self, what: str) -> OverlayError:
        return OverlayError(f"'{self.name}' is damaged: {what}", hint=_CHECK_HINT.format(name=self.name))

    def _take(self, cluster: int, what: str) -> None:
        """Note that something lies in a cluster; nothing else may."""
        if not 0 <= cluster < self._capacity_chunks:
            raise self._damaged(f"{what} lies beyond its end")
        if self._taken[cluster >> 3] >> (cluster & 7) & 1:
            raise self._damaged(f"{what} lies where something else does, in cluster {cluster}")
        self._taken[cluster >> 3] |= 1 << (cluster & 7)
        self._next_free = max(self._next_free, cluster + 1)

    def _take_all(self, offset: int, clusters: int, what: str) -> None:
        first = offset >> self.header.cluster_bits
        if first + clusters > self._capacity_chunks:
            raise self._damaged(f"{what} lies beyond its end")
        for cluster in range(first, first + clusters):
            self._take(cluster, what)

    def _entries(self, offset: int, count: int) -> array[int]:
        entries = array("Q", self._file.read(offset, count * 8))
        entries.byteswap()
        return entries

    def _read_refcount_table(self) -> None:
        self._take(0, "the header")
        header = self.header
        self._take_all(header.refcount_offset, header.refcount_clusters, "the refcount table")
        count = (header.refcount_clusters << header.cluster_bits) // 8
        for index, entry in enumerate(self._entries(header.refcount_offset, count)):
            if entry:
                self._blocks[index] = self._cluster_of(entry, f"refcount block {index}")
                self._take(self._blocks[index], f"refcount block {index}")

    def _cluster_of(self, entry: int, what: str) -> int:
        cluster, rest = divmod(entry & ~qcow2.ONLY_REFERENCE, self.chunk_bytes)
        if rest or not cluster:
            raise self._damaged(f"{what} can't be at {entry:#x}")
        return cluster

    def _read_tables(self) -> None:
        header = self.header
        self._take_all(header.l1_offset, header.l1_clusters, "the L1 table")
        for index, entry in enumerate(self._entries(header.l1_offset, header.l1_entries)):
            if entry == 0:
                continue
            what = f"L2 table {index}"
            if not entry & qcow2.ONLY_REFERENCE:
                raise self._damaged(f"{what} is shared with a snapshot")
            self._tables[index] = self._cluster_of(entry, what)
            self._take(self._tables[index], what)
            self._read_table(index)

    def _read_table(self, index: int) -> None:
        first = index * self.header.entries_per_table
        offset = self._tables[index] * self.chunk_bytes
        for within, entry in enumerate(self._entries(offset, self.header.entries_per_table)):
            if entry == 0:
                continue
            chunk = first + within
            if chunk >= self.header.clusters:
                raise self._damaged(f"there is a cluster {chunk}, and its disk has {self.header.clusters}")
            self._read_entry(chunk, entry)

    def _read_entry(self, chunk: int, entry: int) -> None:
        what = f"cluster {chunk} of its disk"
        if entry & qcow2.COMPRESSED:
            raise OverlayError(
                f"'{self.name}' has compressed clusters", hint="qemu-img convert -O qcow2 it, without -c"
            )
        if entry & qcow2.ALL_ZEROS:
            if rest := entry & ~qcow2.ALL_ZEROS:  # a place is reserved; it is lost if the cluster is written
                self._take(self._cluster_of(rest, what), what)
            self._slots[chunk] = ZEROS
            return
        if not entry & qcow2.ONLY_REFERENCE:
            raise self._damaged(f"{what} is shared with a snapshot")
        self._slots[chunk] = self._cluster_of(entry, what)
        self._take(self._slots[chunk], what)

    def _check_refcounts(self) -> None:
        """Each cluster that is used must be counted once; new ones go behind all that are counted."""
        per_block = self.header.refcounts_per_block
        for index in range(-(-self._next_free // per_block)):
            first = index * per_block
            if index not in self._blocks:
                if any(self._is_taken(cluster) for cluster in range(first, first + per_block)):
                    raise self._damaged(f"no refcount block counts cluster {first} and those behind it")
                continue
            self._check_block(self._counts(self._blocks[index]), first)
        self._next_free = max(self._next_free, self._last_counted() + 1)

    def _check_block(self, counts: array[int], first: int) -> None:
        for within, count in enumerate(counts):
            if count != 1 and self._is_taken(first + within):
                raise self._damaged(f"cluster {first + within} is used once, and counted {count} times")

    def _is_taken(self, cluster: int) -> bool:
        return cluster < self._capacity_chunks and bool(self._taken[cluster >> 3] >> (cluster & 7) & 1)

    def _last_counted(self) -> int:
        """The last cluster that the refcounts call used, whoever uses it."""
        for index in reversed(list(self._blocks)):
            counts = self._counts(self._blocks[index])
            for within in range(len(counts) - 1, -1, -1):
                if counts[within]:
                    return index * len(counts) + within
        return -1

    def _counts(self, block: int) -> array[int]:
        counts = array("H", self._read_slot(block))
        counts.byteswap()
        return counts

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
        if self._next_free + count > self._capacity_chunks:
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
        self._write_tables(fresh)
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
        old = self.header
        if index * 8 < old.refcount_clusters << old.cluster_bits:
            return
        clusters = old.refcount_clusters * 2
        first = self._allocated(clusters)
        table = self._file.read(old.refcount_offset, old.refcount_clusters << old.cluster_bits)
        self._put(table.ljust(clusters << old.cluster_bits, b"\0"), first << old.cluster_bits)
        at = old.refcount_offset >> old.cluster_bits
        self._uncounted.extend(range(at, at + old.refcount_clusters))
        self.header = old.at(refcount_offset=first << old.cluster_bits, refcount_clusters=clusters)
        self._is_moved = True
