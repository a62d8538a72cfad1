"""Sync files and directories, so that they survive a power loss: with fsync(2), or syncfs(2) for many."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

FEW = 8
"""For more files than this, one syncfs(2) of the whole filesystem is cheaper than an fsync(2) each."""


def sync(paths: Collection[Path | str], filesystem: Path) -> None:
    """Wait until these files and directories, which are all on one filesystem, are on the disk.

    Raises:
        OSError: one of them could not be written.
    """
    if len(paths) > FEW:
        _sync_all(filesystem)
        return
    for path in paths:
        sync_one(path)


def _sync_all(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _syncfs()(fd):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))
    finally:
        os.close(fd)


@functools.cache
def _syncfs() -> Callable[[int], int]:
    """`syncfs(2)`, which Python has no name for."""
    function: Callable[[int], int] = ctypes.CDLL(None, use_errno=True).syncfs
    return function


def make_directory(path: Path, mode: int) -> None:
    """Make a directory and its missing parents, so that a power cut leaves none of them without its name.

    Raises:
        OSError: it can't be made, or not be written.
    """
    missing = [directory for directory in (path, *path.parents) if not directory.exists()]
    path.mkdir(mode=mode, parents=True, exist_ok=True)
    for directory in missing:
        sync_name(directory)


def sync_name(path: Path) -> None:
    """Wait until the name of a file or directory is on the disk, where the user's own directory allows that.

    It may be one that is written and not read, or on a filesystem that can't sync directories.

    Raises:
        OSError: it could not be written.
    """
    try:
        sync_one(path.parent)
    except OSError as err:
        if err.errno not in {errno.EACCES, errno.EINVAL, errno.EOPNOTSUPP}:
            raise


def sync_one(path: Path | str) -> None:
    """Wait until one file or directory is on the disk.

    Raises:
        OSError: it could not be written.
    """
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
