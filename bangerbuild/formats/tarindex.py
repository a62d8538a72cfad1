"""Which member of a tarball lies where, so that one can be read without unpacking any.

Names are led back to paths inside of the tarball, and links are followed among its members only. Of a name
that comes twice the last one counts, as for whoever unpacks it.
"""

from __future__ import annotations

import hashlib
import posixpath
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from bangerbuild.errors import SourceError
from bangerbuild.formats.format_error import FormatError
from bangerbuild.formats.names import symlink_text, tree_path
from bangerbuild.formats.tarheader import BLOCK_BYTES
from bangerbuild.formats.tarmembers import read_members

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bangerbuild.formats.tarmembers import Member
    from bangerbuild.formats.tarstream import TarStream

_FILES = {b"0", b"\0", b"7"}
_HARD_LINK, _SYMLINK, _DIRECTORY = b"1", b"2", b"5"
_SPARSE = b"S"
_SPARSE_KEYS = b"GNU.sparse."
_SPECIAL = {b"3": "a device", b"4": "a device", b"6": "a pipe"}
_SPARSE_HINT = "pack it again without --sparse"
_NAMES_BYTES_MAX = 16 << 20
_MEMBER_BYTES = 128
"""What a member counts beside its name: 100,000 of them with names of usual length are what is taken."""
_PIECE_BYTES = 1 << 20
_LINKS_MAX = 40
"""As many as Linux follows (path_resolution(7))."""


@dataclass(frozen=True, slots=True)
class Part:
    """Where the data of a file lies in the plain bytes of a tarball."""

    offset: int
    size_bytes: int
    digest: str | None = None
    """`sha256:…`, where the data had to be read."""


@dataclass(frozen=True, slots=True)
class NotAFile:
    """What is no file: `brief` is a predicate."""

    brief: str


IndexEntry: TypeAlias = Part | NotAFile | str
"""Of a member; a text is the name that a link leads to."""


@dataclass(frozen=True)
class TarIndex:
    """The members of a tarball by their names."""

    entries: Mapping[str, IndexEntry]

    def find(self, name: str) -> Part | None:
        """Where the file of this name lies, links followed; None if there is none.

        Raises:
            FormatError: it is no file, or a link that has no end.
        """
        for _ in range(_LINKS_MAX + 1):
            entry = self.entries.get(name)
            if isinstance(entry, NotAFile):
                raise FormatError(entry.brief)
            if not isinstance(entry, str):
                return entry
            name = entry
        raise FormatError("is a link that leads in a circle")

    def with_names(self, names: Mapping[str, str]) -> TarIndex:
        """The same, and further names for files that there are; FormatError as `find`."""
        return TarIndex(
            {
                **self.entries,
                **{name: self.find(old) or NotAFile("is missing") for name, old in names.items()},
            }
        )


def read_index(stream: TarStream) -> TarIndex:
    """The index of an open tarball, read to its end; its data is passed over where it is not compressed.

    Raises:
        SourceError: it is no tarball, or damaged, or holds what can't be taken.
    """
    entries: dict[str, IndexEntry] = {}
    left = _NAMES_BYTES_MAX
    for member in read_members(stream):
        stream.place = f"in the middle of {member.name!r}"
        left -= _MEMBER_BYTES + len(member.raw_name) + len(_target(member))
        if left < 0:
            raise SourceError(f"{stream.written!r} has too many entries for an archive of images")
        try:
            name, entry = tree_path(member.raw_name), _entry(member, stream)
        except FormatError as err:
            raise SourceError(f"{stream.written!r}: {member.name!r} {err.brief}", hint=err.hint) from err
        entries[name] = _passed(entry, stream) if isinstance(entry, Part) else entry
        stream.place = f"after {member.name!r}"
    stream.drain()
    return TarIndex(entries)


def _passed(part: Part, stream: TarStream) -> Part:
    """The same, its data passed over; what has to be read for that is not read again for its digest."""
    padding = -part.size_bytes % BLOCK_BYTES
    if not stream.compression:
        stream.skip(part.size_bytes, padding)
        return part
    digest = hashlib.sha256()
    left = part.size_bytes
    while left:
        data = stream.read_exactly(min(left, _PIECE_BYTES))
        digest.update(data)
        left -= len(data)
    stream.skip(0, padding)
    return replace(part, digest=f"sha256:{digest.hexdigest()}")


def _entry(member: Member, stream: TarStream) -> IndexEntry:
    kind = member.header.type
    if kind == _SPARSE or any(key.startswith(_SPARSE_KEYS) for key in member.records):
        raise FormatError("is stored with holes, and can't be read where it lies", hint=_SPARSE_HINT)
    if kind == _DIRECTORY or (kind in _FILES and member.raw_name.endswith(b"/")):
        return NotAFile("is a directory")
    if kind in _FILES:
        return Part(stream.position, member.number(b"size", member.header.size_bytes, "size"))
    if kind == _HARD_LINK:
        return tree_path(_target(member))
    if kind == _SYMLINK:
        return _symlink(member)
    if kind in _SPECIAL:
        return NotAFile(f"is {_SPECIAL[kind]}")
    raise FormatError(f"is of a type that no archive of images has: {kind!r}")


def _target(member: Member) -> bytes:
    return member.records.get(b"linkpath") or member.header.link


def _symlink(member: Member) -> IndexEntry:
    """What a symlink names among the members; directories that are links are not followed."""
    above = posixpath.dirname(tree_path(member.raw_name))
    target = posixpath.normpath(posixpath.join(above, symlink_text(_target(member))))
    if target == ".." or target.startswith(("/", "../")):
        return NotAFile("is a link that leads out of the archive")
    return target
