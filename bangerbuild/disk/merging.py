"""Copy the content of a disk into a raw file or onto another disk, without zeros and without equal chunks."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from bangerbuild.disk import clone
from bangerbuild.disk.blocks import RawFile

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from bangerbuild.disk.blocks import Blocks

PIECE_BYTES = 1 << 20
CHUNK_BYTES = 4096


def copy(source: Blocks, target: Path) -> None:
    """Make a sparse raw file, for its owner alone, of all that a disk holds."""
    target.touch(0o600, exist_ok=False)
    os.truncate(target, source.size_bytes)
    zeros = bytes(PIECE_BYTES)
    with RawFile(target, writable=True, durable=False) as file:
        for at in range(0, source.size_bytes, PIECE_BYTES):
            piece = source.read(at, min(PIECE_BYTES, source.size_bytes - at))
            if piece != zeros[: len(piece)]:
                file.write(at, piece)


def put_chunks(chunks: Iterable[tuple[int, bytes]], chunk_bytes: int, target: Path) -> None:
    """Write numbered chunks to their places in a raw file; the last may reach beyond its end."""
    with RawFile(target, writable=True, durable=False) as file:
        for chunk, data in chunks:
            offset = chunk * chunk_bytes
            file.write(offset, data[: file.size_bytes - offset])


def copy_differences(source: Blocks, target: Blocks) -> None:
    """Write to a disk what another one of its size has otherwise."""
    for at in range(0, source.size_bytes, PIECE_BYTES):
        length = min(PIECE_BYTES, source.size_bytes - at)
        piece = source.read(at, length)
        if piece == target.read(at, length):
            continue
        for start in range(0, length, CHUNK_BYTES):
            own = piece[start : start + CHUNK_BYTES]
            if own != target.read(at + start, len(own)):
                target.write(at + start, own)


def copy_changes(old: Path, new: Path, target: Blocks) -> None:
    """Write what differs between two states of a sparse raw file to a disk that is in the earlier one.

    Args:
        old: the earlier state, perhaps smaller.
        new: the later state; where it has no data, the earlier one has none.
        target: of the later state's size.
    """
    with RawFile(old) as before, RawFile(new) as after, new.open("rb") as file:
        for start, length in clone.data_extents(file.fileno()):
            for at in range(start, start + length, CHUNK_BYTES):
                data = after.read(at, min(CHUNK_BYTES, after.size_bytes - at))
                there = max(0, min(len(data), before.size_bytes - at))
                known = before.read(at, there) if there else b""
                if data != known.ljust(len(data), b"\0"):
                    target.write(at, data)
