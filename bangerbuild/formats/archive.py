"""Tarballs as streams of tree entries: ustar, GNU and pax, plain or compressed.

The archive is never held in memory as a whole. It is read completely or refused: one that is cut short, or
that holds a damaged header or an entry that no tree can hold, raises a SourceError that names the archive and
the entry. All metadata is kept: numeric owners, modes, times to the nanosecond, hard links, devices, extended
attributes, holes.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bangerbuild.errors import SourceError, printable_bytes
from bangerbuild.formats import pax, sparse
from bangerbuild.formats.format_error import FormatError
from bangerbuild.formats.hostfile import opened_file
from bangerbuild.formats.limits import ENTRY_BYTES, Budget, UnpackLimits
from bangerbuild.formats.names import new_parents, symlink_text, tree_path
from bangerbuild.formats.tarheader import BLOCK_BYTES
from bangerbuild.formats.tarmembers import Member, read_members
from bangerbuild.formats.tarstream import MemberContent, TarStream
from bangerbuild.tree import Entry, EntryType

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_OLD_GNU_SPARSE = b"S"
_FILE_TYPES = frozenset({b"0", b"\0", b"7", _OLD_GNU_SPARSE})
_OTHER_TYPES = {
    b"1": EntryType.HARD_LINK,
    b"2": EntryType.SYMLINK,
    b"3": EntryType.CHARACTER_DEVICE,
    b"4": EntryType.BLOCK_DEVICE,
    b"5": EntryType.DIRECTORY,
    b"6": EntryType.FIFO,
}
_REFUSED_TYPES = {
    b"D": "a directory of an incremental backup",
    b"M": "the continuation of a file on another volume",
    b"N": "a list of long names of an old GNU tar",
}
_VOLUME_KEYS = (b"GNU.volume.filename", b"GNU.volume.size", b"GNU.volume.offset")
ID_MAX = 0xFFFFFFFE
MAJOR_MAX, MINOR_MAX = 0xFFF, 0xFFFFF
SYMLINK_MODE = 0o777
"""The only mode of a symlink under Linux, whatever an archive says."""
DEFAULT_LIMITS = UnpackLimits()


@contextmanager
def open_archive(
    path: Path, *, written: str | None = None, limits: UnpackLimits = DEFAULT_LIMITS
) -> Iterator[Iterator[Entry]]:
    """The entries of the tarball at `path`, in its order. A name may be repeated; its last entry counts.

    The target of a hard link may be missing or come later; parents may come later or never. `written` is the
    archive's name in messages.

    Raises:
        SourceError: here or while iterating: it is no tarball, is cut short or damaged, unpacks to more than
            `limits` allow, or holds an entry that can't be read.
    """
    written = written or str(path)
    with opened_file(path, written, directory_hint="name it with `directory = …`") as file:
        budget = Budget(limits, os.fstat(file.fileno()).st_size, written)
        yield read_entries(TarStream(file, written, budget=budget))


def read_entries(stream: TarStream) -> Iterator[Entry]:
    """The entries of an open tarball, to the end of its stream; SourceError as `open_archive`."""
    parents = {""}
    for member in read_members(stream):
        stream.place = f"in the middle of '{member.name}'"
        try:
            entry, content = _entry(member, stream)
        except FormatError as err:
            raise SourceError(f"'{stream.written}': '{member.name}' {err.brief}", hint=err.hint) from err
        stream.spend(ENTRY_BYTES * (1 + new_parents(entry.path, parents)))
        yield entry
        if content:
            content.finish()
        stream.place = f"after '{member.name}'"
    stream.drain()


def _entry(member: Member, stream: TarStream) -> tuple[Entry, MemberContent | None]:
    if any(key in _VOLUME_KEYS for key in member.records):
        raise FormatError("is part of a multi-volume archive")
    path = tree_path(member.raw_name)
    type_ = _type(member)
    if not path and type_ is not EntryType.DIRECTORY:
        raise FormatError(f"is the top of the tree and a {type_.value}")
    if type_ is EntryType.FILE:
        return _file(member, path, stream)
    return _plain_entry(member, path, type_), None


def _type(member: Member) -> EntryType:
    kind = member.header.type
    if kind in _FILE_TYPES:  # tar before POSIX marked a directory only by a slash at its end
        is_directory = kind != _OLD_GNU_SPARSE and member.raw_name.endswith(b"/")
        return EntryType.DIRECTORY if is_directory else EntryType.FILE
    if kind in _OTHER_TYPES:
        return _OTHER_TYPES[kind]
    unknown = f"of the unknown type '{printable_bytes(kind)}'"
    raise FormatError(f"is {_REFUSED_TYPES.get(kind, unknown)}")


def _plain_entry(member: Member, path: str, type_: EntryType) -> Entry:
    header, records = member.header, member.records
    target = ""
    device = (0, 0)
    if type_ is EntryType.SYMLINK:
        target = symlink_text(records.get(b"linkpath") or header.link)
    elif type_ is EntryType.HARD_LINK:
        target = tree_path(records.get(b"linkpath") or header.link)
    elif type_ in {EntryType.CHARACTER_DEVICE, EntryType.BLOCK_DEVICE}:
        device = _device(member)
    return Entry(
        path,
        type_,
        mode=SYMLINK_MODE if type_ is EntryType.SYMLINK else header.mode,
        uid=_id(member, b"uid", header.uid),
        gid=_id(member, b"gid", header.gid),
        mtime_ns=_mtime_ns(member),
        target=target,
        device=device,
        xattrs=pax.xattrs(records) if records else {},
    )


def _file(member: Member, path: str, stream: TarStream) -> tuple[Entry, MemberContent]:
    stored = member.number(b"size", member.header.size_bytes, "size")
    is_plain = not member.records and member.header.type != _OLD_GNU_SPARSE
    size, map_bytes, extents = (stored, 0, None) if is_plain else _layout(member, stored, stream)
    content = MemberContent(stream, stored - map_bytes)
    entry = Entry(
        path,
        EntryType.FILE,
        mode=member.header.mode,
        uid=_id(member, b"uid", member.header.uid),
        gid=_id(member, b"gid", member.header.gid),
        mtime_ns=_mtime_ns(member),
        size_bytes=size,
        xattrs=pax.xattrs(member.records) if member.records else {},
        content=content.as_file(),
        data_extents=extents,
    )
    return entry, content


def _layout(member: Member, stored: int, stream: TarStream) -> tuple[int, int, sparse.Extents | None]:
    """(real size, bytes of a sparse map before the data, extents); reads the map from the stream."""
    records = member.records
    map_bytes = 0

    def read_block() -> bytes:
        return stream.read_exactly(BLOCK_BYTES)

    if member.header.type == _OLD_GNU_SPARSE:
        size, pairs = sparse.old_gnu_map(member.block, read_block)
        return size, 0, sparse.checked(pairs, size, stored)
    if records.get(b"GNU.sparse.major") == b"1":
        map_bytes, pairs = sparse.leading_map(stored, read_block)
    elif b"GNU.sparse.map" in records:
        pairs = sparse.pax_map(records[b"GNU.sparse.map"])
    elif b"GNU.sparse.size" in records:
        pairs = sparse.pax_map(b",".join(member.extensions.sparse_pairs))
    else:
        return stored, 0, None
    size = member.number(b"GNU.sparse.realsize", 0, "size") or member.number(b"GNU.sparse.size", 0, "size")
    return size, map_bytes, sparse.checked(pairs, size, stored - map_bytes)


def _device(member: Member) -> tuple[int, int]:
    major = member.number(b"SCHILY.devmajor", member.header.major, "major number")
    minor = member.number(b"SCHILY.devminor", member.header.minor, "minor number")
    if major > MAJOR_MAX or minor > MINOR_MAX:
        raise FormatError(f"has a device number that Linux does not hold: {major}, {minor}")
    return major, minor


def _id(member: Member, key: bytes, otherwise: int) -> int:
    value = member.number(key, otherwise, "owner")
    if value > ID_MAX:
        raise FormatError(f"has an owner that no filesystem holds: {value}")
    return value


def _mtime_ns(member: Member) -> int:
    value = member.records.get(b"mtime")
    return pax.mtime_ns(value) if value else member.header.mtime_s * 10**9
