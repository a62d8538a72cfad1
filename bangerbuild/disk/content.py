"""File content: where it lies, and moving it between a stream and the disk in large pieces.

libext2fs reads and writes files block by block. Where a file is in extent format, its runs are taken from the
inode and moved straight to or from the Blocks; every other form (block maps, inline data, bigalloc when
writing) goes through libext2fs.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from bangerbuild.disk.inode import EXTENTS_FL, INLINE_DATA_FL, INLINE_EXTENTS, MAX_EXTENT_BLOCKS
from bangerbuild.disk.superblock import mend_hint
from bangerbuild.errors import FilesystemError, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from bangerbuild.disk.blocks import Blocks
    from bangerbuild.disk.inode import Inode
    from bangerbuild.disk.libext2fs import Handle

PIECE_BYTES = 1 << 20
_HEADER = struct.Struct("<HHHHI")
_LEAF = struct.Struct("<IHHI")
_INDEX = struct.Struct("<IIHH")
_EXTENT_MAGIC = 0xF30A
_MAX_DEPTH = 5


class Run(NamedTuple):
    """Blocks of a file that lie one after the other."""

    logical: int
    """The first one's place in the file, in blocks."""
    first: int
    """The first one's number on the disk."""
    blocks: int


def runs_of(handle: Handle, blocks: Blocks, inode: Inode) -> list[Run]:
    """The runs of an inode in extent format, ascending; between them, and in unwritten ones, are zeros."""
    return list(_node_runs(handle, blocks, inode.block_area, _MAX_DEPTH))


def _node_runs(handle: Handle, blocks: Blocks, node: bytes, deepest: int) -> Iterator[Run]:
    magic, entries, _, depth, _ = _HEADER.unpack_from(node)
    if magic != _EXTENT_MAGIC or depth > deepest or 12 * (entries + 1) > len(node):
        raise FilesystemError(f"'{blocks.name}' has a damaged extent tree", hint=mend_hint(blocks))
    for offset in range(12, 12 * (entries + 1), 12):
        if depth:
            _, low, high, _ = _INDEX.unpack_from(node, offset)
            child = blocks.read((low | high << 32) * handle.block_size, handle.block_size)
            yield from _node_runs(handle, blocks, child, depth - 1)
        else:
            logical, count, high, low = _LEAF.unpack_from(node, offset)
            if count <= MAX_EXTENT_BLOCKS:  # above: allocated, but never written
                yield Run(logical, low | high << 32, count)


def read_content(handle: Handle, blocks: Blocks, ino: int, inode: Inode) -> Iterator[bytes]:
    """A file's content from its start, in pieces of at most 1 MiB, holes as zeros."""
    if not inode.flags & EXTENTS_FL or inode.flags & INLINE_DATA_FL:
        yield from _read_by_library(handle, ino, inode.size_bytes)
        return
    position, size = 0, inode.size_bytes
    for run in runs_of(handle, blocks, inode):
        start = min(run.logical * handle.block_size, size)
        yield from _zeros(start - position)
        length = min(run.blocks * handle.block_size, size - start)
        for at in range(0, length, PIECE_BYTES):
            yield blocks.read(run.first * handle.block_size + at, min(PIECE_BYTES, length - at))
        position = start + length
    yield from _zeros(size - position)


def _read_by_library(handle: Handle, ino: int, size: int) -> Iterator[bytes]:
    for at in range(0, size, PIECE_BYTES):
        wanted = min(PIECE_BYTES, size - at)
        yield handle.read_file(ino, at, wanted).ljust(wanted, b"\0")


def _zeros(length: int) -> Iterator[bytes]:
    for at in range(0, length, PIECE_BYTES):
        yield bytes(min(PIECE_BYTES, length - at))


def write_extents(handle: Handle, blocks: Blocks, runs: list[Run], content: Iterator[bytes]) -> None:
    """Fill runs with content, one piece after the other; the end of the last block is zeroed.

    Args:
        handle: the filesystem.
        blocks: its disk.
        runs: where the content goes, in its order.
        content: bytes for all runs, but for less than a block at the end.
    """
    first, more = next(content, b""), next(content, None)
    if len(runs) == 1 and more is None:
        length = runs[0].blocks * handle.block_size
        blocks.write(runs[0].first * handle.block_size, first.ljust(length, b"\0"))
        return
    buffer = bytearray(first + (more or b""))
    for run in runs:
        offset, left = run.first * handle.block_size, run.blocks * handle.block_size
        while left:
            wanted = min(left, PIECE_BYTES)
            while len(buffer) < wanted and (piece := next(content, None)) is not None:
                buffer += piece
            data = bytes(buffer[:wanted]).ljust(wanted, b"\0")
            del buffer[:wanted]
            blocks.write(offset, data)
            offset, left = offset + wanted, left - wanted


def pieces(content: BinaryIO, length: int, name: str) -> Iterator[bytes]:
    """Exactly this many bytes of a stream, in pieces of at most 1 MiB.

    Raises:
        SourceError: the stream ends before.
    """
    left = length
    while left:
        piece = content.read(min(left, PIECE_BYTES))
        if not piece:
            raise SourceError(f"the content of '{name}' ends after {length - left} of {length} bytes")
        left -= len(piece)
        yield piece


def allocate(handle: Handle, goal: int, logical: int, count: int) -> list[Run]:
    """Take blocks for a stretch of a file, in as few runs as there are; not for bigalloc."""
    runs = []
    while count:
        first, taken = handle.allocate_run(goal, min(count, MAX_EXTENT_BLOCKS))
        runs.append(Run(logical, first, taken))
        logical, count, goal = logical + taken, count - taken, first + taken
    return runs


def attach(handle: Handle, ino: int, inode: Inode, runs: list[Run]) -> None:
    """Make runs an inode's content; the inode is written when they are too many for it alone."""
    own = sum(run.blocks for run in runs) * handle.block_size // 512
    inode.set_extents(list(runs) if len(runs) <= INLINE_EXTENTS else [])
    inode.sectors = inode.sectors + own
    if len(runs) > INLINE_EXTENTS:
        handle.write_inode(ino, inode.raw)
        handle.insert_extents(ino, inode.raw, list(runs))
