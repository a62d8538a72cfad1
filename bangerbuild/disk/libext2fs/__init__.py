"""libext2fs through ctypes.

Everything libext2fs reads or writes passes through an I/O manager of our own (`channel`). ctypes releases
the interpreter's lock during a call, so filesystems in several threads run side by side; one handle belongs
to one thread at a time.
"""

from bangerbuild.disk.libext2fs.handle import DirectoryEntry, Handle, open_handle
from bangerbuild.disk.libext2fs.library import (
    EA_NO_SPACE,
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
