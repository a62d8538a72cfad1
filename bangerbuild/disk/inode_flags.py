"""Flags of files and directories on the host's filesystem, as chattr(1) sets them.

Not all filesystems have such flags, and each supports different ones.
"""

from __future__ import annotations

import contextlib
import fcntl
import struct

SYNC = 0x8
"""FS_SYNC_FL: every write waits for the disk."""
TOP_OF_TREES = 0x20000
"""FS_TOPDIR_FL: subdirectories are unrelated, so ext4 puts them into different block groups."""
_GETFLAGS, _SETFLAGS = 0x80086601, 0x40086602
"""FS_IOC_GETFLAGS and FS_IOC_SETFLAGS of 64-bit Linux (`linux/fs.h`)."""
_FLAGS = struct.Struct("q")


def ask_for(fd: int, flag: int) -> None:
    """Set a flag of an open file or directory; no error where the filesystem does not support it."""
    with contextlib.suppress(OSError):
        (flags,) = _FLAGS.unpack(fcntl.ioctl(fd, _GETFLAGS, bytes(_FLAGS.size)))
        fcntl.ioctl(fd, _SETFLAGS, _FLAGS.pack(flags | flag))
