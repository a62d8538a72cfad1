"""Bindings to libext2fs with ctypes; the only such bindings in the program.

All reads and writes of libext2fs go through an I/O manager that is implemented here (`channel`). ctypes
releases the interpreter lock during a call, so several threads can work on filesystems at the same time; a
handle must be used by one thread at a time.
"""

from bangerbuild.disk.libext2fs.handle import DirectoryEntry, Handle, open_handle
from bangerbuild.disk.libext2fs.library import (
    EA_NO_SPACE,
    GUEST_FULL,
    INODE_ALLOC_FAIL,
    MISSING_EA_FEATURE,
    NO_SPACE,
    crc32_be,
    crc32c,
    error_text,
    load,
    version,
)

__all__ = [
    "EA_NO_SPACE",
    "GUEST_FULL",
    "INODE_ALLOC_FAIL",
    "MISSING_EA_FEATURE",
    "NO_SPACE",
    "DirectoryEntry",
    "Handle",
    "crc32_be",
    "crc32c",
    "error_text",
    "load",
    "open_handle",
    "version",
]
