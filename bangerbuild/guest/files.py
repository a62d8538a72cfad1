"""The changes a patch makes inside a guest, and what it may ask of the guest as it is.

A path is absolute. Parents are followed as the guest would follow them; the last component never is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class GuestFile:
    """A regular file with exactly this content; what stands there under that name is replaced."""

    path: str
    content: bytes
    mode: int = 0o644
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


GuestChange = GuestFile | GuestSymlink | GuestRemoval


class GuestView(Protocol):
    """A guest's filesystem, to be read. Parents and the last component are followed inside the guest."""

    def read(self, path: str) -> bytes | None:
        """The content of a regular file; None only where there is no such file.

        Raises:
            FilesystemError: it is there and can't be read.
        """

    def exists(self, path: str) -> bool:
        """Whether something of any type is there."""
