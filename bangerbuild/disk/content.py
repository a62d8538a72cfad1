"""Read and write the content of files in large pieces.

libext2fs reads and writes files block by block. Here a file's runs of blocks are taken from its inode and
copied directly from or to the disk. Only writing to a filesystem with block maps or bigalloc goes through
libext2fs.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

from typing_extensions import override

from bangerbuild.disk.attribute_space import inline_data
from bangerbuild.disk.inode import INLINE_DATA_FL, INLINE_EXTENTS, MAX_EXTENT_BLOCKS
from bangerbuild.disk.mapping import TREE, Run, runs_of
from bangerbuild.disk.superblock import damaged
from bangerbuild.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO, TypeAlias

    from bangerbuild.disk.blocks import Blocks
    from bangerbuild.disk.inode import Inode
    from bangerbuild.disk.libext2fs import Handle
    from bangerbuild.disk.superblock import Superblock

    Extents: TypeAlias = tuple[tuple[int, int], ...]

MAX_FILE_BLOCKS = 1 << 32
PIECE_BYTES = 1 << 20


def read_content(blocks: Blocks, superblock: Superblock, inode: Inode) -> Iterator[bytes]:
    """A file's content from its start, in pieces of at most 1 MiB, holes as zeros.

    Raises:
        FilesystemError: the file is damaged; the pieces before the error are valid.
    """
    size, block_bytes = inode.size_bytes, superblock.block_bytes
    if size > MAX_FILE_BLOCKS * block_bytes:
        raise damaged(blocks, f"a file says it has {size} bytes")
    if inode.flags & INLINE_DATA_FL:
        held = inline_data(blocks, inode)
        if size > len(held):
            raise damaged(blocks, f"a file that is held in its inode says it has {size} bytes")
        yield held[:size]
        return
    position = 0
    for run in runs_of(blocks, superblock, inode):
        if run.logical == TREE or not run.is_written:
            continue
        start = min(run.logical * block_bytes, size)
        yield from _zeros(start - position)
        length = min(run.blocks * block_bytes, size - start)
        for at in range(0, length, PIECE_BYTES):
            yield blocks.read(run.first * block_bytes + at, min(PIECE_BYTES, length - at))
        position = start + length
    yield from _zeros(size - position)


def _zeros(length: int) -> Iterator[bytes]:
    for at in range(0, length, PIECE_BYTES):
        yield bytes(min(PIECE_BYTES, length - at))


class PiecesFile(io.RawIOBase):
    """Pieces of content as a file that is read once."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._left = memoryview(b"")

    @override
    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        """Fill a buffer as far as the present piece does; 0 at the end."""
        target = memoryview(buffer).cast("B")  # type: ignore[arg-type] # any writable buffer, by contract
        if not self._left:
            self._left = memoryview(next(self._pieces, b""))
        count = min(len(target), len(self._left))
        target[:count] = self._left[:count]
        self._left = self._left[count:]
        return count


class Writes(Protocol):
    """A disk that can be written."""

    def write(self, offset: int, data: bytes) -> None:
        """Write bytes at an offset."""


def write_extents(handle: Handle, blocks: Writes, runs: list[Run], content: Iterator[bytes]) -> None:
    """Write content to runs of blocks; the rest of the last block is zeroed.

    Args:
        handle: the filesystem.
        blocks: its disk, or a buffer for writes to it.
        runs: where the content goes, in order.
        content: the bytes for all runs; less than a block may be missing at the end.
    """
    if not runs:
        return
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
        SourceError: the stream ends too early.
    """
    left = length
    while left:
        piece = content.read(min(left, PIECE_BYTES))
        if not piece:
            raise SourceError(f"the content of '{name}' ends after {length - left} of {length} bytes")
        left -= len(piece)
        yield piece


@dataclass(frozen=True)
class FileData:
    """What a new file is to hold."""

    name: str
    """What messages call the file."""
    stream: BinaryIO
    """From its position on."""
    size_bytes: int
    extents: Extents | None = None
    """Where it has data, which is all that is in the stream, see `tree.Entry`; None: everywhere."""

    def stretches(self, block_bytes: int) -> list[tuple[int, int]]:
        """The parts that need blocks, as (first block, count).

        Raises:
            SourceError: there can't be data where the extents have some.
        """
        if self.extents is None:
            return [(0, -(-self.size_bytes // block_bytes))] if self.size_bytes else []
        found: list[tuple[int, int]] = []
        end = 0
        for offset, length in self.extents:
            if offset < end or length < 0 or offset + length > self.size_bytes:
                raise SourceError(f"'{self.name}' has data from {offset} on where there can't be any")
            end = offset + length
            first, last = offset // block_bytes, -(-end // block_bytes)
            if found and first <= sum(found[-1]):
                found[-1] = (found[-1][0], max(last, sum(found[-1])) - found[-1][0])
            elif length:
                found.append((first, last - first))
        return found

    def pieces(self, block_bytes: int) -> Iterator[bytes]:
        """The bytes of the stretches, with zeros for holes inside of them.

        Raises:
            SourceError: the stream ends too early.
        """
        if self.extents is None:
            yield from pieces(self.stream, self.size_bytes, self.name)
            return
        left = iter([*self.extents, (1 << 63, 0)])
        offset, length = next(left)
        for first, count in self.stretches(block_bytes):
            at, end = first * block_bytes, (first + count) * block_bytes
            while offset < end:
                yield bytes(offset - at)
                yield from pieces(self.stream, length, self.name)
                at = offset + length
                offset, length = next(left)
            yield bytes(end - at)

    def parts(self) -> Iterator[tuple[int, bytes]]:
        """The data in pieces of at most 1 MiB, each with its offset in the file."""
        for offset, length in ((0, self.size_bytes),) if self.extents is None else self.extents:
            at = offset
            for piece in pieces(self.stream, length, self.name):
                yield at, piece
                at += len(piece)


def data_of(name: str, blocks: Blocks, superblock: Superblock, inode: Inode) -> FileData:
    """A file's content as that of a new file; its holes stay holes. `name` is what messages call it."""
    size, block_bytes = inode.size_bytes, superblock.block_bytes
    if inode.flags & INLINE_DATA_FL:
        extents, content = None, read_content(blocks, superblock, inode)
    else:
        runs = [
            run
            for run in runs_of(blocks, superblock, inode)
            if run.logical != TREE and run.is_written and run.logical * block_bytes < size
        ]
        extents = tuple(
            (start := run.logical * block_bytes, min(run.blocks * block_bytes, size - start)) for run in runs
        )
        content = _read_runs(blocks, runs, block_bytes)
    stream = cast("BinaryIO", io.BufferedReader(PiecesFile(content)))
    return FileData(name, stream, size, extents)


def _read_runs(blocks: Blocks, runs: list[Run], block_bytes: int) -> Iterator[bytes]:
    for run in runs:
        for at in range(0, run.blocks * block_bytes, PIECE_BYTES):
            length = min(PIECE_BYTES, run.blocks * block_bytes - at)
            yield blocks.read(run.first * block_bytes + at, length)


def allocate(handle: Handle, goal: int, logical: int, count: int) -> list[Run]:
    """Allocate blocks for a part of a file, in as few runs as possible; not for bigalloc."""
    runs = []
    while count:
        first, taken = handle.allocate_run(goal, min(count, MAX_EXTENT_BLOCKS))
        runs.append(Run(logical, first, taken))
        logical, count, goal = logical + taken, count - taken, first + taken
    return runs


def attach(handle: Handle, ino: int, inode: Inode, runs: list[Run]) -> None:
    """Set the runs of an inode; the inode is written if they do not fit into it."""
    extents = [run[:3] for run in runs]
    inode.set_extents(extents if len(extents) <= INLINE_EXTENTS else [])
    inode.sectors += sum([count for _, _, count in extents]) * handle.block_size // 512
    if len(extents) > INLINE_EXTENTS:
        handle.write_inode(ino, inode.raw)
        handle.insert_extents(ino, inode.raw, extents)
