"""Files and directories of the controller that go along with shares, each as an object.

An object is a listing: every entry with its mode, its times and the digest of its content. Its key is the
digest of the listing, so the same files have the same key in every run and on every machine. A node that
has an object is sent nothing of it; one that lacks it is sent the contents that it lacks, each once, in
pieces.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from bangerbuild.cluster import documents
from bangerbuild.cluster.documents import NOTHING_LOCAL
from bangerbuild.formats import digest
from bangerbuild.formats.hostentry import TreeRules
from bangerbuild.formats.hostfile import HostContent, identity
from bangerbuild.tree import EntryType

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from bangerbuild.formats.digest import DigestCache
    from bangerbuild.formats.hostfile import Identity
    from bangerbuild.model import HostPath, Source
    from bangerbuild.tree import Entry

PIECE_BYTES = 8 << 20
"""The most of a content that one message has."""
_CONTENT_ALONE = TreeRules(xattrs=False, specials=False)
_EVERYTHING = TreeRules(keep_owner=True)


@dataclass(frozen=True)
class ObjectEntry:
    """One entry of an object."""

    path: str
    """Relative to the top, without slashes at its ends; empty for the top."""
    type: str
    """As `EntryType` has it."""
    mode: int
    mtime_ns: int
    digest: str = ""
    """sha256 of a file's content, in hex; empty for what has none."""
    size_bytes: int = 0
    target: str = ""
    """Of a symlink its text, of a hard link the path of the first name."""
    owner: tuple[int, int] | None = None
    """User and group, where they count."""
    device: tuple[int, int] = (0, 0)
    xattrs: Mapping[str, str] = field(default_factory=dict)
    """Values in hex."""


@dataclass(frozen=True)
class HostObject:
    """A file or directory of this host, as it was seen."""

    key: str
    listing: bytes
    """The entries, as a message."""
    contents: Mapping[str, Content]
    """By digest: one of the files that have it."""


@dataclass(frozen=True)
class Content:
    """A content that can be read again, if it is still what was seen."""

    path: Path
    seen: Identity
    written: str
    size_bytes: int

    def pieces(self) -> Iterator[tuple[int, bytes]]:
        """Offset and bytes of each piece; pieces of zeros alone are left out.

        Raises:
            SourceError: the file can't be read, or is not what it was.
        """
        with HostContent(self._open, self.seen, self.written) as content:
            offset = 0
            while piece := content.read(PIECE_BYTES):
                if piece.count(0) < len(piece):
                    yield offset, piece
                offset += len(piece)

    def _open(self, flags: int) -> int:
        return os.open(self.path, flags)


class HostFiles:
    """The objects of one run, each made when it is asked for, and once.

    Args:
        sources: what steps read, which says what of each tree is taken.
        cache: of digests; None: every file is read.
    """

    def __init__(self, sources: Iterable[Source], cache: DigestCache | None = None) -> None:
        self._cache = cache
        self._rules: dict[Path, TreeRules] = {}
        self._made: dict[Path, HostObject] = {}
        for source in sources:
            if source.path is not None:
                rules = _sent(source.rules)
                known = self._rules.get(source.path)
                self._rules[source.path] = rules if known is None else _joined(known, rules)

    def object_of(self, path: HostPath) -> HostObject:
        """The object of a file or directory.

        Raises:
            SourceError: it can't be read.
        """
        if path.path not in self._made:
            self._made[path.path] = self._make(path)
        return self._made[path.path]

    def _make(self, path: HostPath) -> HostObject:
        entries: list[ObjectEntry] = []
        contents: dict[str, Content] = {}
        rules = self._rules.get(path.path, _EVERYTHING)
        found_all = digest.digested(path.path, rules, cache=self._cache, written=path.written)
        for entry, found, content in found_all:
            entries.append(_listed(entry, found, content, rules))
            if content:
                place = path.path / entry.path if entry.path else path.path
                name = f"{path.written}/{entry.path}" if entry.path else path.written
                contents.setdefault(content, Content(place, identity(found), name, entry.size_bytes))
        listing = [documents.encoded(one, NOTHING_LOCAL) for one in entries]
        key = hashlib.sha256(json.dumps(listing, sort_keys=True).encode()).hexdigest()
        return HostObject(key, documents.written({"entries": listing}), contents)


def _sent(rules: TreeRules | None) -> TreeRules:
    """What is sent of a tree: with the host's modes and times, to which the node applies the rules itself."""
    if rules is None:
        return _CONTENT_ALONE
    return replace(rules, mtime_s=None, file_mode=None, directory_mode=None, top_mode=None)


def _joined(one: TreeRules, other: TreeRules) -> TreeRules:
    """What is sent where a tree is read by two rules: all that either takes."""
    if other in {one, _CONTENT_ALONE}:
        return one
    if one == _CONTENT_ALONE:
        return other
    return TreeRules(
        keep_owner=one.keep_owner or other.keep_owner,
        exclude=one.exclude if one.exclude == other.exclude else (),
        ignore=one.ignore if one.ignore == other.ignore else None,
        xattrs=one.xattrs or other.xattrs,
        specials=one.specials or other.specials,
    )


def _listed(entry: Entry, found: os.stat_result, content: str, rules: TreeRules) -> ObjectEntry:
    is_linked = entry.type is EntryType.HARD_LINK
    return ObjectEntry(
        entry.path,
        entry.type.value,
        entry.mode,
        found.st_mtime_ns,
        content,
        0 if is_linked else entry.size_bytes,
        entry.target,
        (entry.uid, entry.gid) if rules.keep_owner else None,
        entry.device,
        {name: value.hex() for name, value in sorted(entry.xattrs.items())},
    )
