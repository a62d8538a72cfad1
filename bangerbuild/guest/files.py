"""The changes a patch makes inside a guest, and what it may ask of the guest as it is.

A path is absolute. Parents are followed as the guest would follow them; the last component never is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class GuestFile:
    """A regular file with exactly this content; what stands there under that name is replaced."""

    path: str
    content: bytes
    mode: int = 0o644
    uid: int = 0
    gid: int = 0


@dataclass(frozen=True)
class GuestDirectory:
    """A directory with exactly this mode and owner; made if it is missing, its content left alone.

    A symbolic link at its end is followed like a parent, so that `/root` may stand elsewhere.
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
    """No such name: removed if it is there. Only the last component may hold a glob (`*`, `?`)."""

    path: str


GuestChange = GuestFile | GuestDirectory | GuestSymlink | GuestRemoval


@dataclass(frozen=True)
class GuestEdits:
    """What one part of a patch asks for: changes in the order to make them, and warnings for the plan."""

    changes: tuple[GuestChange, ...] = ()
    warnings: tuple[str, ...] = ()

    @classmethod
    def joined(cls, parts: Iterable[GuestEdits]) -> GuestEdits:
        """One outcome of several, in their order."""
        all_parts = tuple(parts)
        return cls(
            tuple(change for part in all_parts for change in part.changes),
            tuple(warning for part in all_parts for warning in part.warnings),
        )


class GuestView(Protocol):
    """A guest's filesystem, to be read. Parents and the last component are followed inside the guest."""

    def read(self, path: str) -> bytes | None:
        """The content of a regular file; None only where there is no such file.

        Raises:
            FilesystemError: it is there and can't be read.
        """

    def exists(self, path: str) -> bool:
        """Whether something of any type is there."""

    def mode(self, path: str) -> int | None:
        """The permission bits (07777) of what is there; None where nothing is."""
