"""What a filesystem of the host is asked to keep in mind of a file or directory (chattr(1)).

Only some filesystems have such flags, and each has others.
"""

from __future__ import annotations

import contextlib
import fcntl
import struct

SYNC = 0x8
"""FS_SYNC_FL: every write waits for the disk."""
TOP_OF_TREES = 0x20000
"""FS_TOPDIR_FL: directories made in this one have nothing to do with each other; ext4 spreads them."""
_GETFLAGS, _SETFLAGS = 0x80086601, 0x40086602
"""FS_IOC_GETFLAGS and FS_IOC_SETFLAGS of 64-bit Linux (`linux/fs.h`)."""
_FLAGS = struct.Struct("q")


def ask_for(fd: int, flag: int) -> None:
    """Set a flag of an open file or directory, where there is such a thing."""
    with contextlib.suppress(OSError):
        (flags,) = _FLAGS.unpack(fcntl.ioctl(fd, _GETFLAGS, bytes(_FLAGS.size)))
        fcntl.ioctl(fd, _SETFLAGS, _FLAGS.pack(flags | flag))
