"""Templates of disks that are raw files with holes, see `template`: what of such a file is to be written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild.disk import clone
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.sparse_disk import chunk_numbers
from bangerbuild.disk.template import PackedTemplate
from bangerbuild.disk.tools import BLOCK_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from bangerbuild.disk.sparse_disk import PackedDisk, SparseDisk
    from bangerbuild.disk.template import LocatedFile

_CHUNKS_PER_PIECE = clone.DIGEST_PIECE_BYTES // BLOCK_BYTES


class SparseTemplate(PackedTemplate):
    """What a disk holds, and where that goes in a file that holds a part of it already.

    Args:
        disk: the first; it must hold every chunk of the files, see `SparseDisk.keep`.
        under: what the file of each disk holds before; the disk holds all its chunks, changed or not.
        superblock: 1024 bytes.
        files: those whose content differs from disk to disk.
    """

    def __init__(
        self, disk: SparseDisk, under: SparseDisk, superblock: bytes, files: Iterable[LocatedFile]
    ) -> None:
        located, packed = tuple(files), disk.pack()
        super().__init__(packed, superblock, located)
        spans = [span for one in located for span in one.spans]
        changing = {number for at, length in spans for number in chunk_numbers(at, length)}
        self._writes = packed.runs_of(sorted(disk.differing(under) | changing))
        self._size_bytes = disk.size_bytes
        pieces, whole = _pieces_of(packed), packed.packed()
        self._changing = {index: pieces[index] for index in _indices(changing)}
        self._digest = clone.SharedDigest(
            {index: self._piece(index, places, whole) for index, places in pieces.items()},
            self._size_bytes,
            self._changing,
        )

    def instantiate(self, path: Path, files: Sequence[tuple[bytes, int]]) -> str:
        """Write what is not in a file yet; the digest of the file then, as `clone.digest` gives it.

        Args:
            path: is there, and holds what is in `under`.
            files: see `filled`.
        """
        data = self.filled(files)
        with RawFile(path, writable=True, durable=False) as target:
            for offset, place in self._writes:
                target.write(offset, data[place])
        return self._digest.digest(
            {index: self._piece(index, places, data) for index, places in self._changing.items()}
        )

    def _piece(self, index: int, places: list[tuple[int, slice]], data: bytes | bytearray) -> bytes:
        """A piece that a digest is made of, of the data."""
        piece = bytearray(min(clone.DIGEST_PIECE_BYTES, self._size_bytes - index * clone.DIGEST_PIECE_BYTES))
        for within, place in places:
            piece[within : within + BLOCK_BYTES] = data[place]
        return bytes(piece)


def _pieces_of(packed: PackedDisk) -> dict[int, list[tuple[int, slice]]]:
    """Of each piece that a digest is made of: the offset of each chunk in it, and where that is packed."""
    pieces: dict[int, list[tuple[int, slice]]] = {}
    for number in packed.numbers:
        (place,) = packed.placed(number * BLOCK_BYTES, BLOCK_BYTES)
        index, within = divmod(number, _CHUNKS_PER_PIECE)
        pieces.setdefault(index, []).append((within * BLOCK_BYTES, place))
    return pieces


def _indices(numbers: Iterable[int]) -> set[int]:
    """The pieces that chunks lie in."""
    return {number // _CHUNKS_PER_PIECE for number in numbers}
