"""Files that are locked with flock(2) themselves, although other processes may rename or remove them."""

from __future__ import annotations

import fcntl
import hashlib
import os
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
        OSError: there is no file, or it can't be opened or locked.
    """
    while True:
        fd = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        if _try_lock(fd, kind) and is_at(path, fd):
            return fd
        os.close(fd)
        time.sleep(_POLL_SECONDS)


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
        fd = os.open(
            path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
        )  # NFS locks only files that are open for writing
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
