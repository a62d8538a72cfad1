"""A template of disks that are raw files with holes: what such a file holds, without the holes."""

from __future__ import annotations

import bisect
import os
from typing import TYPE_CHECKING

from bangerbuild.disk import clone
from bangerbuild.disk.blocks import RawFile, write_all
from bangerbuild.disk.template import PackedTemplate

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence
    from pathlib import Path

    from bangerbuild.disk.template import LocatedFile

_PIECE = clone.DIGEST_PIECE_BYTES


class SparseFile:
    """The data of a file, one part after the other."""

    def __init__(self, path: Path) -> None:
        self.size_bytes = path.stat().st_size
        with path.open("rb", buffering=0) as file:
            self.extents = list(clone.data_extents(file.fileno()))
        with RawFile(path) as blocks:
            self._bytes = b"".join(blocks.read(at, length) for at, length in self.extents)
        self._starts = [at for at, _ in self.extents]
        self._packed_at = [0]
        for _, length in self.extents:
            self._packed_at.append(self._packed_at[-1] + length)

    def instantiate(self, path: Path) -> None:
        """Make the file once more, at a path at which nothing is yet: faster than a copy of small files.

        Raises:
            OSError: there is no room for it.
        """
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(fd, self.size_bytes)
            for (offset, length), at in zip(self.extents, self._packed_at, strict=False):
                write_all(fd, memoryview(self._bytes)[at : at + length], offset)
        finally:
            os.close(fd)

    def packed(self) -> bytes:
        """All data, without the holes."""
        return self._bytes

    def placed(self, offset: int, length: int) -> list[slice]:
        """The place, in the data, of a range of the file, which lies in one of its parts."""
        number = bisect.bisect_right(self._starts, offset) - 1
        start = self._packed_at[number] + offset - self._starts[number]
        return [slice(start, start + length)]


class SparseTemplate(PackedTemplate):
    """The data of a file, and where it goes.

    Args:
        file: the first disk.
        superblock: 1024 bytes.
        files: those whose content differs from disk to disk.
    """

    def __init__(self, file: SparseFile, superblock: bytes, files: Iterable[LocatedFile]) -> None:
        located = tuple(files)
        super().__init__(file, superblock, located)
        self._extents = file.extents
        self._size_bytes = file.size_bytes
        spans = [span for one in located for span in ((one.inode_at, one.inode_bytes), *one.runs)]
        self._changing = frozenset(index for at, length in spans for index in _indices(at, length))
        pieces = self._pieces(file.packed(), None)
        self._digest = clone.SharedDigest(pieces, self._size_bytes, self._changing)

    def instantiate(self, path: Path, files: Sequence[tuple[bytes, int]]) -> str:
        """Write the data of another disk; the digest of its file then, as `clone.digest` gives it.

        Args:
            path: is there, of the same size; what it holds must be in the template too, changed or not.
            files: see `filled`.
        """
        data = bytes(self.filled(files))
        with RawFile(path, writable=True, durable=False) as target:
            at = 0
            for offset, length in self._extents:
                target.write(offset, data[at : at + length])
                at += length
        return self._digest.digest(self._pieces(data, self._changing))

    def _pieces(self, data: bytes, wanted: Collection[int] | None) -> dict[int, bytes]:
        """Of the data, the pieces that a digest is made of; None: all."""
        pieces: dict[int, bytearray] = {}
        at = 0
        for offset, length in self._extents:
            for index in _indices(offset, length):
                if wanted is None or index in wanted:
                    piece = pieces.setdefault(
                        index, bytearray(min(_PIECE, self._size_bytes - index * _PIECE))
                    )
                    start = max(offset, index * _PIECE)
                    end = min(offset + length, (index + 1) * _PIECE)
                    within, there = start - index * _PIECE, at + start - offset
                    piece[within : within + end - start] = data[there : there + end - start]
            at += length
        return {index: bytes(piece) for index, piece in pieces.items()}


def _indices(offset: int, length: int) -> range:
    """The pieces that a range of a file lies in."""
    return range(offset // _PIECE, -(-(offset + length) // _PIECE))
