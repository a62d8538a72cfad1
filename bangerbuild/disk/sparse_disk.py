"""A disk in memory that holds next to nothing, for templates: what was written to it, in chunks."""

from __future__ import annotations

import bisect
import os
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Self

from typing_extensions import override

from bangerbuild.disk import clone
from bangerbuild.disk.blocks import Blocks, RawFile, check_end, chunked, read_layered, write_all
from bangerbuild.disk.tools import BLOCK_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_ZEROS = bytes(BLOCK_BYTES)


class SparseDisk(Blocks):
    """A disk of which only the chunks that were written take memory; of BLOCK_BYTES each.

    Args:
        size_bytes: of the disk, a multiple of BLOCK_BYTES.
        name: what to call it in messages.
        chunks: what it starts with, by number; the bytes are shared, not copied.
    """

    def __init__(self, size_bytes: int, name: str, chunks: Mapping[int, bytes] | None = None) -> None:
        self.size_bytes = size_bytes
        self.name = name
        self.place: str | None = None
        self.writable = True
        self._chunks = dict(chunks or {})
        self._packed: PackedDisk | None = None
        """What it held when it was packed last; None: it was written to since."""

    @classmethod
    def of_file(cls, path: Path, size_bytes: int, name: str) -> Self:
        """What a raw file holds that is no larger than this disk; its holes and zeros are left out.

        Raises:
            OSError: it can't be read.
        """
        disk = cls(size_bytes, name)
        with RawFile(path) as file, path.open("rb") as opened:
            for offset, length in clone.data_extents(opened.fileno()):
                disk.write(offset, file.read(offset, length))
        return disk

    def copy(self, name: str) -> Self:
        """Another disk that holds the same; what is written to one is not written to the other."""
        return type(self)(self.size_bytes, name, self._chunks)

    @override
    def read(self, offset: int, length: int) -> bytes:
        check_end(self, offset, length)
        return read_layered(offset, length, BLOCK_BYTES, self._chunks.get, lambda _, count: bytes(count))

    @override
    def write(self, offset: int, data: bytes) -> None:
        """Zeros where nothing is take no memory."""
        check_end(self, offset, len(data))
        for number, within, piece in chunked(offset, data, BLOCK_BYTES):
            old = self._chunks.get(number)
            if len(piece) < BLOCK_BYTES:
                whole = old or _ZEROS
                piece = whole[:within] + piece + whole[within + len(piece) :]  # noqa: PLW2901
            if old is not None or piece != _ZEROS:
                self._chunks[number] = bytes(piece)
        self._packed = None

    @override
    def flush(self) -> None:
        """Nothing is to be done."""

    def keep(self, offset: int, length: int) -> None:
        """Hold the chunks of this range, even if they are zeros."""
        for number in chunk_numbers(offset, length):
            self._chunks.setdefault(number, _ZEROS)
        self._packed = None

    def pack(self) -> PackedDisk:
        """All that it holds now, one chunk after the other."""
        packed = self._packed
        if packed is None:
            packed = self._packed = PackedDisk(self._chunks)
        return packed

    def differing(self, other: SparseDisk) -> set[int]:
        """The numbers of the chunks that this disk holds, and the other has otherwise or not at all."""
        return {number for number, chunk in self._chunks.items() if other._chunks.get(number) != chunk}

    def instantiate(self, path: Path) -> None:
        """Make a sparse raw file of it, for its owner alone, at a path at which nothing is yet.

        Raises:
            OSError: there is no room for it.
        """
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(fd, self.size_bytes)
            packed = self.pack()
            data = memoryview(packed.packed())
            for offset, place in packed.runs:
                write_all(fd, data[place], offset)
        finally:
            os.close(fd)


class PackedDisk:
    """What a disk holds, without what it does not hold.

    Args:
        chunks: by number.
    """

    def __init__(self, chunks: Mapping[int, bytes]) -> None:
        self.numbers = sorted(chunks)
        """Of all chunks, in the order in which they are packed."""
        self._bytes = b"".join(chunks[number] for number in self.numbers)

    def packed(self) -> bytes:
        """All chunks."""
        return self._bytes

    def placed(self, offset: int, length: int) -> list[slice]:
        """The place, in that, of a range of the disk; all of it must be held."""
        first, within = divmod(offset, BLOCK_BYTES)
        start = bisect.bisect_left(self.numbers, first) * BLOCK_BYTES + within
        return [slice(start, start + length)]

    @cached_property
    def runs(self) -> tuple[tuple[int, slice], ...]:
        """Chunks that are side by side on the disk: the offset of the first, and the place of them all."""
        return self.runs_of(self.numbers)

    def runs_of(self, numbers: Iterable[int]) -> tuple[tuple[int, slice], ...]:
        """The same of some chunks, whose numbers ascend."""
        runs = []
        for _, run in groupby(enumerate(numbers), lambda item: item[1] - item[0]):
            side_by_side = [number for _, number in run]
            offset = side_by_side[0] * BLOCK_BYTES
            (place,) = self.placed(offset, len(side_by_side) * BLOCK_BYTES)
            runs.append((offset, place))
        return tuple(runs)


def chunk_numbers(offset: int, length: int) -> range:
    """The chunks that a range of a disk lies in."""
    return range(offset // BLOCK_BYTES, -(-(offset + length) // BLOCK_BYTES))
