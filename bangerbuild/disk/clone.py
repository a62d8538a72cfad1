"""Copies and digests of sparse disk files; their cost depends on the data in a file, not on its size.

A clone shares its blocks with the original where the filesystem supports it (FICLONE: btrfs, XFS). Elsewhere
the data is copied and holes are kept.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import hashlib
import itertools
import os
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from pathlib import Path

FICLONE = 0x40049409
"""linux/fs.h: _IOW(0x94, 9, int)."""

COPY_BYTES = 1 << 30
PIECE_BYTES = 1 << 20
BLOCK_BYTES = 4096
"""Holes are made of whole blocks of zeros."""
HOLE_BYTES = 1 << 20
DIGEST_PIECE_BYTES = 64 << 10
DIGEST_PART_BYTES = 16 << 20
DIGEST_THREADS = 2
_ZEROS = bytes(DIGEST_PIECE_BYTES)
NO_REFLINK = {
    errno.EOPNOTSUPP,
    errno.EXDEV,
    errno.EINVAL,
    errno.ENOTTY,
    errno.ENOSYS,
    errno.EPERM,
    errno.EACCES,
}
NO_SEEK = {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS}
NO_COPY = {errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS}


class _Thread(threading.local):
    """A read buffer per thread: allocating memory anew for each read costs more than the read itself."""

    def __init__(self) -> None:
        self.buffer = memoryview(bytearray(PIECE_BYTES))


_thread = _Thread()


def clone(source: Path, target: Path) -> bool:
    """Make `target`, which must not exist, a copy of `source`; whether the two share their blocks.

    The copy has mode 0600, whatever the original's mode and the umask are.

    Raises:
        OSError: `target` is then removed.
    """
    with _copying(source, target) as (reader, writer):
        if _reflink(reader, writer):
            return True
        _copy_data(reader, writer)
        return False


def reflink(source: Path, target: Path) -> bool:
    """Make `target`, which must not exist, share its blocks with `source`; False and no file if it can't.

    Raises:
        OSError: `target` is then removed.
    """
    with _copying(source, target) as (reader, writer):
        if _reflink(reader, writer):
            return True
    target.unlink()
    return False


def sparse_copy(source: Path, target: Path) -> None:
    """Copy the data of `source` to `target`, which must not exist, and allocate nothing else.

    Unlike a clone, the copy has no unwritten extents, as `fallocate` leaves them.

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
    """Copy a piece; how many bytes were copied. Between two types of filesystem it goes through memory."""
    try:
        return os.copy_file_range(reader, writer, min(limit, COPY_BYTES), position, position)
    except OSError as err:
        if err.errno not in NO_COPY:
            raise
    return os.pwrite(writer, os.pread(reader, min(limit, PIECE_BYTES), position), position)


def data_extents(fd: int, start: int = 0, end: int | None = None) -> Iterator[tuple[int, int]]:
    """The parts of a file, or of a range of it, that have data: (offset, length) in bytes, ascending.

    Where the filesystem can't tell, all of it has data.
    """
    size = os.fstat(fd).st_size
    stop = size if end is None else min(size, end)
    position = start
    while position < stop:
        try:
            start = os.lseek(fd, position, os.SEEK_DATA)
        except OSError as err:
            if err.errno == errno.ENXIO:
                return
            if err.errno not in NO_SEEK:
                raise
            yield position, stop - position
            return
        if start >= stop:
            return
        position = min(os.lseek(fd, start, os.SEEK_HOLE), stop)
        yield start, position - start


def runs(piece: bytes) -> Iterator[tuple[bool, int, int]]:
    """Where a piece of a disk has data and where blocks of zeros: (is data, start, end)."""
    zeros = bytes(BLOCK_BYTES)
    offsets = range(0, len(piece), BLOCK_BYTES)
    for is_data, run in itertools.groupby(
        offsets, lambda at: not zeros.startswith(piece[at : at + BLOCK_BYTES])
    ):
        blocks = list(run)
        yield is_data, blocks[0], min(blocks[-1] + BLOCK_BYTES, len(piece))


def keeps_holes(directory: Path) -> bool:
    """Whether files in a directory can have holes (not on FAT and some network filesystems)."""
    with tempfile.TemporaryFile(dir=directory) as file:
        os.ftruncate(file.fileno(), HOLE_BYTES)
        return not any(data_extents(file.fileno()))


def digest(path: Path) -> str:
    """The digest of a file's content, in hex; holes are not read.

    Zeros and holes count the same, so a copy has the original's digest, whichever way its filesystem stores
    it. The digest is the SHA-256 of the size and of the digests of all parts of 16 MiB that are not all
    zeros. The digest of a part is the SHA-256 of its pieces of 64 KiB that are not all zeros, and then of
    their indices in the file; all numbers are 8 bytes, little-endian. So several threads can work on one
    large file.
    """
    with path.open("rb", buffering=0) as file:
        fd = file.fileno()
        hasher = hashlib.sha256(os.fstat(fd).st_size.to_bytes(8, "little"))
        parts = list(_parts(fd))
        if len(parts) == 1:
            hasher.update(_part_digest(fd, parts[0]))
        else:
            with ThreadPoolExecutor(DIGEST_THREADS, thread_name_prefix="digest") as pool:
                for own in pool.map(functools.partial(_part_digest, fd), parts):
                    hasher.update(own)
    return hasher.hexdigest()


def digest_of(data: bytes | bytearray, size_bytes: int) -> str:
    """The `digest` of a file of this size that has these bytes at its start and zeros after them."""
    hasher = hashlib.sha256(size_bytes.to_bytes(8, "little"))
    whole = min(-(-len(data) // DIGEST_PIECE_BYTES) * DIGEST_PIECE_BYTES, size_bytes)
    view = memoryview(data.ljust(whole, b"\0"))
    for at in range(0, len(view), DIGEST_PART_BYTES):
        part = view[at : at + DIGEST_PART_BYTES]
        runs = _without_zeros(part)
        hasher.update(
            _digest_of_runs(
                ((at + start) // DIGEST_PIECE_BYTES, part[start : start + length]) for start, length in runs
            )
        )
    return hasher.hexdigest()


class SharedDigest:
    """The `digest` of files that are the same but for some pieces; what is the same is hashed once.

    Args:
        pieces: all pieces of one of the files that are not zeros, by their index in it; of DIGEST_PIECE_BYTES
            each, but for one at the file's end.
        size_bytes: of each file.
        changing: the indices of those that differ.
    """

    def __init__(self, pieces: Mapping[int, bytes], size_bytes: int, changing: Collection[int]) -> None:
        self._start = hashlib.sha256(size_bytes.to_bytes(8, "little"))
        per_part = DIGEST_PART_BYTES // DIGEST_PIECE_BYTES
        parts = itertools.groupby(sorted(pieces), lambda index: index // per_part)
        self._parts = [_Part({index: pieces[index] for index in part}, changing) for _, part in parts]

    def digest(self, pieces: Mapping[int, bytes | bytearray]) -> str:
        """That of the file with these pieces in place of those that differ."""
        hasher = self._start.copy()
        for part in self._parts:
            hasher.update(part.digest(pieces))
        return hasher.hexdigest()


class _Part:
    """The pieces of one part; those before the first that differs are hashed already, or all of them."""

    def __init__(self, pieces: Mapping[int, bytes], changing: Collection[int]) -> None:
        there = [index for index in pieces if index in changing or not _is_zeros(pieces[index])]
        first = next((at for at, index in enumerate(there) if index in changing), len(there))
        self._indices, self._rest = there[:first], {index: pieces[index] for index in there[first:]}
        self._hasher = hashlib.sha256()
        for index in self._indices:
            self._hasher.update(pieces[index])
        self._whole = None if self._rest else self._finished({})

    def digest(self, pieces: Mapping[int, bytes | bytearray]) -> bytes:
        return self._finished(pieces) if self._whole is None else self._whole

    def _finished(self, pieces: Mapping[int, bytes | bytearray]) -> bytes:
        hasher, indices = self._hasher.copy(), list(self._indices)
        for index, own in self._rest.items():
            piece = pieces.get(index, own)
            if not _is_zeros(piece):
                hasher.update(piece)
                indices.append(index)
        hasher.update(b"".join(index.to_bytes(8, "little") for index in indices))
        return hasher.digest() if indices else b""


def _is_zeros(piece: bytes | bytearray) -> bool:
    return piece == _ZEROS[: len(piece)]


def _parts(fd: int) -> Iterator[list[tuple[int, int]]]:
    """The ranges that have data, (start, end) in bytes, split at the borders of parts: a list per part."""
    here: list[tuple[int, int]] = []
    for start, length in data_extents(fd):
        position, end = start, start + length
        while position < end:
            border = (position // DIGEST_PART_BYTES + 1) * DIGEST_PART_BYTES
            if here and here[0][0] // DIGEST_PART_BYTES != position // DIGEST_PART_BYTES:
                yield here
                here = []
            here.append((position, min(end, border)))
            position = border
    if here:
        yield here


def _part_digest(fd: int, ranges: list[tuple[int, int]]) -> bytes:
    return _digest_of_runs(_runs(fd, ranges))


def _digest_of_runs(runs: Iterable[tuple[int, memoryview]]) -> bytes:
    """The digest of a part; empty if it has only zeros."""
    hasher = hashlib.sha256()
    indices: list[int] = []
    for index, pieces in runs:
        hasher.update(pieces)
        indices += range(index, index - (-len(pieces) // DIGEST_PIECE_BYTES))
    hasher.update(b"".join(index.to_bytes(8, "little") for index in indices))
    return hasher.digest() if indices else b""


def _runs(fd: int, ranges: list[tuple[int, int]]) -> Iterator[tuple[int, memoryview]]:
    """All pieces that are not all zeros, adjacent ones together, with the index of the first."""
    buffer = _thread.buffer
    done = 0
    for start, end in ranges:
        position = max(done, start - start % DIGEST_PIECE_BYTES)
        done = max(done, -(-end // DIGEST_PIECE_BYTES) * DIGEST_PIECE_BYTES)
        while position < done:
            count = os.preadv(fd, [buffer[: done - position]], position)
            if count == 0:
                return
            for offset, length in _without_zeros(buffer[:count]):
                yield (position + offset) // DIGEST_PIECE_BYTES, buffer[offset : offset + length]
            position += count


def _without_zeros(data: memoryview) -> Iterator[tuple[int, int]]:
    """Runs of pieces that are not all zeros: (offset, length)."""
    zeros = bytes(DIGEST_PIECE_BYTES)
    begin = None
    for offset in range(0, len(data), DIGEST_PIECE_BYTES):
        piece = data[offset : offset + DIGEST_PIECE_BYTES]
        if piece == zeros[: len(piece)]:
            if begin is not None:
                yield begin, offset - begin
            begin = None
        elif begin is None:
            begin = offset
    if begin is not None:
        yield begin, len(data) - begin
