"""Read and validate the mapping of an inode's blocks: an extent tree, or ext2's map of indirect blocks.

libext2fs follows a mapping without checks, and a guest can make one with cycles, or with the same node a
million times. Here each node is read at most once, extents must ascend, and no block may be beyond the
filesystem's end. A mapping that was walked here is safe for libext2fs.

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
"""Stands for the logical block of a block that belongs to the mapping itself."""
_HEADER = struct.Struct("<4HI")
_LEAF = struct.Struct("<I2HI")
_INDEX = struct.Struct("<2IH2x")
_ENTRY_BYTES = 12
_EXTENT_MAGIC = 0xF30A
_MAX_DEPTH = 5
_MAX_LOGICAL = 1 << 32
_DIRECT = 12


class Run(NamedTuple):
    """Adjacent blocks of a file."""

    logical: int
    """The first block's index in the file; or TREE."""
    first: int
    """The first block's number on the disk."""
    blocks: int
    is_written: bool = True
    """Whether the blocks were written; unwritten ones read as zeros."""


def runs_of(blocks: Blocks, superblock: Superblock, inode: Inode) -> Iterator[Run]:
    """The runs of an inode's blocks, ascending, and among them the blocks of the mapping itself.

    The mapping is read lazily. An inode with inline data has no runs.

    Raises:
        FilesystemError: the mapping is damaged; the runs before the error are valid.
    """
    if inode.flags & INLINE_DATA_FL:
        return iter(())
    if inode.flags & EXTENTS_FL:
        tree = _ExtentTree(blocks, superblock)
        return tree.node(inode.block_area, None, _MAX_LOGICAL)
    return _BlockMap(blocks, superblock).runs(struct.unpack("<15I", inode.block_area))


class _ExtentTree:
    """One inode's extent tree, walked once from left to right."""

    def __init__(self, blocks: Blocks, superblock: Superblock) -> None:
        self._blocks = blocks
        self._superblock = superblock
        self._next_logical = 0
        self._left = superblock.blocks
        """How many blocks the tree may still map: in all, not more than the disk has."""

    def node(self, node: bytes, depth: int | None, end: int) -> Iterator[Run]:
        """The runs of a node and of the nodes below it; all must be before logical block `end`."""
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
    """One inode's block map, walked once."""

    def __init__(self, blocks: Blocks, superblock: Superblock) -> None:
        self._blocks = blocks
        self._superblock = superblock
        self._seen: set[int] = set()
        """The blocks of the map itself that were read."""
        self._left = superblock.blocks

    def runs(self, numbers: Sequence[int]) -> Iterator[Run]:
        """The runs that the 15 numbers in an inode map."""
        yield from self._data(numbers[:_DIRECT], 0)
        logical, span = _DIRECT, self._superblock.block_bytes // 4
        for level, number in enumerate(numbers[_DIRECT:], start=1):
            yield from self._below(number, level, logical)
            logical += span**level

    def _below(self, number: int, level: int, logical: int) -> Iterator[Run]:
        """The runs that a block of the map, `level` levels above the data, maps."""
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
