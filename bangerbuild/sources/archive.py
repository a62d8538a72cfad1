"""Tarballs as streams of tree entries: ustar, GNU and pax, plain or compressed, never held whole.

An archive is taken whole or refused: one that breaks off, that holds a damaged header or an entry no tree
can hold, raises a SourceError that names the archive and the entry. What a tarball keeps of an inode is
kept: owners by number, modes, times to the nanosecond, hard links, devices, extended attributes, holes.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bangerbuild.errors import SourceError
from bangerbuild.sources import pax, sparse
from bangerbuild.sources.appearance import HEAD_BYTES, appearance
from bangerbuild.sources.hostfile import opened_file
from bangerbuild.sources.names import symlink_text, text_of, tree_path
from bangerbuild.sources.tarheader import BLOCK_BYTES, ZERO_BLOCK, Header, parse_header
from bangerbuild.sources.tarstream import MemberContent, TarStream
from bangerbuild.tree import Entry, EntryType

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_EXTENSION_BYTES_MAX = 16 << 20
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
    b"M": "the continuation of another volume's file",
    b"N": "a list of long names of an old GNU tar",
    b"V": "a volume header",
}
_ID_MAX = 0xFFFFFFFE


@contextmanager
def open_archive(path: Path, *, written: str | None = None) -> Iterator[Iterator[Entry]]:
    """The entries of the tarball at `path`, in its order; repeated ones too, of which the last one counts.

    A hard link's target may be missing or come later; parents may come later or never. `written` is what
    messages call the archive.

    Raises:
        SourceError: here or while iterating: it is no tarball, breaks off, is damaged, or holds an entry
            that can't be taken.
    """
    written = written or str(path)
    with opened_file(path, written, directory_hint="name it with `directory = …`") as file:
        yield _entries(TarStream(file, written))


@dataclass
class _Member:
    """One member with its extended headers, the stream at the start of its data."""

    header: Header
    block: bytes
    records: pax.Records
    sparse_records: list[tuple[bytes, bytes]]

    @property
    def raw_name(self) -> bytes:
        return self.records.get(b"GNU.sparse.name") or self.records.get(b"path") or self.header.name


@dataclass
class _Extensions:
    """What extended headers say of the next member: pax records, and GNU's long names as such."""

    records: pax.Records
    sparse_records: list[tuple[bytes, bytes]] = field(default_factory=list)

    def take(self, pairs: Iterator[tuple[bytes, bytes]]) -> None:
        for key, value in pairs:
            if key in {b"GNU.sparse.offset", b"GNU.sparse.numbytes"}:
                self.sparse_records.append((key, value))
            self.records[key] = value


def _entries(stream: TarStream) -> Iterator[Entry]:
    for member in _members(stream):
        stream.member = text_of(member.raw_name)
        try:
            entry, content = _entry(stream, member)
        except SourceError as err:
            raise _refusal(stream, err) from err
        yield entry
        if content:
            content.finish()
    if stream.member is None:
        raise SourceError(f"{stream.written!r} holds no entries")
    stream.drain()


def _refusal(stream: TarStream, err: SourceError) -> SourceError:
    if err.brief.startswith(repr(stream.written)):
        return err
    return SourceError(f"{stream.written!r} can't be taken: {stream.member!r} {err.brief}", hint=err.hint)
