"""A host tree or file that is walked once for a whole run: its entries, and the digest of each content.

No content and no open file is kept. A content is opened where it is read, and must still be the file that was
seen. Who writes it somewhere compares the digest of what was read with the survey's: a file may be changed
without a trace in its times, if that is done within one tick of the clock.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING

from bangerbuild.formats.digest import Listing, digested, is_settled, stat_key
from bangerbuild.formats.hostfile import HostContent, identity
from bangerbuild.formats.names import bytes_of
from bangerbuild.formats.totals import allocated_bytes
from bangerbuild.tree import EntryType

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from bangerbuild.formats.digest import DigestCache
    from bangerbuild.formats.hostentry import TreeRules
    from bangerbuild.formats.hostfile import Identity
    from bangerbuild.tree import Entry

    _State = tuple[int, int, int, int, int, int, int]

_NO_XATTRS: Mapping[str, bytes] = MappingProxyType({})
_DIRECTORY_FLAGS = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class SurveyedEntry:
    """One entry of a tree, as it was seen."""

    entry: Entry
    """Without its content."""
    digest: str = ""
    """sha256 of a file's content, in hex; empty for what has none."""
    seen: Identity | None = None
    """Of a file with a content."""


class Survey:
    """What was found at one place of the host.

    Args:
        top: the directory or file.
        entries: in the order of the walk.
        skipped: path and type of what the rules leave out for its type.
        digest: of the whole tree, see `tree_digest`.
        states: what stat said of each entry, see `_state`; None if some were so young that their next change
            could leave the same.
    """

    def __init__(
        self,
        top: Path,
        entries: Sequence[SurveyedEntry],
        skipped: Sequence[tuple[str, EntryType]],
        digest: str,
        states: Sequence[_State] | None = None,
    ) -> None:
        self._top = top
        self._states = states
        self._entries = entries
        self.skipped = skipped
        self.digest = digest
        self.size_bytes = sum(one.entry.size_bytes for one in entries)
        self.has_hard_links = any(one.entry.type is EntryType.HARD_LINK for one in entries)

    @cached_property
    def allocated_bytes(self) -> int:
        """What all contents take, in whole blocks; holes do not count."""
        return sum(allocated_bytes(one.entry) for one in self._entries)

    def is_as_seen(self) -> bool:
        """Whether nothing of it has changed, told by stat alone; False if that can't tell.

        A name that comes or goes changes the times of its directory.
        """
        if self._states is None:
            return False
        top = os.fsencode(self._top)
        try:
            for one, state in zip(self._entries, self._states, strict=True):
                path = one.entry.path
                found = os.lstat(b"%s/%s" % (top, bytes_of(path))) if path else self._top.stat()
                if _state(found) != state:
                    return False
        except OSError:
            return False
        return True

    def paths(self) -> Iterator[str]:
        """The path of each entry."""
        return (one.entry.path for one in self._entries)

    def directories(self) -> Iterator[str]:
        """The path of each directory."""
        return (one.entry.path for one in self._entries if one.entry.type is EntryType.DIRECTORY)

    def mtimes(self) -> Iterator[tuple[str, int]]:
        """The path and mtime, in nanoseconds, of each entry but for directories."""
        entries = (one.entry for one in self._entries)
        return ((entry.path, entry.mtime_ns) for entry in entries if entry.type is not EntryType.DIRECTORY)

    def seen(self) -> Iterator[tuple[Entry, str]]:
        """Each entry with the digest of its content, which can't be read."""
        return ((one.entry, one.digest) for one in self._entries)

    def entries(self, written: str, without: Collection[str] = frozenset()) -> Iterator[tuple[Entry, str]]:
        """Each entry with the digest of its content, which can be read until the next entry is asked for.

        Args:
            written: what messages call the top.
            without: the paths of entries that are left out.
        """
        for one in self._entries:
            if one.entry.path in without:
                continue
            entry = self._with_content(one, written)
            try:
                yield entry, one.digest
            finally:
                if entry.content:
                    entry.content.close()

    def entry(self, path: str, written: str) -> Entry:
        """One entry again, with its content at the start."""
        return self._with_content(next(one for one in self._entries if one.entry.path == path), written)

    def _with_content(self, one: SurveyedEntry, written: str) -> Entry:
        if one.seen is None:
            return one.entry
        path = one.entry.path
        name = f"{written.rstrip('/')}/{path}" if path else written
        content = HostContent(lambda flags: _open(self._top, path, flags), one.seen, name)
        return replace(one.entry, content=content.as_file())


def survey(
    top: Path, rules: TreeRules, *, cache: DigestCache | None = None, written: str | None = None
) -> Survey:
    """Walk a directory or file, and read each file whose digest is not in the cache.

    Raises:
        SourceError: something can't be read, or vanished or changed during the walk.
    """
    listing = Listing()
    entries: list[SurveyedEntry] = []
    skipped: list[tuple[str, EntryType]] = []
    states: list[_State] = []
    are_settled = True
    found_all = digested(
        top, rules, cache=cache, written=written, skipped=lambda path, type_: skipped.append((path, type_))
    )
    for entry, found, digest in found_all:
        listing.add(entry, digest)
        seen = identity(found) if entry.content else None
        kept = replace(entry, content=None, xattrs=entry.xattrs or _NO_XATTRS)
        entries.append(SurveyedEntry(kept, digest, seen))
        states.append(_state(found))
        are_settled = are_settled and is_settled(found)
    return Survey(top, tuple(entries), tuple(skipped), listing.hexdigest(), states if are_settled else None)


def _state(found: os.stat_result) -> _State:
    """All that changes with an entry: a write, another mode or owner or attribute changes its ctime."""
    return (*stat_key(found), found.st_mode, found.st_nlink)


def _open(top: Path, path: str, flags: int) -> int:
    """A file of a tree. It may be another by now, which its reader finds out."""
    if not path:
        return os.open(top, flags & ~os.O_NOFOLLOW)
    name = bytes_of(path)
    try:
        return os.open(b"%s/%s" % (os.fsencode(top), name), flags)
    except OSError as err:
        if err.errno != errno.ENAMETOOLONG:
            raise
    return _open_step_by_step(top, name.split(b"/"), flags)


def _open_step_by_step(top: Path, names: Sequence[bytes], flags: int) -> int:
    """The same of a path that is too long for one call."""
    fd = os.open(top, _DIRECTORY_FLAGS & ~os.O_NOFOLLOW)
    try:
        for name in names[:-1]:
            below = os.open(name, _DIRECTORY_FLAGS, dir_fd=fd)
            os.close(fd)
            fd = below
        return os.open(names[-1], flags, dir_fd=fd)
    finally:
        os.close(fd)
