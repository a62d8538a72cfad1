"""Where a guest path leads, by the guest's own rules: symlinks, `..`, missing parents, other disks.

Nothing here touches a disk: a `Directories` answers the questions, and every name stays inside it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from bangerbuild.errors import GuestPathError
from bangerbuild.tree import ALONE, DiskMount, EntryType

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_SYMLINKS = 40
"""As many as Linux follows in one path (`MAXSYMLINKS`)."""
MAX_NAME_BYTES = 255


class Directories(Protocol):
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
    place: DiskMount = ALONE
    """Where the guest mounts this disk; a path that leads onto another disk is an error."""


def resolve(tree: Directories, root: int, path: str, rules: Rules) -> Location | None:
    """Follow an absolute guest path.

    Returns:
        Where it leads, or None if a parent is missing and is not to be made.

    Raises:
        GuestPathError: it loops, leaves for another disk, goes through what is no directory, or is no path.
    """
    if not path.startswith("/") or "\0" in path:
        raise GuestPathError(f"'{path}' is no absolute path")
    walk = _Walk(tree, path, rules, trail=[(b"", root)], todo=[])
    walk.enter(os.fsencode(path))
    while walk.todo:
        name = walk.todo.pop()
        if name == b"..":
            walk.leave()
            continue
        walk.check(name)
        ino = tree.child(walk.directory, name)
        if not ino and walk.todo:
            if rules.make_directory is None:
                return None
            walk.trail.append((name, rules.make_directory(walk.directory, name)))
            continue
        kind = tree.kind(ino) if ino else None
        if kind is EntryType.SYMLINK and (walk.todo or rules.follow_last):
            walk.follow(tree.symlink(ino))
        elif kind is EntryType.DIRECTORY:
            walk.trail.append((name, ino))
        elif walk.todo:
            raise GuestPathError(f"'{walk.below(name)}' is on the way to '{path}' and is no directory")
        else:
            return Location(walk.directory, name, ino, walk.below(name))
    name, ino = walk.trail[-1]
    parent = walk.trail[-2][1] if len(walk.trail) > 1 else 0
    return Location(parent, name, ino, walk.here())


@dataclass
class _Walk:
    """One path being followed."""

    tree: Directories
    path: str
    rules: Rules
    trail: list[tuple[bytes, int]]
    """The directories come through, by name and inode, the root first."""
    todo: list[bytes]
    """The components still to come, the next one last."""
    links: int = 0

    @property
    def directory(self) -> int:
        return self.trail[-1][1]

    def here(self) -> str:
        """The directory reached, without symlinks."""
        below = "/".join(os.fsdecode(name) for name, _ in self.trail[1:])
        return f"{self.rules.place.mount_point.rstrip('/')}/{below}".rstrip("/") or "/"

    def below(self, name: bytes) -> str:
        """A name in the directory reached."""
        return f"{self.here().rstrip('/')}/{os.fsdecode(name)}"

    def check(self, name: bytes) -> None:
        """Refuse a name no directory can hold, and any name on another disk."""
        if len(name) > MAX_NAME_BYTES:
            raise GuestPathError(
                f"'{self.path}' has a name of {len(name)} bytes; {MAX_NAME_BYTES} is the most"
            )
        place = self.rules.place
        if place.others and self.here() in place.others:
            raise self._outside(self.below(name))
        if place.hidden and self.here() in place.hidden:
            raise GuestPathError(
                f"'{self.path}' leads to '{self.below(name)}', which a tmpfs hides from the guest"
            )

    def follow(self, target: bytes) -> None:
        """Go on where a symlink points."""
        self.links += 1
        if self.links > MAX_SYMLINKS:
            raise GuestPathError(f"'{self.path}' goes through more than {MAX_SYMLINKS} symlinks")
        if target.startswith(b"/"):
            self.enter(target)
        else:
            self.todo += _components(target)

    def enter(self, path: bytes) -> None:
        """Go on at an absolute path: at the top of this disk, with what comes below its mount point."""
        del self.trail[1:]
        components, mount = _components(path), _components(os.fsencode(self.rules.place.mount_point))
        if mount and components[-len(mount) :] != mount:
            raise self._outside(os.fsdecode(path))
        self.todo += components[: len(components) - len(mount)]

    def leave(self) -> None:
        """Go up; the parent of the guest's root is the root."""
        if len(self.trail) > 1:
            del self.trail[-1]
        elif self.rules.place.mount_point != "/":
            raise self._outside(f"{self.rules.place.mount_point}/..")

    def _outside(self, place: str) -> GuestPathError:
        return GuestPathError(f"'{self.path}' leads to '{place}', which lies on another disk")


def _components(path: bytes) -> list[bytes]:
    """The names in a path, the last one first."""
    return [name for name in reversed(path.split(b"/")) if name not in (b"", b".")]
