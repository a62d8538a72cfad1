"""What a directory tree holds, and edits of one, as values: tarballs, host directories and guests share them.

Names are text as `os.fsdecode` gives it (UTF-8, other bytes as surrogates), so that every name in an ext4
directory can be represented, and converted back.
"""

from __future__ import annotations

import hashlib
import stat
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class EntryType(Enum):
    """The type of a directory entry; a hard link is a further name of an earlier entry."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    HARD_LINK = "hard link"
    CHARACTER_DEVICE = "character device"
    BLOCK_DEVICE = "block device"
    FIFO = "fifo"
    SOCKET = "socket"


TYPE_BITS = {
    EntryType.FILE: stat.S_IFREG,
    EntryType.DIRECTORY: stat.S_IFDIR,
    EntryType.SYMLINK: stat.S_IFLNK,
    EntryType.CHARACTER_DEVICE: stat.S_IFCHR,
    EntryType.BLOCK_DEVICE: stat.S_IFBLK,
    EntryType.FIFO: stat.S_IFIFO,
    EntryType.SOCKET: stat.S_IFSOCK,
}
"""The type bits of an inode's mode (inode(7)), the same in ext4 and on the host."""
TYPES = {bits: entry_type for entry_type, bits in TYPE_BITS.items()}


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a tree with all metadata of its inode.

    `content` can be read once, from the start, until the next entry of the stream is requested.
    `data_extents` are the parts of a sparse file that have data: (offset, length) pairs in bytes, ascending;
    `content` then has only those bytes. None means that the file has no holes.
    """

    path: str
    """Relative to the tree's top, without a leading or trailing slash; empty for the top."""
    type: EntryType
    mode: int = 0o755
    """Permission bits, set-id and sticky included (07777)."""
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    size_bytes: int = 0
    target: str = ""
    """A symlink's text, or the path (in the form of `path`) of the first name of a hard link."""
    device: tuple[int, int] = (0, 0)
    """Major and minor number."""
    xattrs: Mapping[str, bytes] = field(default_factory=dict)
    """Full names, such as `security.capability`; POSIX ACLs in the kernel's binary form."""
    content: BinaryIO | None = None
    data_extents: tuple[tuple[int, int], ...] | None = None


@dataclass(frozen=True)
class DiskMount:
    """Where a guest mounts a disk, and where it mounts other filesystems, which paths must not enter."""

    mount_point: str = "/"
    others: frozenset[str] = frozenset()
    """The mount points of the guest's other disks."""
    hidden: frozenset[str] = frozenset()
    """The mount points of tmpfs: the guest never sees what this disk has below them."""


ALONE = DiskMount()
"""For a disk without other disks, or one that is read by itself."""


@dataclass(frozen=True)
class GuestFile:
    """A regular file with exactly this content; what stands there under that name is replaced.

    The paths of edits are absolute. Parents are followed as the guest would follow them, the last component
    never is.
    """

    path: str
    content: bytes = field(repr=False)
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime_ns: int | None = None
    """None: told from the content."""
    salt: str = ""
    """Of a secret: hex digits that its digest starts from, so that nobody can look the content up by it."""

    @property
    def digest(self) -> str:
        """The digest of the content, in hex; of a secret one with its salt."""
        hasher = salted(self.salt)
        hasher.update(self.content)
        return hasher.hexdigest()


def salted(salt: str) -> hashlib._Hash:
    """What the digest of a guest's file is made with: SHA-256; of a secret over its salt and the content."""
    return hashlib.sha256(bytes.fromhex(salt))


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
    """No such name: removed if it is there, a directory with all that is in it.

    Only the last component may hold a glob (`*`, `?`).
    """

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
