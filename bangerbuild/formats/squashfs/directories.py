"""The names in a directory of a squashfs: headers, each followed by up to 256 names.

    header  names u32, less one | block of their inodes u32 | number of an inode u32
    name    offset of its inode u16 | difference of its number i16 | type u16 | length u16, less one | name

Source: `struct squashfs_dir_header` and `squashfs_dir_entry` in fs/squashfs/squashfs_fs.h.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from bangerbuild.formats.format_error import FormatError
from bangerbuild.formats.names import NAME_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.formats.squashfs.metadata import Cursor

_HEADER = struct.Struct("<III")
_NAME = struct.Struct("<HhHH")
_MOST_NAMES = 256


def read_names(cursor: Cursor, size_bytes: int) -> Iterator[tuple[bytes, int]]:
    """The names of a directory, each with the place of its inode.

    Args:
        cursor: at the start of its list.
        size_bytes: of the list.

    Raises:
        FormatError: it is damaged.
    """
    left = size_bytes
    while left > 0:
        count, block, _ = _HEADER.unpack(cursor.take(_HEADER.size))
        left -= _HEADER.size
        if count >= _MOST_NAMES:
            raise FormatError(f"is damaged: it has a directory with {count + 1} names after one header")
        for _ in range(count + 1):
            offset, _, _, length = _NAME.unpack(cursor.take(_NAME.size))
            if length >= NAME_BYTES_MAX + 1:
                raise FormatError(f"is damaged: it has a name of {length + 1} bytes")
            yield cursor.take(length + 1), block << 16 | offset
            left -= _NAME.size + length + 1
    if left:
        raise FormatError("is damaged: it has a directory whose list is longer than it says")
