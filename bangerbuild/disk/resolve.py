"""Where a guest path leads, by the guest's own rules: symlinks, `..`, missing parents, other disks.

Nothing here touches a disk: a `Tree` answers the questions, and every name stays inside it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from bangerbuild.errors import GuestPathError
from bangerbuild.tree import EntryType

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_SYMLINKS = 40
"""As many as Linux follows in one path (`MAXSYMLINKS`)."""
MAX_NAME_BYTES = 255


class Tree(Protocol):
    """The directories and symlinks of a filesystem, by inode number."""

    def child(self, directory: int, name: bytes) -> int:
        """The inode that a name in a directory stands for; 0 if there is none."""

    def kind(self, ino: int) -> EntryType | None:
        """What an inode is."""

    def symlink(self, ino: int) -> bytes:
        """A symlink's text."""


class Location(NamedTuple):
    """Where a path leads: a name in a directory, and the inode there."""

    directory: int
    name: bytes
    """Empty where the path ends in a directory that has no name here: the root, or `..`."""
    ino: int
    """0 if nothing is there."""
    path: str
    """The path without symlinks."""


@dataclass(frozen=True)
class Rules:
    """How one path is to be followed."""

    follow_last: bool = False
    """Whether a symlink at the end is followed too."""
    make_directory: Callable[[int, bytes], int] | None = None
    """Makes a missing parent and gives its inode; None: a missing parent ends the search."""
    foreign_mounts: frozenset[str] = frozenset()
    """Mount points of other disks; a path that leads below one is an error."""


def resolve(tree: Tree, root: int, path: str, rules: Rules) -> Location | None:
    """Follow an absolute guest path.

    Returns:
        Where it leads, or None if a parent is missing and is not to be made.

    Raises:
        GuestPathError: it loops, leaves for another disk, goes through what is no directory, or is no path.
    """
    return _Walk(tree, root, path, rules).run()


class _Walk:
    """One path being followed: the components still to come, and the directories come through."""

    def __init__(self, tree: Tree, root: int, path: str, rules: Rules) -> None:
        if not path.startswith("/") or "\0" in path:
            raise GuestPathError(f"'{path}' is no absolute path")
        self._tree, self._path, self._rules = tree, path, rules
        self._todo = _components(os.fsencode(path))[::-1]
        self._trail = [(b"", root)]
        self._links = 0

    def run(self) -> Location | None:
        while self._todo:
            name = self._todo.pop()
            if name == b"..":
                del self._trail[1:][-1:], self._trail[max(1, len(self._trail) - 1) :]
                continue
            found = self._step(name)
            if found is not None or not self._trail:
                return found
        return Location(0, b"", self._trail[-1][1], self._here())

    def _step(self, name: bytes) -> Location | None:
        """Take one component; the Location if it was the last."""
        directory = self._trail[-1][1]
        self._check_mount(name)
        if len(name) > MAX_NAME_BYTES:
            raise GuestPathError(f"'{self._path}' has a name of {len(name)} bytes; {MAX_NAME_BYTES} is the most")
        last = not self._todo
        ino = self._tree.child(directory, name)
        if not ino:
            return self._absent(directory, name, last=last)
        kind = self._tree.kind(ino)
        if kind is EntryType.SYMLINK and not (last and not self._rules.follow_last):
            return self._follow(ino)
        if last and kind is not EntryType.DIRECTORY:
            return Location(directory, name, ino, self._below(name))
        return self._enter(name, ino, kind, last=last)
