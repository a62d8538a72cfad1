"""Which image a disk was copied from, told from the two alone.

A copy keeps the UUID of its filesystem, and an image that is built here has one of its own, made of its
fingerprint. Several images may have one UUID, as two editions of an ext4 have that was edited in place: then
the one counts that the disk has most blocks of.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from bangerbuild.disk import superblock
from bangerbuild.formats.hostfile import data_extents

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

BLOCK_BYTES = 4096
PIECE_BYTES = 1 << 20


def copied_from(disk: Path, images: Sequence[Path]) -> Path | None:
    """Which of these images a disk is a copy of, whatever was written to it since; None: that can't be told.

    Raises:
        OSError: one of them can't be read.
    """
    own = _uuid(disk)
    alike = [image for image in images if own is not None and _uuid(image) == own]
    if len(alike) < 2:
        return alike[0] if alike else None
    counted = {image: _common_blocks(disk, image) for image in alike}
    most = max(counted.values())
    best = [image for image, count in counted.items() if count == most]
    return best[0] if len(best) == 1 else None


def _uuid(path: Path) -> str | None:
    with path.open("rb") as file:
        file.seek(superblock.OFFSET)
        raw = file.read(superblock.SIZE)
    found = superblock.parse_superblock(raw) if len(raw) == superblock.SIZE else None
    return found.uuid if found else None


def _common_blocks(disk: Path, image: Path) -> int:
    """How many blocks of an image a disk has where the image has them."""
    with disk.open("rb") as ours, image.open("rb") as theirs:
        return sum(
            _same_blocks(os.pread(ours.fileno(), PIECE_BYTES, at), os.pread(theirs.fileno(), PIECE_BYTES, at))
            for at in _pieces(theirs.fileno(), image.stat().st_size)
        )


def _pieces(fd: int, size_bytes: int) -> Iterator[int]:
    last = -1
    for start, length in data_extents(fd, size_bytes):
        for at in range(start // PIECE_BYTES, -(-(start + length) // PIECE_BYTES)):
            if at > last:
                yield at * PIECE_BYTES
                last = at


def _same_blocks(ours: bytes, theirs: bytes) -> int:
    if ours == theirs:
        return -(-len(theirs) // BLOCK_BYTES)
    return sum(
        ours[at : at + BLOCK_BYTES] == theirs[at : at + BLOCK_BYTES]
        for at in range(0, len(theirs), BLOCK_BYTES)
    )
