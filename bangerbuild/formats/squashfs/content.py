"""The content of the files of a squashfs, expanded by threads before it is asked for.

A file has blocks of one size, each compressed by itself. What is left at its end may be in a fragment: a
block that has the ends of several files. In the inode stands the size of each block in the image, with bit 24
if it is not compressed; a block of size 0 is a hole.

    fragment table   start u64 | size u32, likewise | unused u32
"""

from __future__ import annotations

import os
import struct
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple, Self

from bangerbuild.formats.format_error import FormatError
from bangerbuild.formats.sparse import joined
from bangerbuild.formats.squashfs.compressors import EXPANDERS
from bangerbuild.formats.squashfs.inodes import NO_NUMBER

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future

    from bangerbuild.formats.limits import Budget
    from bangerbuild.formats.sparse import Extents
    from bangerbuild.formats.squashfs.inodes import FileLayout
    from bangerbuild.formats.squashfs.metadata import Metadata
    from bangerbuild.formats.squashfs.superblock import Superblock

_PLAIN = 1 << 24
_AHEAD_BYTES = 8 << 20
"""How much is expanded before it is asked for."""
_KEPT_FRAGMENTS = 8
_MOST_THREADS = 4


class Part(NamedTuple):
    """A block of a file, or its piece of a fragment."""

    start: int
    """Where the block is in the image; of a piece of a fragment: where in that."""
    size: int
    """Of the block in the image, with bit 24; of a piece of a fragment: the fragment's number."""
    length: int
    """Of the content."""
    is_piece: bool = False


class Job(NamedTuple):
    """A part that is being expanded."""

    block: Future[bytes]
    begin: int
    length: int
    is_piece: bool
    held_bytes: int
    """What it counts of what is held in memory."""


class Expander:
    """Expands the blocks of an image in threads; a context manager.

    Args:
        fd: the open image, which the caller closes.
        superblock: of it.
        metadata: of it.
        budget: the limit on what it may unpack to.
    """

    def __init__(self, fd: int, superblock: Superblock, metadata: Metadata, budget: Budget) -> None:
        self._fd = fd
        self._superblock = superblock
        self._metadata = metadata
        self._budget = budget
        self._expand = EXPANDERS[superblock.compression]
        threads = min(len(os.sched_getaffinity(0)), _MOST_THREADS)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="squashfs")
        self._fragments: OrderedDict[int, Future[bytes]] = OrderedDict()
        self.held_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    @property
    def is_full(self) -> bool:
        """Whether enough is expanded for now."""
        return self.held_bytes >= _AHEAD_BYTES

    def begin(self, part: Part) -> Job:
        """Have a part expanded.

        Raises:
            FormatError: it lies where there is none.
        """
        if part.is_piece:
            return self._begin_piece(part)
        block = self._pool.submit(self._block, part.start, part.size)
        return self._held(Job(block, 0, part.length, is_piece=False, held_bytes=part.length))

    def _begin_piece(self, part: Part) -> Job:
        held_bytes = part.length
        block = self._fragments.pop(part.size, None)
        if block is None:
            held_bytes = self._superblock.block_bytes
            block = self._pool.submit(self._block, *self._fragment(part.size))
            if len(self._fragments) >= _KEPT_FRAGMENTS:
                self._fragments.popitem(last=False)
        self._fragments[part.size] = block
        return self._held(Job(block, part.start, part.length, is_piece=True, held_bytes=held_bytes))

    def _held(self, job: Job) -> Job:
        self.held_bytes += job.held_bytes
        return job

    def _fragment(self, number: int) -> tuple[int, int]:
        """The start and size of a fragment. Each time that one is expanded counts, it may be for one byte."""
        if number >= self._superblock.fragments:
            raise FormatError("has its end in a fragment that is not there")
        self._budget.spend(self._superblock.block_bytes)
        found = self._metadata.listed(self._superblock.fragment_table, number, 16).take(16)
        start, size = struct.unpack("<QI4x", found)
        return start, size

    def _block(self, start: int, size: int) -> bytes:
        """In a thread: the content of a block."""
        length = size & (_PLAIN - 1)
        if length > self._superblock.block_bytes:
            raise FormatError(f"has a block of {length} bytes")
        stored = self._metadata.raw(start, length)
        return stored if size & _PLAIN else self._expand(stored, self._superblock.block_bytes)

    def end(self, job: Job) -> bytes:
        """The content of a part, waited for.

        Raises:
            FormatError, CompressionError: it is damaged.
        """
        data = job.block.result()
        if job.is_piece and job.begin + job.length <= len(data):
            return data[job.begin : job.begin + job.length]
        if job.is_piece or len(data) != job.length:
            raise FormatError(f"has a block of {len(data)} bytes in the place of {job.length}")
        return data

    def drop(self, job: Job) -> None:
        """What was expanded is not held any more."""
        self.held_bytes -= job.held_bytes


def parts_of(layout: FileLayout, block_bytes: int) -> Iterator[Part]:
    """The parts of a file that hold data, in their order."""
    at, left = layout.start, layout.size_bytes
    for size in layout.sizes:
        length = min(left, block_bytes)
        left -= length
        if size:
            yield Part(at, size, length)
        at += size & (_PLAIN - 1)
    if left and layout.fragment != NO_NUMBER:
        yield Part(layout.offset, layout.fragment, left, is_piece=True)


def data_bytes(layout: FileLayout, block_bytes: int) -> int:
    """How much of a file is data, in whole blocks."""
    holes = layout.sizes.count(0)
    return layout.size_bytes if not holes else max(0, layout.size_bytes - holes * block_bytes)


def extents_of(layout: FileLayout, block_bytes: int) -> Extents | None:
    """Where a file has data; None: everywhere."""
    if 0 not in layout.sizes:
        return None
    size = layout.size_bytes
    blocks = [
        (at, min(block_bytes, size - at))
        for at, block in zip(range(0, size, block_bytes), layout.sizes, strict=False)
        if block
    ]
    end = len(layout.sizes) * block_bytes
    return joined([*blocks, (end, size - end)] if end < size else blocks)
