"""Host directories as streams of tree entries: sorted, depth first, no symlink below the top followed.

Every name is reached through the descriptor of its directory, so a path of any length works and nothing on
the way can be swapped for a symlink.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from bangerbuild.errors import SourceError
from bangerbuild.formats.hostentry import TreeRules, host_entry, host_xattrs
from bangerbuild.formats.hostfile import (
    STAT_BLOCK_BYTES,
    HostContent,
    check_is_file,
    identity,
    stat_of,
    unreadable,
)
from bangerbuild.formats.names import text_of
from bangerbuild.host import observed
from bangerbuild.tree import TYPES, Entry, EntryType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bangerbuild.formats.dockerignore import IgnoreRules

    Skipped = Callable[[str, EntryType], None]
    IsKnown = Callable[[str], bool]
    Found = tuple[Entry, os.stat_result]

_DIRECTORY_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def walk_directory(
    top: Path, rules: TreeRules, *, written: str | None = None, skipped: Skipped | None = None
) -> Iterator[Entry]:
    """The tree below `top`, which may be a symlink to a directory; the first entry is the top itself.

    A further name of an inode met before is a hard link to the first name. `written` is what messages call
    `top`. `skipped` is told the path and type of each entry that the rules leave out for its type.

    Raises:
        SourceError: while iterating or reading a content: something can't be read, vanished or changed, or
            `rules.exclude` holds what is no pattern.
    """
    for entry, _ in walk_with_stat(top, rules, written=written, skipped=skipped):
        yield entry


def walk_with_stat(  # noqa: PLR0913  # each by its name
    top: Path,
    rules: TreeRules,
    *,
    written: str | None = None,
    skipped: Skipped | None = None,
    holes: bool = True,
    is_known: IsKnown | None = None,
) -> Iterator[Found]:
    """As `walk_directory`, each entry with what stat said of it. Without `holes` they read as zeros.

    `is_known` is asked of each path below the top when its turn comes; where it says yes, the walk passes
    over that path and all below it.
    """
    written = written or str(top)
    if not stat.S_ISDIR(stat_of(top, written).st_mode):
        raise SourceError(f"'{written}' is no directory")
    walk = _TreeWalk(top, rules, written, skipped, holes, is_known)
    try:
        yield from _not_ignored(walk.entries(), rules.ignore) if rules.ignore else walk.entries()
    finally:
        walk.close()


def read_file_entry(path: Path, rules: TreeRules, *, written: str | None = None) -> Entry:
    """The regular file at `path`, which may be a symlink to it, as an entry with an empty path.

    Its content holds a descriptor from the first read to the last; close it if it is not read to the end.

    Raises:
        SourceError: here or while reading: it is no regular file, can't be read, vanished or changed.
    """
    return file_with_stat(path, rules, written=written)[0]


def file_with_stat(path: Path, rules: TreeRules, *, written: str | None = None, holes: bool = True) -> Found:
    """As `read_file_entry`, with what stat said of the file. Without `holes` they read as zeros."""
    written = written or str(path)
    found = check_is_file(path, written)
    content = HostContent(lambda flags: os.open(path, flags & ~os.O_NOFOLLOW), identity(found), written)
    xattrs = host_xattrs(os.fsencode(path), written, follow=True) if rules.xattrs else {}
    return _file("", found, rules, xattrs, content, holes=holes), found


def _file(  # noqa: PLR0913 - all that is known of a file
    path: str,
    found: os.stat_result,
    rules: TreeRules,
    xattrs: dict[str, bytes],
    content: HostContent,
    *,
    holes: bool,
) -> Entry:
    is_sparse = holes and found.st_blocks * STAT_BLOCK_BYTES < found.st_size
    extents = content.skip_holes() if is_sparse else None
    return host_entry(path, found, rules, xattrs, content=content.as_file(), data_extents=extents)


@dataclass
class _Level:
    """One open directory and the names of it that are still to come, the next one last."""

    fd: int
    prefix: str
    names: list[bytes]


@dataclass
class _TreeWalk:
    top: Path
    rules: TreeRules
    written: str
    skipped: Skipped | None
    holes: bool
    is_known: IsKnown | None = None
    levels: list[_Level] = field(default_factory=list)
    first_names: dict[tuple[int, int], str] = field(default_factory=dict)

    def entries(self) -> Iterator[Found]:
        is_excluded = _exclusion(self.rules)
        yield self._enter(os.fsencode(self.top), None, "")
        while self.levels:
            level = self.levels[-1]
            if not level.names:
                os.close(self.levels.pop().fd)
                continue
            name = level.names.pop()
            path = level.prefix + text_of(name)
            if self.is_known is not None and self.is_known(path):
                continue
            found = self._stat(name, level.fd, path)
            if is_excluded(path, found):
                continue
            if stat.S_ISDIR(found.st_mode):
                observed.note_link(self.top, path, found)
                yield self._enter(name, level.fd, path)
            elif entry := self._entry(name, level.fd, path, found):
                try:
                    yield entry, found
                finally:  # a walk that is given up too: the content opens by the number of a descriptor
                    if entry.content:
                        entry.content.close()

    def close(self) -> None:
        while self.levels:
            os.close(self.levels.pop().fd)

    def _enter(self, name: bytes, parent_fd: int | None, path: str) -> Found:
        """Opens a directory, whose names come next, and returns its own entry."""
        no_follow = 0 if parent_fd is None else os.O_NOFOLLOW
        try:
            fd = os.open(name, _DIRECTORY_FLAGS | no_follow, dir_fd=parent_fd)
            level = _Level(fd, f"{path}/" if path else "", [])
            self.levels.append(level)
            names = os.listdir(fd)  # noqa: PTH208 - a descriptor has no path
            level.names = sorted(map(os.fsencode, names), reverse=True)
        except OSError as err:
            raise unreadable(err, self._called(path)) from err
        found = os.fstat(fd)
        return host_entry(path, found, self.rules, self._xattrs(fd, path)), found

    def _entry(self, name: bytes, fd: int, path: str, found: os.stat_result) -> Entry | None:
        type_ = TYPES[stat.S_IFMT(found.st_mode)]
        if not self.rules.takes(type_):
            if self.skipped:
                self.skipped(path, type_)
            return None
        observed.note_link(self.top, path, found)
        xattrs = self._xattrs(b"/proc/self/fd/%d/%s" % (fd, name), path)
        if found.st_nlink > 1:
            first = self.first_names.setdefault((found.st_dev, found.st_ino), path)
            if first != path:
                entry = host_entry(path, found, self.rules, xattrs, target=first)
                return replace(entry, type=EntryType.HARD_LINK, size_bytes=0)
        if type_ is EntryType.FILE:
            content = HostContent(
                lambda flags: os.open(name, flags, dir_fd=fd), identity(found), self._called(path)
            )
            return _file(path, found, self.rules, xattrs, content, holes=self.holes)
        target = self._target(name, fd, path) if type_ is EntryType.SYMLINK else ""
        return host_entry(path, found, self.rules, xattrs, target=target)

    def _stat(self, name: bytes, fd: int, path: str) -> os.stat_result:
        try:
            return os.stat(name, dir_fd=fd, follow_symlinks=False)
        except OSError as err:
            raise unreadable(err, self._called(path)) from err

    def _target(self, name: bytes, fd: int, path: str) -> str:
        try:
            return text_of(os.readlink(name, dir_fd=fd))
        except OSError as err:
            raise unreadable(err, self._called(path)) from err

    def _xattrs(self, where: bytes | int, path: str) -> dict[str, bytes]:
        return host_xattrs(where, self._called(path)) if self.rules.xattrs else {}

    def _called(self, path: str) -> str:
        return f"{self.written.rstrip('/')}/{path}" if path else self.written


def leaves_out(rules: TreeRules, directory: str) -> bool:
    """Whether a walk with these rules leaves a directory out; its path is relative to the top.

    Raises:
        SourceError: `rules.exclude` holds what is no pattern.
    """
    if rules.ignore is not None:
        return rules.ignore.prunes(directory)
    is_excluded, parts = _matcher(rules.exclude), directory.split("/")
    return any(is_excluded(f"{'/'.join(parts[: count + 1])}/") for count in range(len(parts)))


def _not_ignored(entries: Iterator[Found], ignore: IgnoreRules) -> Iterator[Found]:
    """The entries that are not left out, and the directories above them."""
    waiting: list[Found] = []
    for found in entries:
        path = found[0].path
        waiting = [above for above in waiting if path.startswith(f"{above[0].path}/")]
        if path and ignore.leaves_out(path):
            if found[0].type is EntryType.DIRECTORY:
                waiting.append(found)
            continue
        yield from waiting
        waiting = []
        yield found


def _exclusion(rules: TreeRules) -> Callable[[str, os.stat_result], bool]:
    """Whether a path is left out. A directory that is takes all below it along, as in git."""
    ignore = rules.ignore
    if ignore is not None:
        return lambda path, _found: ignore.prunes(path)
    if not rules.exclude:
        return lambda _path, _found: False
    matches = _matcher(rules.exclude)
    return lambda path, found: matches(f"{path}/" if stat.S_ISDIR(found.st_mode) else path)


def _matcher(patterns: tuple[str, ...]) -> Callable[[str], bool]:
    """Whether a pattern matches a path, which ends in a slash if it is a directory's."""
    if not patterns:
        return lambda _path: False
    from pathspec import GitIgnoreSpec  # noqa: PLC0415  30 ms that a tree without patterns saves

    try:
        spec = GitIgnoreSpec.from_lines(patterns)
    except ValueError as err:  # pathspec's own error is a ValueError in every version
        raise SourceError(f"`exclude` holds no gitignore pattern: {err}") from err
    return spec.match_file
