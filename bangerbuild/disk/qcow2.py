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
Files that this program makes have clusters of 16 KiB: see docs/disks.md for why.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

from bangerbuild.errors import OverlayError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAGIC = b"QFI\xfb"
VERSION = 3
DEFAULT_CLUSTER_BITS = 14
CLUSTER_BITS = range(9, 22)
"""What QEMU takes: 512 bytes to 2 MiB."""
ONLY_REFERENCE = 1 << 63
COMPRESSED = 1 << 62
ALL_ZEROS = 1
HEADER_BYTES = 112
HEAD_BYTES = 4096
"""Header, extensions and the name of the base lie in here in any file that is taken."""
LARGEST_TABLE_BYTES = 32 << 20
"""QEMU takes no larger L1 table, and no refcount table beyond 8 MiB."""
_LONGEST_NAME = 1023

_HEADER = struct.Struct(">4sIQIIQIIQQIIQQQQIIB7x")
_EXTENSION = struct.Struct(">2I")
_BASE_FORMAT = 0xE2792ACA
_INCOMPATIBLE = {
    0: ("was not closed (dirty)", "qemu-img check -r all {path}"),
    1: ("is marked as corrupt", "qemu-img check -r all {path}"),
    2: ("keeps its data in another file", "qemu-img convert -O qcow2 it"),
    3: ("has another compression than deflate", "qemu-img convert -O qcow2 it"),
    4: ("has extended L2 entries", "qemu-img convert -O qcow2 it"),
}
"""Bits of incompatible_features: what each says of a file, and the way out."""


def _unusable(name: str, what: str, hint: str | None = None) -> OverlayError:
    return OverlayError(
        f"'{name}' {what}",
        hint=hint or "put the file back from where there is a copy, or make it anew with --replace",
    )


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
    def l1_clusters(self) -> int:
        """How many clusters the L1 table takes."""
        return clusters_of(self.l1_entries * 8, self.cluster_bits)

    def resized(self, size_bytes: int) -> Self:
        """The header of a disk of another size; its L1 table may have to move."""
        resized = replace(self, size_bytes=size_bytes)
        return replace(resized, l1_entries=max(self.l1_entries, _l1_entries(size_bytes, self.cluster_bits)))

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
        extensions = _EXTENSION.pack(_BASE_FORMAT, 3) + raw + _EXTENSION.pack(0, 0)
        at = HEADER_BYTES + len(extensions)
        fields = (
            *(MAGIC, VERSION, at, len(name), self.cluster_bits, self.size_bytes, 0, self.l1_entries),
            *(self.l1_offset, self.refcount_offset, self.refcount_clusters, 0, 0),
            *(0, self.compatible, 0, 4, HEADER_BYTES, 0),
        )
        return _HEADER.pack(*fields) + extensions + name


def clusters_of(length: int, cluster_bits: int) -> int:
    """How many clusters so many bytes take."""
    return (length + (1 << cluster_bits) - 1) >> cluster_bits


def _l1_entries(size_bytes: int, cluster_bits: int) -> int:
    return max(1, clusters_of(clusters_of(size_bytes, cluster_bits) * 8, cluster_bits))


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
    entries = _l1_entries(size_bytes, cluster_bits)
    l1_clusters = clusters_of(entries * 8, cluster_bits)
    header = Header(cluster_bits, size_bytes, entries, 3 * cluster_bytes, cluster_bytes, 1, base)
    head = header.packed()
    if len(base.encode()) > _LONGEST_NAME or len(head) > min(HEAD_BYTES, cluster_bytes):
        raise OverlayError(f"the path of a base, '{base}', is too long for a qcow2 file")
    used = 3 + l1_clusters
    if used > header.refcounts_per_block or entries * 8 > LARGEST_TABLE_BYTES:
        raise OverlayError(f"a disk of {size_bytes} bytes is too large for a qcow2 file")
    table = struct.pack(">Q", 2 * cluster_bytes)
    counts = struct.pack(f">{used}H", *(1 for _ in range(used)))
    return b"".join(
        (
            head.ljust(cluster_bytes, b"\0"),
            table.ljust(cluster_bytes, b"\0"),
            counts.ljust(cluster_bytes, b"\0"),
            bytes(l1_clusters * cluster_bytes),
        )
    )


def parse_header(head: bytes, name: str) -> Header:
    """Read the first `HEAD_BYTES` of a file, or all of a shorter one.

    Args:
        head: the bytes.
        name: what to call the file in a message.

    Raises:
        OverlayError: it is no qcow2 file, is damaged, or has a feature that is not known here.
    """
    if len(head) < _HEADER.size - 8 or not head.startswith(MAGIC):
        raise _unusable(name, "is no qcow2 file, or ends before its header does")
    fields = _HEADER.unpack_from(head.ljust(_HEADER.size, b"\0"))
    _, version, base_at, base_length, cluster_bits, size_bytes, encryption, l1_entries = fields[:8]
    l1_offset, refcount_offset, refcount_clusters, snapshots, _, *features = fields[8:]
    incompatible, compatible, autoclear, refcount_order, header_bytes, _ = features
    if version != VERSION:
        raise _unusable(name, f"is a qcow2 file of version {version}; only {VERSION} is known")
    if encryption:
        raise _unusable(name, "is encrypted")
    if snapshots:
        count = "a snapshot" if snapshots == 1 else f"{snapshots} snapshots"
        raise _unusable(name, f"has {count} inside", f"qemu-img snapshot -l '{name}', then -d each of them")
    _refuse_features(name, incompatible, autoclear)
    if cluster_bits not in CLUSTER_BITS or refcount_order != 4 or header_bytes < _HEADER.size - 8:
        raise _unusable(
            name, f"has clusters of 2^{cluster_bits} bytes and refcounts of 2^{refcount_order} bits"
        )
    if not 0 < base_length <= _LONGEST_NAME or base_at + base_length > len(head):
        raise _unusable(name, "names no base")
    base = head[base_at : base_at + base_length].decode(errors="surrogateescape")
    _refuse_other_base_format(name, head[:base_at], header_bytes)
    header = Header(
        cluster_bits,
        size_bytes,
        l1_entries,
        l1_offset,
        refcount_offset,
        refcount_clusters,
        base,
        compatible,
    )
    _check_tables(header, name)
    return header


def _refuse_features(name: str, incompatible: int, autoclear: int) -> None:
    for bit in (bit for bit in range(64) if incompatible >> bit & 1):
        what, hint = _INCOMPATIBLE.get(bit, (f"has the unknown feature {bit}", "use a newer bangerbuild"))
        raise _unusable(name, what, hint.format(path=f"'{name}'"))
    if autoclear:
        raise _unusable(name, "has dirty bitmaps", f"qemu-img bitmap --remove '{name}' NAME, each of them")


def _refuse_other_base_format(name: str, head: bytes, header_bytes: int) -> None:
    for kind, data in _extensions(head, header_bytes):
        if kind == _BASE_FORMAT and data != b"raw":
            raise _unusable(name, f"stands on a base of the format '{data.decode(errors='replace')}'")


def _extensions(head: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    while at + _EXTENSION.size <= len(head):
        kind, length = _EXTENSION.unpack_from(head, at)
        at += _EXTENSION.size
        if kind == 0:
            return
        yield kind, head[at : at + length]
        at += -(-length // 8) * 8


def _check_tables(header: Header, name: str) -> None:
    mask = header.cluster_bytes - 1
    table_bytes = max(header.l1_entries * 8, header.refcount_clusters << header.cluster_bits)
    if (
        header.l1_offset & mask
        or header.refcount_offset & mask
        or not header.refcount_clusters
        or table_bytes > LARGEST_TABLE_BYTES
        or header.l1_entries < _l1_entries(header.size_bytes, header.cluster_bits)
        or not header.size_bytes
    ):
        raise _unusable(name, "is damaged: its tables can't be where its header says", "qemu-img check it")


def base_of(head: bytes) -> str | None:
    """The path of the base that a file names, relative to its directory; None if it can't be told."""
    try:
        return parse_header(head, "").base
    except OverlayError:
        return None
