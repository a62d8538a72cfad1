"""Follow a guest path as the guest would: symlinks, `..`, missing parents, mount points of other disks.

This module reads no disk itself: it asks an object with the interface `Directories`. A path never leads out
of it.
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
"""The number of symlinks that Linux follows in one path (`MAXSYMLINKS`)."""
MAX_NAME_BYTES = 255


class Directories(Protocol):
    """The directories and symlinks of a filesystem, by inode number."""

    def child(self, directory: int, name: bytes) -> int:
        """The inode of a name in a directory; 0 if there is none."""

    def kind(self, ino: int) -> EntryType | None:
        """An inode's file type."""

    def symlink(self, ino: int) -> bytes:
        """A symlink's text."""


class ResolvedPath(NamedTuple):
    """The target of a path: a name in a directory, and its inode."""

    directory: int
    name: bytes
    """Empty if the path ends at the root, or in `..`."""
    ino: int
    """0 if nothing is there."""
    path: str
    """The path without symlinks."""


@dataclass(frozen=True)
class Rules:
    """How to follow a path."""

    follow_last: bool = False
    """Whether a symlink at the end is followed."""
    make_directory: Callable[[int, bytes, str], int] | None = None
    """Makes a missing parent, given its directory, name and path; its inode. None: the search ends there."""
    place: DiskMount = ALONE
    """Where the guest mounts this disk; a path that leads onto another disk is an error."""


def resolve(tree: Directories, root: int, path: str, rules: Rules) -> ResolvedPath | None:
    """Follow an absolute guest path.

    Returns:
        Its target, or None if a parent is missing and is not made.

    Raises:
        GuestPathError: it is not absolute, loops, leads to another disk, or goes through something that is no
            directory.
    """
    if not path.startswith("/") or "\0" in path:
        raise GuestPathError(f"'{path}' is no absolute path")
    walk = _PathWalk(tree, path, rules, trail=[(b"", root)], todo=[])
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
            walk.trail.append((name, rules.make_directory(walk.directory, name, walk.below(name))))
            continue
        kind = tree.kind(ino) if ino else None
        if kind is EntryType.SYMLINK and (walk.todo or rules.follow_last):
            walk.follow(tree.symlink(ino))
        elif kind is EntryType.DIRECTORY:
            walk.trail.append((name, ino))
        elif walk.todo:
            raise GuestPathError(f"'{walk.below(name)}' is on the way to '{path}' and is no directory")
        else:
            return ResolvedPath(walk.directory, name, ino, walk.below(name))
    name, ino = walk.trail[-1]
    parent = walk.trail[-2][1] if len(walk.trail) > 1 else 0
    return ResolvedPath(parent, name, ino, walk.here())


@dataclass
class _PathWalk:
    """The state while one path is followed."""

    tree: Directories
    path: str
    rules: Rules
    trail: list[tuple[bytes, int]]
    """The directories passed so far, by name and inode, the root first."""
    todo: list[bytes]
    """The remaining components, the next one last."""
    links: int = 0

    @property
    def directory(self) -> int:
        return self.trail[-1][1]

    def here(self) -> str:
        """The path of the current directory, without symlinks."""
        below = "/".join(os.fsdecode(name) for name, _ in self.trail[1:])
        return f"{self.rules.place.mount_point.rstrip('/')}/{below}".rstrip("/") or "/"

    def below(self, name: bytes) -> str:
        """The path of a name in the current directory."""
        return f"{self.here().rstrip('/')}/{os.fsdecode(name)}"

    def check(self, name: bytes) -> None:
        """Refuse a name that is too long, and a path onto another disk or below a tmpfs."""
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
        """Continue at the target of a symlink."""
        self.links += 1
        if self.links > MAX_SYMLINKS:
            raise GuestPathError(f"'{self.path}' goes through more than {MAX_SYMLINKS} symlinks")
        if target.startswith(b"/"):
            self.enter(target)
        else:
            self.todo += _components(target)

    def enter(self, path: bytes) -> None:
        """Continue at an absolute path: from this disk's root, with the part below its mount point."""
        del self.trail[1:]
        components, mount = _components(path), _components(os.fsencode(self.rules.place.mount_point))
        if mount and components[-len(mount) :] != mount:
            raise self._outside(os.fsdecode(path))
        self.todo += components[: len(components) - len(mount)]

    def leave(self) -> None:
        """Go to the parent; the parent of the guest's root is the root."""
        if len(self.trail) > 1:
            del self.trail[-1]
        elif self.rules.place.mount_point != "/":
            raise self._outside(f"{self.rules.place.mount_point}/..")

    def _outside(self, place: str) -> GuestPathError:
        return GuestPathError(f"'{self.path}' leads to '{place}', which lies on another disk")


def _components(path: bytes) -> list[bytes]:
    """The names in a path, the last one first."""
    return [name for name in reversed(path.split(b"/")) if name not in (b"", b".")]
