"""Reading the header of a qcow2 file, and refusing by name what is not known of such files.

QEMU knows more than is written here: snapshots inside a file, encryption, data in another file, compressed
clusters. A file that has any of them is refused, with the command that makes it one that is known.
"""

from __future__ import annotations

from shlex import quote
from typing import TYPE_CHECKING, NamedTuple, Self

from bangerbuild.disk.qcow2 import (
    BASE_FORMAT,
    CLUSTER_BITS,
    EXTENSION,
    HEADER,
    LARGEST_TABLE_BYTES,
    LONGEST_NAME,
    MAGIC,
    REFCOUNT_ORDER,
    VERSION,
    Header,
    l1_entries_of,
)
from bangerbuild.errors import OverlayError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_LEAST_BYTES = HEADER.size - 8
"""The last 8 came later."""
_REPAIR_HINT = "qemu-img check -r all {path}"
_DIRTY = 1
"""The bit of incompatible_features of a file that was not closed: its refcounts may be wrong."""
_CONVERT_HINT = (
    "have QEMU write it anew, in its directory: "
    "qemu-img convert -f qcow2 -O qcow2 -F raw -B {base} {file} new && mv new {file}"
)
_INCOMPATIBLE = {
    1: ("is marked as corrupt", _REPAIR_HINT),
    2: ("keeps its data in another file", _CONVERT_HINT),
    3: ("has another compression than deflate", _CONVERT_HINT),
    4: ("has extended L2 entries", _CONVERT_HINT),
}
"""Bits of incompatible_features: what each says of a file, and the way out."""
_AUTOCLEAR = {0: ("has dirty bitmaps", "qemu-img bitmap --remove -f qcow2 {path} NAME, each of them")}
"""The same of autoclear_features, which a program that does not know them may clear. Here nothing is lost."""


def _unusable(name: str, what: str, hint: str | None = None) -> OverlayError:
    return OverlayError(
        f"'{name}' {what}",
        hint=hint or "put the file back from where there is a copy, or make it anew with --replace",
    )


class _Fields(NamedTuple):
    """The numbers of a header, in their order."""

    magic: bytes
    version: int
    base_at: int
    base_length: int
    cluster_bits: int
    size_bytes: int
    encryption: int
    l1_entries: int
    l1_offset: int
    refcount_offset: int
    refcount_clusters: int
    snapshots: int
    snapshots_offset: int
    incompatible: int
    compatible: int
    autoclear: int
    refcount_order: int
    header_bytes: int
    compression: int

    @classmethod
    def unpacked(cls, head: bytes) -> Self:
        """Those of a file that begins like this; of version 2 the last ones are something else."""
        return cls(*HEADER.unpack_from(head.ljust(HEADER.size, b"\0")))


def parse_header(head: bytes, name: str) -> Header:
    """Read the first `HEAD_BYTES` of a file, or all of a shorter one.

    Args:
        head: the bytes.
        name: what to call the file in a message.

    Raises:
        OverlayError: it is no qcow2 file, is damaged, or has a feature that is not known here.
    """
    if len(head) < _LEAST_BYTES or not head.startswith(MAGIC):
        raise _unusable(name, "is no qcow2 file, or ends before its header does")
    fields = _Fields.unpacked(head)
    base = head[fields.base_at : fields.base_at + fields.base_length].decode(errors="surrogateescape")
    for what, hint in _unknown(fields):
        raise _unusable(name, what, _filled(hint, name, base))
    if not _LEAST_BYTES <= fields.header_bytes <= min(len(head), 1 << fields.cluster_bits):
        raise _unusable(name, f"is damaged: its header can't take {fields.header_bytes} bytes")
    end = fields.base_at + fields.base_length
    if not 0 < fields.base_length <= LONGEST_NAME or not fields.header_bytes <= fields.base_at < end <= len(
        head
    ):
        raise _unusable(name, "names no base")
    _refuse_other_base_format(name, head[: fields.base_at], fields.header_bytes)
    return _checked(_header(fields, base), name)


def _filled(hint: str | None, name: str, base: str) -> str | None:
    """None where there is no way out: a file that names no base is no root, whatever QEMU makes of it."""
    if hint is None or (not base and "{base}" in hint):
        return None
    return hint.format(path=quote(name), file=quote(name.rpartition("/")[2]), base=quote(base))


def compressed(name: str, base: str) -> OverlayError:
    """The error for a file with compressed clusters, of which its header says nothing."""
    return _unusable(name, "has compressed clusters", _filled(_CONVERT_HINT, name, base))


def _unknown(fields: _Fields) -> Iterator[tuple[str, str | None]]:
    """What of a file is not known here: what to say of it, and the way out."""
    if fields.version != VERSION:
        hint = "qemu-img amend -f qcow2 -o compat=v3 {path}" if fields.version == 2 else None
        yield f"is a qcow2 file of version {fields.version}; only {VERSION} is known", hint
    if fields.encryption:
        yield "is encrypted", None
    if fields.snapshots:
        count = "a snapshot" if fields.snapshots == 1 else f"{fields.snapshots} snapshots"
        yield f"has {count} inside", "qemu-img snapshot -l {path}, then -d each of them"
    yield from _features(fields.incompatible & ~_DIRTY, _INCOMPATIBLE)
    yield from _features(fields.autoclear, _AUTOCLEAR)
    if fields.cluster_bits not in CLUSTER_BITS:
        yield f"has clusters of 2^{fields.cluster_bits} bytes", None
    if fields.refcount_order != REFCOUNT_ORDER:
        what = f"has refcounts of 2^{fields.refcount_order} bits; only those of 2^{REFCOUNT_ORDER} are known"
        yield what, "qemu-img amend -f qcow2 -o refcount_bits=16 {path}"


def _features(bits: int, known: Mapping[int, tuple[str, str]]) -> Iterator[tuple[str, str]]:
    for bit in (bit for bit in range(64) if bits >> bit & 1):
        yield known.get(bit, (f"has the unknown feature {bit}", "use a newer bangerbuild"))


def _refuse_other_base_format(name: str, head: bytes, header_bytes: int) -> None:
    for kind, data in _extensions(head, header_bytes):
        if kind == BASE_FORMAT and data != b"raw":
            raise _unusable(name, f"stands on a base of the format '{data.decode(errors='replace')}'")


def _extensions(head: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    while at + EXTENSION.size <= len(head):
        kind, length = EXTENSION.unpack_from(head, at)
        at += EXTENSION.size
        if kind == 0:
            return
        yield kind, head[at : at + length]
        at += -(-length // 8) * 8


def _header(fields: _Fields, base: str) -> Header:
    return Header(
        fields.cluster_bits,
        fields.size_bytes,
        fields.l1_entries,
        fields.l1_offset,
        fields.refcount_offset,
        fields.refcount_clusters,
        base,
        fields.compatible,
        bool(fields.incompatible & _DIRTY),
    )


def _checked(header: Header, name: str) -> Header:
    """The header, if its tables can be where it says."""
    mask = header.cluster_bytes - 1
    table_bytes = max(header.l1_entries * 8, header.refcount_clusters << header.cluster_bits)
    if (
        header.l1_offset & mask
        or header.refcount_offset & mask
        or not header.refcount_clusters
        or table_bytes > LARGEST_TABLE_BYTES
        or header.l1_entries < l1_entries_of(header.size_bytes, header.cluster_bits)
        or not header.size_bytes
    ):
        raise _unusable(
            name,
            "is damaged: its tables can't be where its header says",
            f"qemu-img check {quote(name)} says more",
        )
    return header


def base_of(head: bytes) -> str | None:
    """The path of the base that a file names, relative to its directory; None if it can't be told."""
    try:
        return parse_header(head, "").base
    except OverlayError:
        return None
