"""The on-disk format of a qcow2 image, version 3, as far as a disk over a raw base needs it.

A file is cut into clusters of 2^cluster_bits bytes. All numbers are big-endian, all places are byte offsets
in the file (source: `docs/interop/qcow2.txt` of QEMU):

    header          104 bytes or more, then extensions (u32 type, u32 length, data padded to 8 bytes), then
                    the name of the base, all in the first cluster
    L1 table        u64 for each L2 table: its offset, bit 63 "only this table refers to it"; 0: none
    L2 table        u64 for each cluster of the disk: the offset of its bytes, bit 63 as above,
                    bit 62 compressed, bit 0 all zeros; 0: as in the base
    refcount table  u64 for each refcount block: its offset; 0: none
    refcount block  u16 for each cluster of the file: how many refer to it

One L2 table and one refcount block take a cluster each, the two tables as many as they need, side by side.
Files that this program makes have clusters of 4 KiB: see docs/disks.md for why.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import Self

from bangerbuild.errors import OverlayError, readable_size

REFCOUNT_ORDER = 4
"""Refcounts of 2^4 bits."""
MAGIC = b"QFI\xfb"
VERSION = 3
DEFAULT_CLUSTER_BITS = 12
CLUSTER_BITS = range(9, 22)
"""What QEMU takes: 512 bytes to 2 MiB."""
ONLY_REFERENCE = 1 << 63
COMPRESSED = 1 << 62
ALL_ZEROS = 1
HEADER_BYTES = 112
HEAD_BYTES = 4096
"""Header, extensions and the name of the base lie in here in any file that is taken."""
LARGEST_TABLE_BYTES = 32 << 20
"""QEMU takes no larger L1 table."""
LARGEST_REFCOUNT_TABLE_BYTES = 8 << 20
"""Nor a larger refcount table."""
LONGEST_NAME = 1023

HEADER = struct.Struct(">4sIQIIQIIQQIIQQQQIIB7x")
EXTENSION = struct.Struct(">2I")
BASE_FORMAT = 0xE2792ACA


@dataclass(frozen=True)
class Header:
    """What the header of a file says."""

    cluster_bits: int
    size_bytes: int
    """Of the disk."""
    l1_entries: int
    l1_offset: int
    refcount_offset: int
    refcount_clusters: int
    base: str
    """The path of the base, relative to the file's directory."""
    compatible: int = 0
    is_dirty: bool = False
    """Whether it was not closed, so that its refcounts may be wrong. What is written here is not."""

    @property
    def cluster_bytes(self) -> int:
        """The size of a cluster."""
        return 1 << self.cluster_bits

    @property
    def entries_per_table(self) -> int:
        """How many entries of 8 bytes an L2 table has."""
        return self.cluster_bytes // 8

    @property
    def refcounts_per_block(self) -> int:
        """How many refcounts of 2 bytes a refcount block has."""
        return self.cluster_bytes // 2

    @property
    def clusters(self) -> int:
        """How many clusters the disk has, a partial last one included."""
        return -(-self.size_bytes // self.cluster_bytes)

    @property
    def least_refcount_clusters(self) -> int:
        """How many clusters the refcount table must take, see `refcount_table_clusters_of`."""
        return refcount_table_clusters_of(self.size_bytes, self.cluster_bits)

    @property
    def l1_clusters(self) -> int:
        """How many clusters the L1 table takes."""
        return clusters_of(self.l1_entries * 8, self.cluster_bits)

    def resized(self, size_bytes: int) -> Self:
        """The header of a disk of another size; its L1 table may have to move.

        Raises:
            OverlayError: the disk is too large.
        """
        entries = max(self.l1_entries, l1_entries_of(size_bytes, self.cluster_bits))
        if entries * 8 > LARGEST_TABLE_BYTES:
            raise OverlayError(f"a disk of {readable_size(size_bytes)} is too large for a qcow2 file")
        return replace(self, size_bytes=size_bytes, l1_entries=entries)

    def at(
        self,
        *,
        l1_offset: int | None = None,
        refcount_offset: int | None = None,
        refcount_clusters: int | None = None,
    ) -> Self:
        """The header once a table has moved."""
        return replace(
            self,
            l1_offset=l1_offset or self.l1_offset,
            refcount_offset=refcount_offset or self.refcount_offset,
            refcount_clusters=refcount_clusters or self.refcount_clusters,
        )

    def packed(self) -> bytes:
        """The first cluster, its unused end left out."""
        name = self.base.encode()
        raw = b"raw".ljust(8, b"\0")
        extensions = EXTENSION.pack(BASE_FORMAT, 3) + raw + EXTENSION.pack(0, 0)
        at = HEADER_BYTES + len(extensions)
        fields = (
            *(MAGIC, VERSION, at, len(name), self.cluster_bits, self.size_bytes, 0, self.l1_entries),
            *(self.l1_offset, self.refcount_offset, self.refcount_clusters, 0, 0),
            *(0, self.compatible, 0, 4, HEADER_BYTES, 0),
        )
        return HEADER.pack(*fields) + extensions + name


def clusters_of(length: int, cluster_bits: int) -> int:
    """How many clusters so many bytes take."""
    return (length + (1 << cluster_bits) - 1) >> cluster_bits


def l1_entries_of(size_bytes: int, cluster_bits: int) -> int:
    """How many entries the L1 table of a disk of that size needs."""
    return max(1, clusters_of(clusters_of(size_bytes, cluster_bits) * 8, cluster_bits))


def most_bytes(cluster_bits: int = DEFAULT_CLUSTER_BITS) -> int:
    """The largest disk that the L1 table of such a file can describe."""
    return LARGEST_TABLE_BYTES // 8 << (2 * cluster_bits - 3)


def _blocks_for(clusters: int, cluster_bits: int) -> int:
    """How many refcount blocks so many clusters and the blocks themselves need."""
    return -(-clusters // ((1 << cluster_bits - 1) - 1))


def refcount_table_clusters_of(size_bytes: int, cluster_bits: int) -> int:
    """How many clusters a refcount table takes that can count a disk of that size when all of it is written.

    QEMU would take a smaller one and move it when it is full. But cloud-hypervisor reads one of this size,
    whatever the header says, and writes all of it back over what lies behind a smaller one (source:
    `max_refcount_clusters` in `block/src/formats/qcow/header.rs`, `RefCount` in `refcount.rs` beside it).
    """
    l1_entries = l1_entries_of(size_bytes, cluster_bits)
    clusters = (
        clusters_of(size_bytes, cluster_bits) + l1_entries + clusters_of(l1_entries * 8, cluster_bits) + 1
    )
    blocks = clusters_of(clusters * 2, cluster_bits)
    blocks += clusters_of(blocks * 2, cluster_bits)
    return min(clusters_of(blocks * 8, cluster_bits), LARGEST_REFCOUNT_TABLE_BYTES >> cluster_bits)


def empty(size_bytes: int, base: str, *, cluster_bits: int = DEFAULT_CLUSTER_BITS) -> bytes:
    """The bytes of a whole file that has nothing but a base.

    Args:
        size_bytes: of the disk.
        base: the path of the base relative to the file's directory; at most 1023 bytes.
        cluster_bits: see `CLUSTER_BITS`; the first cluster has to hold the base's path.

    Raises:
        OverlayError: the path is too long, or the disk too large.
    """
    cluster_bytes = 1 << cluster_bits
    entries = l1_entries_of(size_bytes, cluster_bits)
    l1_clusters = clusters_of(entries * 8, cluster_bits)
    tables = refcount_table_clusters_of(size_bytes, cluster_bits)
    blocks = _blocks_for(1 + tables + l1_clusters, cluster_bits)
    l1_offset = (1 + tables + blocks) * cluster_bytes
    header = Header(cluster_bits, size_bytes, entries, l1_offset, cluster_bytes, tables, base)
    head = header.packed()
    if len(base.encode()) > LONGEST_NAME or len(head) > min(HEAD_BYTES, cluster_bytes):
        raise OverlayError(f"the path of a base, '{base}', is too long for a qcow2 file")
    if entries * 8 > LARGEST_TABLE_BYTES:
        raise OverlayError(f"a disk of {readable_size(size_bytes)} is too large for a qcow2 file")
    table = struct.pack(f">{blocks}Q", *((1 + tables + index) * cluster_bytes for index in range(blocks)))
    counts = b"\0\1" * (1 + tables + blocks + l1_clusters)
    return b"".join(
        (
            head.ljust(cluster_bytes, b"\0"),
            table.ljust(tables * cluster_bytes, b"\0"),
            counts.ljust(blocks * cluster_bytes, b"\0"),
            bytes(l1_clusters * cluster_bytes),
        )
    )
