"""How the blocks of an inode are mapped: by an extent tree, or by ext2's map of indirect blocks.

libext2fs follows either wherever it leads, and a guest can make one that leads in circles, or into the same
node a million times. Here each node is read once at most, extents ascend, and nothing lies beyond the
filesystem's end; so what is walked here first, libext2fs may walk then.

    extent tree  node: u16 magic 0xF30A, u16 entries, u16 most entries, u16 depth, u32 generation
                 entry of a leaf: u32 logical block, u16 count, u16 + u32 first block
                 entry above: u32 logical block, u32 + u16 block of the node below, u16 unused
    block map    12 blocks, then one of 1, 2 and 3 levels of blocks full of u32 block numbers

Sources: `ext2fs/ext3_extents.h`, `fs/ext4/ext4.h`.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from bangerbuild.disk.inode import EXTENTS_FL, INLINE_DATA_FL, MAX_EXTENT_BLOCKS
from bangerbuild.disk.superblock import damaged

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bangerbuild.disk.blocks import Blocks
    from bangerbuild.disk.inode import Inode
    from bangerbuild.disk.superblock import Superblock
    from bangerbuild.errors import FilesystemError

TREE = -1
"""The logical block of a block that holds a part of the mapping itself."""
_HEADER = struct.Struct("<4HI")
_LEAF = struct.Struct("<I2HI")
_INDEX = struct.Struct("<2IH2x")
_ENTRY_BYTES = 12
_EXTENT_MAGIC = 0xF30A
_MAX_DEPTH = 5
_MAX_LOGICAL = 1 << 32
_DIRECT = 12


class Run(NamedTuple):
    """Blocks of a file that lie one after the other."""

    logical: int
    """The first one's place in the file, in blocks; or TREE."""
    first: int
    """The first one's number on the disk."""
    blocks: int
    is_written: bool = True
    """Whether they were ever written; if not, they read as zeros."""


def runs_of(blocks: Blocks, superblock: Superblock, inode: Inode) -> Iterator[Run]:
    """The runs of an inode's blocks, ascending, and between them the blocks of the mapping itself.

    They are read as they are asked for. An inode with inline data has none.

    Raises:
        FilesystemError: the mapping is damaged; what was given before it was noticed is sound.
    """
    if inode.flags & INLINE_DATA_FL:
        return iter(())
    if inode.flags & EXTENTS_FL:
        tree = _ExtentTree(blocks, superblock)
        return tree.node(inode.block_area, None, _MAX_LOGICAL)
    return _BlockMap(blocks, superblock).runs(struct.unpack("<15I", inode.block_area))


class _ExtentTree:
    """One inode's tree, walked once from its left to its right."""

    def __init__(self, blocks: Blocks, superblock: Superblock) -> None:
        self._blocks = blocks
        self._superblock = superblock
        self._next_logical = 0
        self._left = superblock.blocks
        """How many blocks there can still be: one disk has no more, however often they are named."""

    def node(self, node: bytes, depth: int | None, end: int) -> Iterator[Run]:
        """What a node and those below it map, all of it before logical block `end`."""
        magic, entries, most, own_depth, _ = _HEADER.unpack_from(node)
        room = len(node) // _ENTRY_BYTES - 1
        if magic != _EXTENT_MAGIC or not entries <= most <= room or own_depth > _MAX_DEPTH:
            raise self._damage()
        if depth is not None and (own_depth != depth or not entries):
            raise self._damage()
        places = range(_ENTRY_BYTES, _ENTRY_BYTES * (entries + 1), _ENTRY_BYTES)
        if own_depth:
            yield from self._index(node, places, own_depth, end)
        else:
            for place in places:
                yield self._leaf(_LEAF.unpack_from(node, place), end)

    def _index(self, node: bytes, places: range, depth: int, end: int) -> Iterator[Run]:
        for place in places:
            logical, low, high = _INDEX.unpack_from(node, place)
            is_last = place == places[-1]
            until = end if is_last else _INDEX.unpack_from(node, place + _ENTRY_BYTES)[0]
            if not self._next_logical <= logical < until <= end:
                raise self._damage()
            self._next_logical = logical
            block = low | high << 32
            self._take(block, 1)
            yield Run(TREE, block, 1)
            size = self._superblock.block_bytes
            yield from self.node(self._blocks.read(block * size, size), depth - 1, until)

    def _leaf(self, entry: tuple[int, int, int, int], end: int) -> Run:
        logical, count, high, low = entry
        is_written = count <= MAX_EXTENT_BLOCKS
        count -= 0 if is_written else MAX_EXTENT_BLOCKS
        if not count or not self._next_logical <= logical <= end - count:
            raise self._damage()
        self._next_logical = logical + count
        first = low | high << 32
        self._take(first, count)
        return Run(logical, first, count, is_written)

    def _take(self, first: int, count: int) -> None:
        self._left -= count
        if self._left < 0 or not _lies_within(self._superblock, first, count):
            raise self._damage()

    def _damage(self) -> FilesystemError:
        return damaged(self._blocks, "an extent tree leads where it can't")


def _lies_within(superblock: Superblock, first: int, count: int) -> bool:
    return superblock.first_data_block <= first <= superblock.blocks - count


class _BlockMap:
    """One inode's map, walked once."""

    def __init__(self, blocks: Blocks, superblock: Superblock) -> None:
        self._blocks = blocks
        self._superblock = superblock
        self._seen: set[int] = set()
        """Blocks of the map itself."""
        self._left = superblock.blocks

    def runs(self, numbers: Sequence[int]) -> Iterator[Run]:
        """What the 15 numbers in an inode map."""
        yield from self._data(numbers[:_DIRECT], 0)
        logical, span = _DIRECT, self._superblock.block_bytes // 4
        for level, number in enumerate(numbers[_DIRECT:], start=1):
            yield from self._below(number, level, logical)
            logical += span**level

    def _below(self, number: int, level: int, logical: int) -> Iterator[Run]:
        """What a block of the map maps, `level` levels above the data."""
        if not number:
            return
        if number in self._seen:
            raise self._damage()
        self._seen.add(number)
        self._take(number)
        yield Run(TREE, number, 1)
        size = self._superblock.block_bytes
        numbers = struct.unpack(f"<{size // 4}I", self._blocks.read(number * size, size))
        if level == 1:
            yield from self._data(numbers, logical)
            return
        step = (size // 4) ** (level - 1)
        for index, below in enumerate(numbers):
            yield from self._below(below, level - 1, logical + index * step)

    def _data(self, numbers: Sequence[int], logical: int) -> Iterator[Run]:
        first = count = 0
        for index, number in enumerate(numbers):
            if number:
                self._take(number)
            if count and number == first + count:
                count += 1
                continue
            if count:
                yield Run(logical + index - count, first, count)
            first, count = number, int(number != 0)
        if count:
            yield Run(logical + len(numbers) - count, first, count)

    def _take(self, number: int) -> None:
        self._left -= 1
        if self._left < 0 or not _lies_within(self._superblock, number, 1):
            raise self._damage()

    def _damage(self) -> FilesystemError:
        return damaged(self._blocks, "a block map leads where it can't")
