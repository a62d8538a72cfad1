"""What a directory tree holds, and edits of one, as values: tarballs, host directories and guests share them.

Names are text as `os.fsdecode` gives it (UTF-8, other bytes as surrogates), so every name an ext4 directory
can hold has one spelling here and back.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class EntryType(Enum):
    """The type of a directory entry; a hard link is a further name of an entry met before."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    HARD_LINK = "hard link"
    CHARACTER_DEVICE = "character device"
    BLOCK_DEVICE = "block device"
    FIFO = "fifo"
    SOCKET = "socket"


FORMATS = {
    EntryType.FILE: stat.S_IFREG,
    EntryType.DIRECTORY: stat.S_IFDIR,
    EntryType.SYMLINK: stat.S_IFLNK,
    EntryType.CHARACTER_DEVICE: stat.S_IFCHR,
    EntryType.BLOCK_DEVICE: stat.S_IFBLK,
    EntryType.FIFO: stat.S_IFIFO,
    EntryType.SOCKET: stat.S_IFSOCK,
}
"""The type bits of an inode's mode (inode(7)), the same in ext4 and on the host."""
TYPES = {bits: entry_type for entry_type, bits in FORMATS.items()}


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a tree, with all that an inode keeps.

    `content` can be read once, from the start, until the next entry is asked for. `data_extents` says where
    a sparse file has data: (offset, length) pairs in bytes, ascending; `content` then yields only those
    bytes, one run after the other. None means that the file has no holes.
    """

    path: str
    """Relative to the tree's top, without leading or trailing slash; empty for the top itself."""
    type: EntryType
    mode: int = 0o755
    """Permission bits, set-id and sticky included (07777)."""
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    size_bytes: int = 0
    target: str = ""
    """A symlink's text, or the path (as in `path`) that a hard link is a further name of."""
    device: tuple[int, int] = (0, 0)
    """Major and minor."""
    xattrs: Mapping[str, bytes] = field(default_factory=dict)
    """Full names, such as `security.capability`; POSIX ACLs in the kernel's binary form."""
    content: BinaryIO | None = None
    data_extents: tuple[tuple[int, int], ...] | None = None


@dataclass(frozen=True)
class DiskMount:
    """Where a guest mounts a disk, and where it mounts others that a path on this one must not lead onto."""

    mount_point: str = "/"
    others: frozenset[str] = frozenset()
    hidden: frozenset[str] = frozenset()
    """Where it mounts a tmpfs: what this disk has below, the guest never sees."""


ALONE = DiskMount()
"""A disk that is its guest's only one, or that is looked at by itself."""


@dataclass(frozen=True)
class GuestFile:
    """A regular file with exactly this content; what stands there under that name is replaced.

    The paths of edits are absolute. Parents are followed as the guest would follow them, the last component
    never is.
    """

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
        """The edits of several parts, in their order."""
        all_parts = tuple(parts)
        return cls(
            tuple(change for part in all_parts for change in part.changes),
            tuple(warning for part in all_parts for warning in part.warnings),
        )
