"""The changes that a patch makes in a guest, and the interface through which it reads the guest.

Paths are absolute. Parents that are symlinks are followed as in the guest; the last component is never
followed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class GuestFile:
    """A regular file with exactly this content; what is at the path is replaced."""

    path: str
    content: bytes
    mode: int = 0o644
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True)
class GuestDirectory:
    """A directory with exactly this mode and owner; it is made if it is missing, its content is kept.

    A symlink at the path is followed like a parent, so that `/root` may be a symlink.
    """

    path: str
    mode: int = 0o755
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True)
class GuestSymlink:
    """A symbolic link with exactly this text."""

    path: str
    target: str


@dataclass(frozen=True)
class GuestRemoval:
    """A name that must not exist. Only its last component may have a glob (`*`, `?`)."""

    path: str


GuestChange = GuestFile | GuestDirectory | GuestSymlink | GuestRemoval


@dataclass(frozen=True)
class GuestEdits:
    """The changes of one part of a patch, in the order to make them, and warnings for the plan."""

    changes: tuple[GuestChange, ...] = ()
    warnings: tuple[str, ...] = ()

    @classmethod
    def joined(cls, parts: Iterable[GuestEdits]) -> GuestEdits:
        """The changes and warnings of several parts, in their order."""
        all_parts = tuple(parts)
        return cls(
            tuple(change for part in all_parts for change in part.changes),
            tuple(warning for part in all_parts for warning in part.warnings),
        )


class GuestView(Protocol):
    """A guest's filesystem, for reading. Symlinks are followed inside the guest, also at a path's end."""

    def read(self, path: str) -> bytes | None:
        """The content of a regular file; None only if there is no such file.

        Raises:
            FilesystemError: the file exists and can't be read.
        """

    def exists(self, path: str) -> bool:
        """Whether something of any type is at the path."""

    def mode(self, path: str) -> int | None:
        """The permission bits (07777); None if nothing is at the path."""
