"""The extended attributes of a squashfs: lists of keys and values, each for all inodes that have it.

    table     start of the lists u64 | how many there are u32 | unused u32 | index of blocks, u64 each
    list      place u64 | attributes u32 | size u32: how the table names one
    key       prefix u16, with bit 8 if the value is elsewhere | length u16 | name
    value     length u32 | bytes; elsewhere: length u32, which is 8 | place u64 of a value

Source: `struct squashfs_xattr_*` in fs/squashfs/squashfs_fs.h.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import TYPE_CHECKING

from bangerbuild.formats.format_error import FormatError
from bangerbuild.formats.names import text_of
from bangerbuild.formats.squashfs.inodes import NO_NUMBER
from bangerbuild.formats.squashfs.superblock import NONE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bangerbuild.formats.squashfs.metadata import Cursor, Metadata

_PREFIXES = ("user.", "trusted.", "security.")
_ELSEWHERE = 0x100
_MOST_VALUE_BYTES = 64 << 10
"""The most that Linux takes (XATTR_SIZE_MAX)."""
_MOST_BYTES = 1 << 20
"""Of all attributes of an inode: far more than any filesystem holds."""
_KEPT_LISTS = 256


class Attributes:
    """Reads the lists of an image.

    Args:
        metadata: of it.
        table: the offset of the table, or `NONE`.
    """

    def __init__(self, metadata: Metadata, table: int) -> None:
        self._metadata = metadata
        self._table = table
        self._start = self._count = 0
        if table != NONE:
            self._start, self._count = struct.unpack("<QI", metadata.raw(table, 12))
        self._list = lru_cache(maxsize=_KEPT_LISTS)(self._read)

    def of(self, number: int) -> Mapping[str, bytes]:
        """The list of this number, by full names.

        Raises:
            FormatError: it is damaged, or more than an inode can have.
        """
        return self._list(number) if number != NO_NUMBER else {}

    def _read(self, number: int) -> Mapping[str, bytes]:
        if number >= self._count:
            raise FormatError("has extended attributes that are not there")
        found = self._metadata.listed(self._table + 16, number, 16).take(16)
        place, count = struct.unpack("<QI4x", found)
        cursor = self._metadata.cursor(self._start, place)
        pairs, left = {}, _MOST_BYTES
        for _ in range(count):
            name, value = self._pair(cursor)
            left -= 8 + len(name) + len(value)
            if left < 0:
                raise FormatError(f"has more than {_MOST_BYTES} bytes of extended attributes")
            pairs[name] = value
        return pairs

    def _pair(self, cursor: Cursor) -> tuple[str, bytes]:
        prefix, length = struct.unpack("<HH", cursor.take(4))
        if prefix & ~_ELSEWHERE >= len(_PREFIXES):
            raise FormatError(f"has an extended attribute of the unknown kind {prefix}")
        name = text_of(cursor.take(length))
        if not name or "\0" in name:
            raise FormatError("has an extended attribute without a name")
        value = _value(cursor)
        if prefix & _ELSEWHERE:
            if len(value) != 8:
                raise FormatError("has a damaged extended attribute")
            value = _value(self._metadata.cursor(self._start, int.from_bytes(value, "little")))
        return _PREFIXES[prefix & ~_ELSEWHERE] + name, value


def _value(cursor: Cursor) -> bytes:
    length = int.from_bytes(cursor.take(4), "little")
    if length > _MOST_VALUE_BYTES:
        raise FormatError(f"has an extended attribute of {length} bytes")
    return cursor.take(length)
