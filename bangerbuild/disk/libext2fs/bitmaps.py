"""Which bitmaps changed since they were read, and writing those alone.

libext2fs writes the bitmaps of all groups as soon as one bit of one has changed: on a full disk of 64 GiB,
1024 blocks for ten small files.
"""

from __future__ import annotations

import ctypes
import struct
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ctypes import c_void_p

    from bangerbuild.disk.blocks import Blocks
    from bangerbuild.disk.libext2fs.layouts import Filsys
    from bangerbuild.disk.libext2fs.library import Library

_DIRTY = 0x04
_INODE_BITMAP_DIRTY = 0x10
_BLOCK_BITMAP_DIRTY = 0x20
_MOST_BITS = 1 << 29
"""Above (2 TiB in blocks of 4 KiB), bitmaps are not kept twice in memory; libext2fs writes them all."""


@dataclass(frozen=True)
class Bitmap:
    """The block or the inode bitmap of all groups, as it was read."""

    kind: str
    """`block` or `inode`, as in the names of libext2fs's functions."""
    first: int
    """What the first bit stands for."""
    group_bits: int
    groups: int
    dirty: int
    """The flag that says it has to be written."""
    as_read: bytes = b""

    def is_clear(self, number: int) -> bool:
        """Whether the bit of a block or inode was not set; what the bitmap does not cover counts as set."""
        byte, bit = divmod(number - self.first, 8)
        return 0 <= byte < len(self.as_read) and not self.as_read[byte] >> bit & 1


def remember_bitmaps(library: Library, head: Filsys, superblock: bytes) -> tuple[Bitmap, ...]:
    """Both bitmaps as they are in memory now; nothing if they are too large. Not for bigalloc."""
    first_block, group_blocks, group_inodes = struct.unpack_from("<I8xI4xI", superblock, 0x14)
    groups = head.group_desc_count
    if groups * group_blocks > _MOST_BITS:
        return ()
    empty = (
        Bitmap("block", first_block, group_blocks, groups, _BLOCK_BITMAP_DIRTY),
        Bitmap("inode", 1, group_inodes, groups, _INODE_BITMAP_DIRTY),
    )
    return tuple(replace(bitmap, as_read=_bits(library, head, bitmap)) for bitmap in empty)


def _bits(library: Library, head: Filsys, bitmap: Bitmap) -> bytes:
    bits = bitmap.group_bits * bitmap.groups
    buffer = ctypes.create_string_buffer(bits // 8)
    get = getattr(library, f"ext2fs_get_{bitmap.kind}_bitmap_range2")
    get(getattr(head, f"{bitmap.kind}_map"), bitmap.first, bits, buffer)
    return buffer.raw


def write_changed(library: Library, fs: c_void_p, head: Filsys, bitmap: Bitmap, blocks: Blocks) -> None:
    """Write the bitmaps of the groups that changed, and their checksums to the group descriptors."""
    if not head.flags & bitmap.dirty:
        return
    bits, size = _bits(library, head, bitmap), bitmap.group_bits // 8
    for group in range(bitmap.groups):
        part = slice(group * size, (group + 1) * size)
        if bits[part] == bitmap.as_read[part]:
            continue
        own = bits[part]
        if bitmap.kind == "block" and group == bitmap.groups - 1:
            own = _padded(own, library.ext2fs_blocks_count(head.super), bitmap)
        data = ctypes.create_string_buffer(own.ljust(head.blocksize, b"\xff"), head.blocksize)
        getattr(library, f"ext2fs_{bitmap.kind}_bitmap_csum_set")(fs, group, data, size)
        library.ext2fs_group_desc_csum_set(fs, group)
        place = getattr(library, f"ext2fs_{bitmap.kind}_bitmap_loc")(fs, group)
        blocks.write(place * head.blocksize, data.raw)
    head.flags = head.flags & ~bitmap.dirty | _DIRTY


def _padded(bits: bytes, disk_blocks: int, bitmap: Bitmap) -> bytes:
    """The last group's block bitmap, with what lies beyond the filesystem's end marked as used."""
    used = (disk_blocks - bitmap.first) % bitmap.group_bits or bitmap.group_bits
    padding = (1 << bitmap.group_bits) - (1 << used)
    return (int.from_bytes(bits, "little") | padding).to_bytes(len(bits), "little")
