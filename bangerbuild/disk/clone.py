"""Copies of disk files that cost what the file holds, not what it could hold; and their digests.

A clone shares its blocks with the original where the filesystem can (FICLONE: btrfs, XFS), and else copies
the data and keeps the holes.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import tempfile
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

FICLONE = 0x40049409
"""linux/fs.h: _IOW(0x94, 9, int)."""

COPY_BYTES = 1 << 30
PIECE_BYTES = 1 << 20
HOLE_BYTES = 1 << 20
DIGEST_PIECE_BYTES = 64 << 10
NO_REFLINK = {
    errno.EOPNOTSUPP,
    errno.EXDEV,
    errno.EINVAL,
    errno.ENOTTY,
    errno.ENOSYS,
    errno.EPERM,
    errno.EACCES,
}
NO_COPY = {errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS}


class _Thread(threading.local):
    """What each thread reads into; memory that is new each time costs more than the reading."""

    def __init__(self) -> None:
        self.buffer = memoryview(bytearray(PIECE_BYTES))


_thread = _Thread()


def clone(source: Path, target: Path) -> bool:
    """Make `target`, which must not exist, a copy of `source`; whether the two share their blocks.

    The copy is the caller's alone: 0600, whatever the original's mode and the umask are.

    Raises:
        OSError: `target` is then removed.
    """
    with _copying(source, target) as (reader, writer):
        if _reflink(reader, writer):
            return True
        _copy_data(reader, writer)
        return False


def reflink(source: Path, target: Path) -> bool:
    """Make `target`, which must not exist, share its blocks with `source`; False, and no file, if it can't.

    Raises:
        OSError: `target` is then removed.
    """
    with _copying(source, target) as (reader, writer):
        if _reflink(reader, writer):
            return True
    target.unlink()
    return False


def sparse_copy(source: Path, target: Path) -> None:
    """Make `target`, which must not exist, hold the data of `source` and allocate nothing else.

    Unlike a clone it takes no unwritten extents along, such as `fallocate` leaves.

    Raises:
        OSError: `target` is then removed.
    """
    with _copying(source, target) as (reader, writer):
        _copy_data(reader, writer)


@contextlib.contextmanager
def _copying(source: Path, target: Path) -> Iterator[tuple[int, int]]:
    with source.open("rb") as reader:
        target.touch(0o600, exist_ok=False)
        try:
            with target.open("r+b") as writer:
                yield reader.fileno(), writer.fileno()
        except OSError:
            target.unlink()
            raise


def _reflink(reader: int, writer: int) -> bool:
    try:
        fcntl.ioctl(writer, FICLONE, reader)
    except OSError as err:
        if err.errno in NO_REFLINK:
            return False
        raise
    return True


def _copy_data(reader: int, writer: int) -> None:
    os.ftruncate(writer, os.fstat(reader).st_size)
    for start, length in data_extents(reader):
        position = start
        while position < start + length:
            copied = _copy_piece(reader, writer, position, start + length - position)
            if copied == 0:
                raise OSError(errno.EIO, "the file became shorter while it was copied")
            position += copied


def _copy_piece(reader: int, writer: int, position: int, limit: int) -> int:
    """How many bytes were copied; through memory between two types of filesystem."""
    try:
        return os.copy_file_range(reader, writer, min(limit, COPY_BYTES), position, position)
    except OSError as err:
        if err.errno not in NO_COPY:
            raise
    return os.pwrite(writer, os.pread(reader, min(limit, PIECE_BYTES), position), position)


def data_extents(fd: int) -> Iterator[tuple[int, int]]:
    """Where a file has data: (offset, length) in bytes, ascending."""
    size = os.fstat(fd).st_size
    position = 0
    while position < size:
        try:
            start = os.lseek(fd, position, os.SEEK_DATA)
        except OSError as err:
            if err.errno == errno.ENXIO:
                return
            raise
        position = os.lseek(fd, start, os.SEEK_HOLE)
        yield start, position - start


def keeps_holes(directory: Path) -> bool:
    """Whether files in a directory can have holes that can be found; not so on FAT and some networks."""
    with tempfile.TemporaryFile(dir=directory) as file:
        os.ftruncate(file.fileno(), HOLE_BYTES)
        return not any(data_extents(file.fileno()))


def digest(path: Path) -> str:
    """SHA-256 of what a file holds, in hex; holes cost nothing.

    A block of zeros and a hole read the same and count the same, so a copy has the original's digest however
    its filesystem stores it. Hashed are the size, then each piece of 64 KiB that is not all zeros, after its
    index; both numbers as 8 bytes, little-endian.
    """
    with path.open("rb", buffering=0) as file:
        return _digest(os.fstat(file.fileno()).st_size, _pieces(file.fileno()))


def digest_of(data: bytes | bytearray, size_bytes: int) -> str:
    """The same of a file of that size that begins with these bytes and has only zeros behind them."""
    return _digest(size_bytes, _pieces_of(data, size_bytes))


def _pieces_of(data: bytes | bytearray, size_bytes: int) -> Iterator[tuple[int, memoryview]]:
    zeros = bytes(DIGEST_PIECE_BYTES)
    for index, at in enumerate(range(0, len(data), DIGEST_PIECE_BYTES)):
        piece = memoryview(data)[at : at + DIGEST_PIECE_BYTES]
        whole = min(DIGEST_PIECE_BYTES, size_bytes - at)
        if piece != zeros[: len(piece)]:
            yield index, piece if len(piece) == whole else memoryview(bytes(piece).ljust(whole, b"\0"))


def _digest(size_bytes: int, pieces: Iterable[tuple[int, memoryview]]) -> str:
    hasher = hashlib.sha256(size_bytes.to_bytes(8, "little"))
    for index, piece in pieces:
        hasher.update(index.to_bytes(8, "little"))
        hasher.update(piece)
    return hasher.hexdigest()


def _pieces(fd: int) -> Iterator[tuple[int, memoryview]]:
    """Every piece that is not all zeros, once, with its index; of holes what shares a piece with data."""
    buffer = _thread.buffer
    zeros = bytes(DIGEST_PIECE_BYTES)
    done = 0
    for start, length in data_extents(fd):
        position = max(done, start - start % DIGEST_PIECE_BYTES)
        done = -(-(start + length) // DIGEST_PIECE_BYTES) * DIGEST_PIECE_BYTES
        while position < done:
            count = os.preadv(fd, [buffer[: done - position]], position)
            if count == 0:
                return
            for offset in range(0, count, DIGEST_PIECE_BYTES):
                piece = buffer[offset : min(offset + DIGEST_PIECE_BYTES, count)]
                if piece != zeros[: len(piece)]:
                    yield (position + offset) // DIGEST_PIECE_BYTES, piece
            position += count
