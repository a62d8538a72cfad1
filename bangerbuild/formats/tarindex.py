"""An index of a tarball: where each member's data is, so that one can be read without unpacking the others.

Names are normalised to paths inside the tarball, and links are followed among its members only. If a name
occurs twice, the last member counts, as when the tarball is unpacked.
"""

from __future__ import annotations

import hashlib
import posixpath
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from bangerbuild.errors import SourceError, printable_bytes
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
"""What a member counts besides its name; about 100,000 members with usual names are allowed."""
_PIECE_BYTES = 1 << 20
_LINKS_MAX = 40
"""The number of links that Linux follows (path_resolution(7))."""


@dataclass(frozen=True, slots=True)
class Part:
    """The position of a file's data in the decompressed tarball."""

    offset: int
    size_bytes: int
    digest: str | None = None
    """`sha256:…`, if the data had to be read."""


@dataclass(frozen=True, slots=True)
class NotAFile:
    """A member that is no regular file; `brief` is a predicate for messages."""

    brief: str


IndexEntry: TypeAlias = Part | NotAFile | str
"""What a name stands for: file data, something else, or (a string) the name that a link leads to."""


@dataclass(frozen=True)
class TarIndex:
    """The members of a tarball by their names."""

    entries: Mapping[str, IndexEntry]

    def find(self, name: str) -> Part | None:
        """The data of the file with this name, links followed; None if there is none.

        Raises:
            FormatError: it is no file, or a link that leads in a circle.
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
        """A copy with further names (new name: old name); FormatError as `find`."""
        return TarIndex(
            {
                **self.entries,
                **{name: self.find(old) or NotAFile("is missing") for name, old in names.items()},
            }
        )


def read_index(stream: TarStream) -> TarIndex:
    """Read an open tarball to its end and index it; data of an uncompressed one is skipped.

    Raises:
        SourceError: it is no tarball, is damaged, or holds a member that can't be read.
    """
    entries: dict[str, IndexEntry] = {}
    left = _NAMES_BYTES_MAX
    for member in read_members(stream):
        stream.place = f"in the middle of '{member.name}'"
        left -= _MEMBER_BYTES + len(member.raw_name) + len(_target(member))
        if left < 0:
            raise SourceError(f"'{stream.written}' has too many entries for an archive of images")
        try:
            name, entry = tree_path(member.raw_name), _entry(member, stream)
        except FormatError as err:
            raise SourceError(f"'{stream.written}': '{member.name}' {err.brief}", hint=err.hint) from err
        entries[name] = _passed(entry, stream) if isinstance(entry, Part) else entry
        stream.place = f"after '{member.name}'"
    stream.drain()
    return TarIndex(entries)


def _passed(part: Part, stream: TarStream) -> Part:
    """Skip the data of a member; if it has to be read for that, its digest is computed on the way."""
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
    raise FormatError(f"is of a type that no archive of images has: '{printable_bytes(kind)}'")


def _target(member: Member) -> bytes:
    return member.records.get(b"linkpath") or member.header.link


def _symlink(member: Member) -> IndexEntry:
    """The member that a symlink leads to; symlinks to directories are not followed."""
    above = posixpath.dirname(tree_path(member.raw_name))
    target = posixpath.normpath(posixpath.join(above, symlink_text(_target(member))))
    if target == ".." or target.startswith(("/", "../")):
        return NotAFile("is a link that leads out of the archive")
    return target
