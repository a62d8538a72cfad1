"""The metadata of a squashfs: tables that are cut into blocks of 8 KiB, each compressed by itself.

In front of each block are two bytes: its size in the image, and bit 15 if it is not compressed. What is in a
table is found by its place: the block's offset from the table's start, times 65536, plus the offset in the
expanded block. It may go on in the next block.
"""

from __future__ import annotations

import os
import struct
from functools import lru_cache
from typing import TYPE_CHECKING

from bangerbuild.formats.format_error import FormatError
from bangerbuild.formats.squashfs.compressors import EXPANDERS

if TYPE_CHECKING:
    from bangerbuild.formats.squashfs.superblock import Superblock

BLOCK_BYTES = 8192
_PLAIN = 1 << 15
_KEPT_BLOCKS = 512
_CUT = "is damaged: its metadata ends too early"


class Metadata:
    """Reads the tables of an image.

    Args:
        fd: the open image, which the caller closes.
        superblock: of it.
    """

    def __init__(self, fd: int, superblock: Superblock) -> None:
        self._fd = fd
        self._used_bytes = superblock.used_bytes
        self._expand = EXPANDERS[superblock.compression]
        self.block = lru_cache(maxsize=_KEPT_BLOCKS)(self._block)
        """The content of the block at an offset of the image, and the offset of the next one."""

    def _block(self, offset: int) -> tuple[bytes, int]:
        size = int.from_bytes(self.raw(offset, 2), "little")
        stored = self.raw(offset + 2, size & (_PLAIN - 1))
        data = stored if size & _PLAIN else self._expand(stored, BLOCK_BYTES)
        if not 0 < len(data) <= BLOCK_BYTES:
            raise FormatError(f"is damaged: it has a block of metadata of {len(data)} bytes")
        return data, offset + 2 + len(stored)

    def raw(self, offset: int, length: int) -> bytes:
        """Bytes of the image; FormatError if it ends before."""
        if offset + length > self._used_bytes:
            raise FormatError(_CUT)
        data = os.pread(self._fd, length, offset)
        if len(data) != length:
            raise FormatError(_CUT)
        return data

    def cursor(self, table: int, place: int) -> Cursor:
        """A reader that begins at a place of a table."""
        return Cursor(self, table + (place >> 16), place & 0xFFFF)

    def listed(self, index: int, number: int, size: int) -> Cursor:
        """A reader that begins at an element of a list, whose blocks are found by an index.

        Args:
            index: the offset of the index: the offset of each block, u64.
            number: of the element, from 0.
            size: of each in bytes; a block has a whole number of them.
        """
        block, at = divmod(number * size, BLOCK_BYTES)
        (offset,) = struct.unpack("<Q", self.raw(index + 8 * block, 8))
        return Cursor(self, offset, at)


class Cursor:
    """Reads metadata forwards from one place on."""

    __slots__ = ("_at", "_data", "_metadata", "_next")

    def __init__(self, metadata: Metadata, offset: int, at: int) -> None:
        self._metadata = metadata
        self._data, self._next = metadata.block(offset)
        self._at = at
        if at >= BLOCK_BYTES:
            raise FormatError(_CUT)

    def take(self, length: int) -> bytes:
        """The next bytes; FormatError if the image ends before."""
        end = self._at + length
        if end <= len(self._data):
            data = self._data[self._at : end]
            self._at = end
            return data
        pieces = [self._data[self._at :]]
        left = length - len(pieces[0])
        while left:
            self._data, self._next = self._metadata.block(self._next)
            pieces.append(self._data[:left])
            self._at = len(pieces[-1])
            left -= self._at
        return b"".join(pieces)
