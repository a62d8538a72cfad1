"""What the tables of a qcow2 file say, read and checked: where the file has which cluster of its disk.

QEMU may have written to the file, or somebody may have damaged it. Each cluster of the file may be used once,
must lie within the file, and must be counted once, unless the file says that it was not closed. A cluster
that is counted and not used (QEMU was killed) does no harm; it stays where it is.

A file may be sparse, and claim tables all over its holes: what is read and kept in memory is bounded by what
the file really holds, and by `MOST_TABLE_BYTES`.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from itertools import pairwise
from typing import TYPE_CHECKING, Self

from bangerbuild.disk import qcow2, qcow2_header
from bangerbuild.disk.chunk_map import ChunkMap
from bangerbuild.disk.overlay import ZEROS
from bangerbuild.errors import OverlayError, readable_size

if TYPE_CHECKING:
    from bangerbuild.disk.blocks import Blocks
    from bangerbuild.disk.qcow2 import Header

MOST_TABLE_BYTES = 1 << 30
"""Of L2 tables, and of refcount blocks; with clusters of 4 KiB, those of a disk of 512 GiB in full use."""
MOST_LEAKS = 1 << 20
"""A VMM that is killed leaves some clusters that nothing refers to; more than these come from elsewhere."""
_CHECK_HINT = (
    "qemu-img check '{name}' says more; put the file back from a copy, or make it anew with --replace"
)


class Tables:
    """What a file has where, all of it in clusters.

    Args:
        file: the whole file.
        header: its header.
        name: what to call it in a message.
    """

    def __init__(self, file: Blocks, header: Header, name: str) -> None:
        self._file = file
        self._header = header
        self._name = name
        self._capacity = -(-file.size_bytes // header.cluster_bytes)
        self._used = array("Q")
        """Clusters that something lies in."""
        self.slots = ChunkMap()
        """Where each cluster of the disk is; or `ZEROS`."""
        self.reserved: dict[int, int] = {}
        """The place of a cluster of the disk that is all zeros; it is counted, and nothing is in it."""
        self.tables = ChunkMap()
        """Where each L2 table is, by its index."""
        self.blocks = ChunkMap()
        """Where each refcount block is, by its index."""
        self.leaks: list[int] = []
        """Of a file that was not closed: clusters before the last used one that are not used."""
        self.first_unused = 0
        """No cluster from here on is used or counted."""

    @classmethod
    def read(cls, file: Blocks, header: Header, name: str) -> Self:
        """Read and check all of them.

        Raises:
            OverlayError: they are damaged, or say what is not known here.
        """
        found = cls(file, header, name)
        found._take(0, 1, "the header")
        found._read_refcount_table()
        found._read_l1_table()
        found._check_counts()
        return found

    def _damaged(self, what: str) -> OverlayError:
        return OverlayError(f"'{self._name}' is damaged: {what}", hint=_CHECK_HINT.format(name=self._name))

    def _take(self, first: int, count: int, what: str) -> None:
        """Note that something lies in clusters; `_check_counts` sees to it that nothing else does."""
        if first + count > self._capacity:
            raise self._damaged(f"{what} lies beyond its end")
        self._used.extend(range(first, first + count))

    def _cluster_of(self, entry: int, what: str) -> int:
        cluster, rest = divmod(entry & ~qcow2.ONLY_REFERENCE, self._header.cluster_bytes)
        if rest or not cluster:
            raise self._damaged(f"{what} can't be at {entry:#x}")
        return cluster

    def _entries(self, offset: int, count: int) -> array[int]:
        """The numbers in a table; none if all of them are 0."""
        data = self._file.read(offset, count * 8)
        if data == bytes(len(data)):
            return array("Q")
        entries = array("Q", data)
        entries.byteswap()
        return entries

    def _read_refcount_table(self) -> None:
        header = self._header
        offset, clusters = header.refcount_offset, header.refcount_clusters
        self._take(offset >> header.cluster_bits, clusters, "the refcount table")
        for index, entry in enumerate(self._entries(offset, clusters * header.entries_per_table)):
            if entry:
                self._note(self.blocks, index, entry, "refcount block")

    def _read_l1_table(self) -> None:
        header = self._header
        self._take(header.l1_offset >> header.cluster_bits, header.l1_clusters, "the L1 table")
        for index, entry in enumerate(self._entries(header.l1_offset, header.l1_entries)):
            if entry and not entry & qcow2.ONLY_REFERENCE:
                raise self._damaged(f"L2 table {index} is shared with a snapshot")
            if entry:
                self._note(self.tables, index, entry, "L2 table")
        self._refuse_shared(self.tables, "L2 tables")
        for index, cluster in self.tables.items():
            self._read_l2_table(index, cluster)

    def _note(self, tables: ChunkMap, index: int, entry: int, what: str) -> None:
        """Note where a table is that takes a cluster."""
        tables[index] = cluster = self._cluster_of(entry, f"{what} {index}")
        self._take(cluster, 1, f"{what} {index}")
        if len(tables) << self._header.cluster_bits > MOST_TABLE_BYTES:
            most = readable_size(MOST_TABLE_BYTES)
            raise OverlayError(f"'{self._name}' has {what}s of more than {most}: that is too much to read")

    def _refuse_shared(self, tables: ChunkMap, what: str) -> None:
        """Before they are read: a million entries may name the same table."""
        if len(set(tables.values())) < len(tables):
            raise self._damaged(f"two {what} lie in the same place")

    def _read_l2_table(self, index: int, table: int) -> None:
        header = self._header
        first, bits = index * header.entries_per_table, header.cluster_bits
        plain = qcow2.ONLY_REFERENCE | qcow2.COMPRESSED | (header.cluster_bytes - 1)
        for chunk, entry in enumerate(self._entries(table << bits, header.entries_per_table), first):
            if entry == 0:
                continue
            if chunk >= header.clusters:
                raise self._damaged(f"there is a cluster {chunk}, and its disk has {header.clusters}")
            cluster = (entry & ~qcow2.ONLY_REFERENCE) >> bits
            if entry & plain == qcow2.ONLY_REFERENCE and 0 < cluster < self._capacity:
                self.slots[chunk] = cluster
                self._used.append(cluster)
            else:
                self._read_other(chunk, entry)

    def _read_other(self, chunk: int, entry: int) -> None:
        """Read an entry that is no plain place in the file."""
        what = f"cluster {chunk} of its disk"
        if entry & qcow2.COMPRESSED:
            raise qcow2_header.compressed(self._name, self._header.base)
        is_zeros = bool(entry & qcow2.ALL_ZEROS)
        if is_zeros:
            self.slots[chunk] = ZEROS
        if not is_zeros or entry != qcow2.ALL_ZEROS:
            cluster = self._cluster_of(entry & ~qcow2.ALL_ZEROS, what)
            self._take(cluster, 1, what)
            if not entry & qcow2.ONLY_REFERENCE:
                raise self._damaged(f"{what} is shared with a snapshot")
            self.reserved[chunk] = cluster

    def _check_counts(self) -> None:
        """Each cluster that is used must be used once, and counted once."""
        used, per_block = array("Q", sorted(self._used)), self._header.refcounts_per_block
        twice = next((one for one, other in pairwise(used) if one == other), None)
        if twice is not None:
            raise self._damaged(f"two things lie in the same place, cluster {twice}")
        if self._header.is_dirty:  # whoever opens such a file to write counts anew
            self._find_leaks(used)
            return
        at = 0
        while at < len(used):
            index = used[at] // per_block
            end = bisect_left(used, (index + 1) * per_block, at)
            self._check_block(index, used[at:end])
            at = end
        self.first_unused = max(used[-1], self._last_counted()) + 1

    def _find_leaks(self, used: array[int]) -> None:
        self.first_unused = used[-1] + 1
        if self.first_unused - len(used) > MOST_LEAKS:
            raise self._damaged(f"of {self.first_unused} clusters, {len(used)} are used")
        self.leaks = [leak for one, other in pairwise(used) for leak in range(one + 1, other)]

    def _check_block(self, index: int, used: array[int]) -> None:
        """Compare what a refcount block says with the clusters that are used, of those that it counts."""
        first = index * self._header.refcounts_per_block
        if index not in self.blocks:
            raise self._damaged(f"no refcount block counts cluster {used[0]}")
        counts = self._counts(index)
        run = counts[used[0] - first : used[-1] + 1 - first]
        if len(run) == len(used) == run.count(1):
            return
        for cluster in used:
            if (count := counts[cluster - first]) != 1:
                raise self._damaged(f"cluster {cluster} is used once, and counted {count} times")

    def _counts(self, index: int) -> array[int]:
        header = self._header
        counts = array("H", self._file.read(self.blocks[index] << header.cluster_bits, header.cluster_bytes))
        counts.byteswap()
        return counts

    def _last_counted(self) -> int:
        """The last cluster that the refcounts call used, whoever uses it; 0 if none is."""
        per_block = self._header.refcounts_per_block
        for index in reversed(list(self.blocks)):
            counts = self._counts(index).tobytes().rstrip(b"\0")
            if counts:
                return index * per_block + (len(counts) - 1) // 2
        return 0
