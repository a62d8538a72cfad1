"""A host tree or file that is walked once for a whole run: its entries, and the digest of each content.

No content and no open file is kept. A content is opened where it is read, and must still be the file that was
seen. Who writes it somewhere compares the digest of what was read with the survey's: a file may be changed
without a trace in its times, if that is done within one tick of the clock.

A survey can start from that of an earlier run. Then one pass of stats says what may have changed since, and
only that is walked and read again.
"""

from __future__ import annotations

import errno
import os
from bisect import bisect_left
from dataclasses import replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from bangerbuild.formats.digest import Listing, digested, is_settled, line, stat_key
from bangerbuild.formats.hostfile import HostContent
from bangerbuild.formats.names import bytes_of
from bangerbuild.formats.totals import content_bytes
from bangerbuild.host import observed
from bangerbuild.tree import Entry, EntryType

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from bangerbuild.formats.digest import DigestCache
    from bangerbuild.formats.hostentry import TreeRules
    from bangerbuild.formats.hostfile import Identity

    _State = tuple[int, int, int, int, int, int, int]

_NO_XATTRS: Mapping[str, bytes] = MappingProxyType({})
_DIRECTORY_FLAGS = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_INODE = 2
"""How much of a state says which inode it is."""
_LINKS = 6
"""Where it has the number of names."""
_TYPES = {one.value: one for one in EntryType}


class SurveyedEntry(NamedTuple):
    """One entry of a tree, as it was seen; a `tree.Entry` without its content, which takes longer to make."""

    path: str
    type: EntryType
    mode: int
    uid: int
    gid: int
    mtime_ns: int
    size_bytes: int
    device: tuple[int, int]
    target: str
    xattrs: Mapping[str, bytes]
    digest: str
    """sha256 of a file's content, in hex; empty for what has none."""
    line: bytes
    """What counts of it for the digest of the tree, see `digest.line`."""
    state: _State
    """What stat said of it, see `_state`."""
    is_settled: bool
    """Whether a later change of it shows in its state."""


Walked = tuple[list[tuple[Any, ...]], list[tuple[str, str]]]
"""A survey in values that marshal takes: its entries, and path and type of what was skipped."""


class Survey:
    """What was found at one place of the host.

    Args:
        top: the directory or file.
        rows: in the order of the walk.
        skipped: path and type of what the rules leave out for its type.
        digest: of the whole tree, see `tree_digest`.
        is_news: whether anything of it had to be walked, and was not known from an earlier run.
    """

    def __init__(
        self,
        top: Path,
        rows: Sequence[SurveyedEntry],
        skipped: Sequence[tuple[str, EntryType]],
        digest: str,
        *,
        is_news: bool = True,
    ) -> None:
        self._top = top
        self._rows = rows
        self.skipped = skipped
        self.digest = digest
        self.is_news = is_news
        self.size_bytes = sum(row.size_bytes for row in rows)
        self.has_hard_links = any(row.type is EntryType.HARD_LINK for row in rows)

    def __len__(self) -> int:
        return len(self._rows)

    def walked(self) -> Walked:
        """What a later survey of the same place, by the same rules, can start from."""
        rows = [
            (path, type_.value, *others, dict(xattrs) or None, digest, text, state, is_settled)
            for path, type_, *others, xattrs, digest, text, state, is_settled in self._rows
        ]
        return rows, [(path, type_.value) for path, type_ in self.skipped]

    @cached_property
    def allocated_bytes(self) -> int:
        """What all contents take, in whole blocks; holes do not count."""
        return sum(content_bytes(row.type, row.size_bytes, row.target) for row in self._rows)

    def is_as_seen(self) -> bool:
        """Whether nothing of it has changed, told by stat alone; False if that can't tell.

        A name that comes or goes changes the times of its directory.
        """
        if not all(row.is_settled for row in self._rows):
            return False
        top = os.fsencode(self._top)
        try:
            for row in self._rows:
                found = os.lstat(b"%s/%s" % (top, bytes_of(row.path))) if row.path else self._top.stat()
                if _state(found) != row.state:
                    return False
        except OSError:
            return False
        return True

    def has_names_in_order(self) -> bool:
        """Whether of each file with several names the first is the file, and the others are links to that.

        A walk that meets some of them only can't tell which is the first.
        """
        first: dict[tuple[int, ...], str] = {}
        for row in self._rows:
            if row.type is EntryType.DIRECTORY or row.state[_LINKS] == 1:
                continue
            target = first.setdefault(row.state[:_INODE], row.path)
            if (row.target if row.type is EntryType.HARD_LINK else row.path) != target:
                return False
        return True

    def paths(self) -> Iterator[str]:
        """The path of each entry."""
        return (row.path for row in self._rows)

    def directories(self) -> Iterator[str]:
        """The path of each directory."""
        return (row.path for row in self._rows if row.type is EntryType.DIRECTORY)

    def mtimes(self) -> Iterator[tuple[str, int]]:
        """The path and mtime, in nanoseconds, of each entry but for directories."""
        return ((row.path, row.mtime_ns) for row in self._rows if row.type is not EntryType.DIRECTORY)

    def seen(self) -> Sequence[SurveyedEntry]:
        """Each entry, without its content."""
        return self._rows

    def entries(self, written: str, without: Collection[str] = frozenset()) -> Iterator[tuple[Entry, str]]:
        """Each entry with the digest of its content, which can be read until the next entry is asked for.

        Args:
            written: what messages call the top.
            without: the paths of entries that are left out.
        """
        for row in self._rows:
            if row.path in without:
                continue
            entry = self._with_content(row, written)
            try:
                yield entry, row.digest
            finally:
                if entry.content:
                    entry.content.close()

    def entry(self, path: str, written: str) -> Entry:
        """One entry again, with its content at the start."""
        return self._with_content(next(row for row in self._rows if row.path == path), written)

    def _with_content(self, row: SurveyedEntry, written: str) -> Entry:
        if row.type is not EntryType.FILE:
            return _entry(row)
        name = f"{written.rstrip('/')}/{row.path}" if row.path else written
        seen = _identity(row.state)
        content = HostContent(lambda flags: _open(self._top, row.path, flags), seen, name)
        return replace(_entry(row), content=content.as_file())


def survey(
    top: Path,
    rules: TreeRules,
    *,
    cache: DigestCache | None = None,
    written: str | None = None,
    before: Walked | None = None,
) -> Survey:
    """Walk a directory or file, and read each file whose digest is not in the cache.

    Args:
        top: the directory or file.
        rules: what is taken.
        cache: knows digests of files.
        written: what messages call the top.
        before: what an earlier survey of the same place by the same rules found.

    Raises:
        SourceError: something can't be read, or vanished or changed during the walk.
    """
    if before is not None:
        found = _survey(top, rules, cache, written, _Known(top, before))
        if found.has_names_in_order():
            return found
    return _survey(top, rules, cache, written, None)


def _survey(
    top: Path, rules: TreeRules, cache: DigestCache | None, written: str | None, known: _Known | None
) -> Survey:
    rows: list[SurveyedEntry] = []
    skipped: list[tuple[str, EntryType]] = []

    def is_known(path: str) -> bool:
        return known is not None and known.take(path, rows, skipped)

    found_all = digested(
        top,
        rules,
        cache=cache,
        written=written,
        skipped=lambda path, type_: skipped.append((path, type_)),
        is_known=None if known is None else is_known,
    )
    for entry, found, digest in found_all:
        rows.append(_row(entry, found, digest))
    listing = Listing()
    listing.add(*(row.line for row in rows))
    is_news = known is None or known.has_changed(rows)
    return Survey(top, tuple(rows), tuple(skipped), listing.hexdigest(), is_news=is_news)


def _row(entry: Entry, found: os.stat_result, digest: str) -> SurveyedEntry:
    return SurveyedEntry(
        entry.path,
        entry.type,
        entry.mode,
        entry.uid,
        entry.gid,
        entry.mtime_ns,
        entry.size_bytes,
        entry.device,
        entry.target,
        entry.xattrs or _NO_XATTRS,
        digest,
        line(entry, digest),
        _state(found),
        is_settled(found),
    )


def _remembered(values: tuple[Any, ...]) -> SurveyedEntry:
    """An entry of `Walked`."""
    path, type_, *others, xattrs, digest, text, state, is_settled = values
    return SurveyedEntry._make(
        (path, _TYPES[type_], *others, xattrs or _NO_XATTRS, digest, text, state, is_settled)
    )


def _entry(row: SurveyedEntry) -> Entry:
    """The entry, without its content."""
    return Entry(
        row.path,
        row.type,
        row.mode,
        row.uid,
        row.gid,
        row.mtime_ns,
        row.size_bytes,
        row.target,
        row.device,
        row.xattrs,
    )


def _state(found: os.stat_result) -> _State:
    """All that changes with an entry: a write, another mode or owner or attribute changes its ctime."""
    return (*stat_key(found), found.st_mode, found.st_nlink)


def _identity(state: _State) -> Identity:
    """What of it says that a file is the one it was, see `hostfile.identity`."""
    return state[:4]


class _Known:
    """What an earlier survey found, and how much of it is still there, told by one pass of stats.

    A directory whose stat is the same has the same names, and a file the same content. So of a directory that
    changed, the names are read again, and below one that did not, only what has changed itself is walked.

    Args:
        top: where the tree is.
        walked: what was found.
    """

    def __init__(self, top: Path, walked: Walked) -> None:
        rows, skipped = walked
        self._rows = list(map(_remembered, rows))
        self._skipped = [(path, _TYPES[type_]) for path, type_ in skipped]
        self._places = {row.path: place for place, row in enumerate(self._rows)}
        self._changed = list(self._look(top))
        """The places of what may have changed, ascending."""

    def _look(self, top: Path) -> Iterator[int]:
        note, name = observed.link_noter(top), os.fsencode(top)
        for place, row in enumerate(self._rows):
            if not row.path:  # the walk looks at the top itself
                continue
            try:
                found = os.lstat(b"%s/%s" % (name, bytes_of(row.path)))
            except OSError:
                yield place
                continue
            if note is not None:
                note(row.path, found)
            if _state(found) != row.state or not row.is_settled:
                yield place

    def take(self, path: str, rows: list[SurveyedEntry], skipped: list[tuple[str, EntryType]]) -> bool:
        """Add an entry and all below it, if nothing of that has changed; whether it was so."""
        begin = self._places.get(path)
        if begin is None:
            return False
        below = f"{path}/"
        end = begin + 1
        while end < len(self._rows) and self._rows[end].path.startswith(below):
            end += 1
        if bisect_left(self._changed, begin) != bisect_left(self._changed, end):
            return False
        rows += self._rows[begin:end]
        skipped += [one for one in self._skipped if one[0].startswith(below)]
        return True

    def has_changed(self, rows: Sequence[SurveyedEntry]) -> bool:
        """Whether there is anything else now."""
        return len(rows) != len(self._rows) or bool(self._changed)


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
