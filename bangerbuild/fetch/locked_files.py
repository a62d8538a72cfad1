"""Files that are locked with flock(2) themselves, although other processes may rename or remove them."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_PIECE_BYTES = 1 << 20
_POLL_SECONDS = 0.05


def digest_of(fd: int) -> str:
    """The SHA-256, in hex, of an open file's content; the file's position does not change."""
    digest = hashlib.sha256()
    position = 0
    while piece := os.pread(fd, _PIECE_BYTES, position):
        digest.update(piece)
        position += len(piece)
    return digest.hexdigest()


def locked(path: Path, kind: int, flags: int) -> int:
    """Open and lock the file that is at `path` once the lock is held.

    Raises:
        OSError: there is no regular file, or it can't be opened or locked.
    """
    while True:
        fd = _opened(path, flags)
        if _try_lock(fd, kind) and is_at(path, fd):
            return fd
        os.close(fd)
        time.sleep(_POLL_SECONDS)


def _opened(path: Path, flags: int) -> int:
    """A regular file; a symlink is not followed, and nothing waits for the other end of a FIFO."""
    fd = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "no regular file", str(path))
    return fd


def _try_lock(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_at(path: Path, fd: int) -> bool:
    """Whether an open file is still the one at this path."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(fd))
    except FileNotFoundError:
        return False


def removed_bytes(path: Path) -> int | None:
    """Remove a file; the bytes that this freed, or None if a process has it locked or has removed it."""
    try:
        fd = _opened(path, os.O_RDWR)  # NFS locks only files that are open for writing
    except FileNotFoundError:
        return None
    try:
        if not _try_lock(fd, fcntl.LOCK_EX) or not is_at(path, fd):
            return None
        path.unlink()
        return allocated_bytes(os.fstat(fd))
    finally:
        os.close(fd)


def allocated_bytes(found: os.stat_result) -> int:
    """The space that a file takes on its disk."""
    return found.st_blocks * 512
