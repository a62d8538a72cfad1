"""Files cut into compressed chunks, and put together from them.

A chunk is a fixed part of 4 MiB of a file; one that is all zeros is left out. What a chunk expands to is
compared with its size and digest before a byte of it is written.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from bangerbuild.cache_registry.artifact import CHUNK_BYTES, MOST_BLOB_BYTES, Chunk, sha256
from bangerbuild.disk import clone
from bangerbuild.errors import SourceError
from bangerbuild.formats.compression import CompressionError, zstd_compressed, zstd_expanded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

THREADS = 4
"""zlib, zstd and hashes let other threads work."""
_ZEROS = bytes(CHUNK_BYTES)


class DamagedChunkError(SourceError):
    """A chunk that is not what its manifest says of it."""

    def __init__(self, brief: str, chunk: Chunk) -> None:
        super().__init__(brief)
        self.chunk = chunk


def places(fd: int) -> Iterator[int]:
    """The offsets of all chunks of a file that may hold data, ascending."""
    last = -1
    for start, length in clone.data_extents(fd):
        for number in range(max(start // CHUNK_BYTES, last + 1), -(-(start + length) // CHUNK_BYTES)):
            yield number * CHUNK_BYTES
            last = number


def cut(
    path: Path,
    name: str,
    known: Callable[[str], tuple[str, int] | None],
    keep: Callable[[bytes], tuple[str, int]],
) -> tuple[Chunk, ...]:
    """The chunks of a file.

    Args:
        path: the file.
        name: what it is called in the artifact.
        known: gives the blob of a chunk that was compressed before, by the chunk's digest.
        keep: keeps a compressed chunk, and gives the blob's digest and size.

    Raises:
        OSError: it can't be read.
    """
    with path.open("rb", buffering=0) as file, ThreadPoolExecutor(THREADS) as pool:
        one = partial(_cut_at, file.fileno(), name, known, keep)
        return tuple(chunk for chunk in pool.map(one, places(file.fileno())) if chunk)


def _cut_at(
    fd: int,
    name: str,
    known: Callable[[str], tuple[str, int] | None],
    keep: Callable[[bytes], tuple[str, int]],
    offset: int,
) -> Chunk | None:
    data = os.pread(fd, CHUNK_BYTES, offset)
    if data == _ZEROS[: len(data)]:
        return None
    digest = sha256(data)
    return Chunk(name, offset, len(data), digest, *(known(digest) or keep(zstd_compressed(data))))


def join(path: Path, size_bytes: int, chunks: Sequence[Chunk], blob: Callable[[str], Path]) -> None:
    """Put a file together, which does not exist; blocks of zeros become holes.

    Raises:
        DamagedChunkError: a chunk is not what it must be.
        OSError: the file can't be written.
    """
    with path.open("xb", buffering=0) as file, ThreadPoolExecutor(THREADS) as pool:
        os.ftruncate(file.fileno(), size_bytes)
        _all(pool.map(partial(_put, file.fileno(), blob), chunks))


def _all(done: Iterable[None]) -> None:
    for _ in done:
        pass


def _put(fd: int, blob: Callable[[str], Path], chunk: Chunk) -> None:
    data = expanded(blob(chunk.blob), chunk)
    for is_data, start, end in clone.runs(data):
        if is_data:
            os.pwrite(fd, memoryview(data)[start:end], chunk.offset + start)


def expanded(blob: Path, chunk: Chunk) -> bytes:
    """The content of a chunk.

    Raises:
        DamagedChunkError: it is not there, or not what it must be.
    """
    where = f"the chunk at {chunk.offset} of '{chunk.file}'"
    try:
        with blob.open("rb") as file:
            frame = file.read(MOST_BLOB_BYTES + 1)
        data = zstd_expanded(frame, chunk.size_bytes) if len(frame) <= MOST_BLOB_BYTES else b""
    except FileNotFoundError as err:
        raise DamagedChunkError(f"{where} is missing", chunk) from err
    except CompressionError as err:
        raise DamagedChunkError(f"{where} {err.brief}", chunk) from err
    if sha256(data) != chunk.digest:
        raise DamagedChunkError(f"{where} has another digest than its manifest says", chunk)
    return data
