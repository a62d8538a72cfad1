"""Files that are their own locks (flock(2)), and that others may rename or remove before the lock is got."""

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
    """The sha256, in hex, of all that an open file holds; its position stays where it is."""
    digest = hashlib.sha256()
    position = 0
    while piece := os.pread(fd, _PIECE_BYTES, position):
        digest.update(piece)
        position += len(piece)
    return digest.hexdigest()


def locked(path: Path, kind: int, flags: int) -> int:
    """The file at `path`, open and locked. What lies there may change while others are waited for.

    Raises:
        OSError: it is not there, or can't be opened or locked.
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
    """Whether an open file still has this name."""
    try:
        return os.path.samestat(path.lstat(), os.fstat(fd))
    except FileNotFoundError:
        return False


def removed_bytes(path: Path) -> int | None:
    """What removing a file set free; None if somebody has it locked, or has removed it."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)  # NFS locks only what may be written
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
    """What a file takes on its disk."""
    return found.st_blocks * 512
