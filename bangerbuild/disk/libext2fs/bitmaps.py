"""Track which block and inode bitmaps are changed, and write only those.

libext2fs writes the bitmaps of all groups when a single bit has changed: 1024 blocks for ten small files on a
full disk of 64 GiB. A callback reports each block that it allocates or frees. The callback for runs of blocks
reports only their end (1.47.0), so after a run that was not requested here all bitmaps are compared.
libext2fs allocates and frees inodes by itself only for attributes whose values are in inodes (`ea_inode`).
"""

from __future__ import annotations

import ctypes
import re
import struct
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from bangerbuild.disk.libext2fs.layouts import BlockChanged, BlocksChanged, Filsys

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from ctypes import c_void_p

    from bangerbuild.disk.blocks import Blocks
    from bangerbuild.disk.libext2fs.library import Library

_DIRTY = 0x04
_INODE_BITMAP_DIRTY = 0x10
_BLOCK_BITMAP_DIRTY = 0x20
_WITH_CLEAR_BIT = re.compile(b"[^\xff]")
_MOST_BITS = 1 << 29
"""For more bits (2 TiB in blocks of 4 KiB) no copy is kept in memory, and libext2fs writes all bitmaps."""


@dataclass(frozen=True)
class Bitmap:
    """The block or inode bitmap of all groups, as it was read."""

    kind: str
    """`block` or `inode`, as in the names of libext2fs's functions."""
    first: int
    """The block or inode of the first bit."""
    group_bits: int
    groups: int
    dirty: int
    """libext2fs's flag that the bitmap has to be written."""
    as_read: bytes = b""
    _found: dict[int, int] = field(default_factory=dict, compare=False)

    def from_clear(self, number: int) -> int:
        """The first clear bit from `number` on; a search for a free bit may start there.

        libext2fs itself tests every bit, which takes 75 us for each file on a full disk of 64 GiB.
        """
        if number not in self._found:
            clear = _WITH_CLEAR_BIT.search(self.as_read, max(0, number - self.first) // 8)
            self._found[number] = max(number, self.first + 8 * clear.start()) if clear else number
        return self._found[number]

    def is_clear(self, number: int) -> bool:
        """Whether the bit of a block or inode was clear; numbers beyond the bitmap count as set."""
        byte, bit = divmod(number - self.first, 8)
        return 0 <= byte < len(self.as_read) and not self.as_read[byte] >> bit & 1


class ChangedGroups:
    """The groups whose block bitmap was changed, and the lowest block that was freed.

    Args:
        library: the loaded library.
        fs: the handle that is watched until `forget`.
        bitmap: its block bitmap.
    """

    def __init__(self, library: Library, fs: c_void_p, bitmap: Bitmap) -> None:
        self.groups: set[int] = set()
        self.is_all = True
        """Whether all changes are known."""
        self._own_run = False
        self._lowest_freed = bitmap.first + bitmap.group_bits * bitmap.groups
        self._bitmap = bitmap
        self._address = fs.value or 0
        _watched[self._address] = self
        library.ext2fs_set_block_alloc_stats_callback(fs, _on_block, None)
        library.ext2fs_set_block_alloc_stats_range_callback(fs, _on_blocks, None)

    def search_from(self, goal: int) -> int:
        """The block at which a search from `goal` may start: no block between them is free."""
        return min(self._bitmap.from_clear(goal), max(goal, self._lowest_freed))

    def add(self, first: int, count: int, in_use: int) -> None:
        """Record blocks that were allocated (1) or freed (-1)."""
        if in_use < 0:
            self._lowest_freed = min(self._lowest_freed, first)
        start = first - self._bitmap.first
        bits = self._bitmap.group_bits
        self.groups.update(range(start // bits, (start + count - 1) // bits + 1))

    @contextmanager
    def own_run(self, first: int, count: int, in_use: int) -> Iterator[None]:
        """Record a run whose change libext2fs reports during the with block."""
        self._own_run = True
        yield
        self._own_run = False
        self.add(first, count, in_use)

    def add_unknown(self) -> None:
        """Record that libext2fs has changed an unknown run, unless `own_run` is active."""
        if not self._own_run:
            self.is_all = False
            self._lowest_freed = 0

    def forget(self) -> None:
        """Stop watching a handle that is about to be freed."""
        _watched.pop(self._address, None)


_watched: dict[int, ChangedGroups] = {}
"""By the address of the handle."""


def _block_changed(fs: int, block: int, in_use: int) -> None:
    if (touched := _watched.get(fs)) is not None:
        touched.add(block, 1, in_use)


def _blocks_changed(fs: int, _first: int, _count: int, _in_use: int) -> None:
    if (touched := _watched.get(fs)) is not None:
        touched.add_unknown()


# kept alive by the module, because libext2fs holds no Python reference to the callbacks
_on_block, _on_blocks = BlockChanged(_block_changed), BlocksChanged(_blocks_changed)


def remember_bitmaps(library: Library, head: Filsys, superblock: bytes) -> tuple[Bitmap, ...]:
    """Copies of both bitmaps as they are now; empty if they are too large. Not for bigalloc."""
    first_block, group_blocks, group_inodes = struct.unpack_from("<I8xI4xI", superblock, 0x14)
    groups = head.group_desc_count
    if groups * group_blocks > _MOST_BITS:
        return ()
    empty = (
        Bitmap("block", first_block, group_blocks, groups, _BLOCK_BITMAP_DIRTY),
        Bitmap("inode", 1, group_inodes, groups, _INODE_BITMAP_DIRTY),
    )
    return tuple(replace(bitmap, as_read=_bits(library, head, bitmap)) for bitmap in empty)


def _bits(library: Library, head: Filsys, bitmap: Bitmap, group: int = 0, groups: int | None = None) -> bytes:
    """The present bits of `groups` groups, by default of all."""
    bits = bitmap.group_bits * (bitmap.groups if groups is None else groups)
    buffer = ctypes.create_string_buffer(bits // 8)
    get = getattr(library, f"ext2fs_get_{bitmap.kind}_bitmap_range2")
    get(getattr(head, f"{bitmap.kind}_map"), bitmap.first + group * bitmap.group_bits, bits, buffer)
    return buffer.raw


def changed_groups(library: Library, fs: c_void_p, bitmap: Bitmap) -> set[int]:
    """The groups whose bits have changed since they were read, found by comparing all."""
    bits, size = _bits(library, Filsys.from_address(fs.value or 0), bitmap), bitmap.group_bits // 8
    parts = (slice(group * size, (group + 1) * size) for group in range(bitmap.groups))
    return {group for group, part in enumerate(parts) if bits[part] != bitmap.as_read[part]}


def write_touched(
    library: Library, fs: c_void_p, bitmap: Bitmap, groups: Iterable[int], blocks: Blocks
) -> None:
    """Write the bitmaps of these groups, and their checksums into the group descriptors."""
    head = Filsys.from_address(fs.value or 0)
    if not head.flags & bitmap.dirty:
        return
    size = bitmap.group_bits // 8
    for group in groups:
        own = _bits(library, head, bitmap, group, 1)
        if bitmap.kind == "block" and group == bitmap.groups - 1:
            own = _padded(own, library.ext2fs_blocks_count(head.super), bitmap)
        data = ctypes.create_string_buffer(own.ljust(head.blocksize, b"\xff"), head.blocksize)
        getattr(library, f"ext2fs_{bitmap.kind}_bitmap_csum_set")(fs, group, data, size)
        library.ext2fs_group_desc_csum_set(fs, group)
        place = getattr(library, f"ext2fs_{bitmap.kind}_bitmap_loc")(fs, group)
        blocks.write(place * head.blocksize, data.raw)
    head.flags = head.flags & ~bitmap.dirty | _DIRTY


def _padded(bits: bytes, disk_blocks: int, bitmap: Bitmap) -> bytes:
    """A block bitmap in which bits beyond the filesystem's end are set."""
    used = (disk_blocks - bitmap.first) % bitmap.group_bits or bitmap.group_bits
    padding = (1 << bitmap.group_bits) - (1 << used)
    return (int.from_bytes(bits, "little") | padding).to_bytes(len(bits), "little")
