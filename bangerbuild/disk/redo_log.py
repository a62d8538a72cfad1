"""The redo log beside a disk: what a transaction is about to write in place, kept until all of it is there.

    header    8 bytes magic, u64 size of the disk in bytes, u32 size of a chunk in bytes, u32 0
    records   u64 chunk, 16 bytes digest of the rest of the record and the chunk's number,
              8 bytes digest of what was there in each of its sectors, its new bytes
    trailer   8 bytes magic, u64 number of records, 32 bytes digest of the header and the records' digests

All numbers are little-endian, all digests BLAKE2b. A sector has 512 bytes, and the disk's last chunk and its
last sector end with the disk. Of two records of one chunk the later one holds. A log without its trailer was
never finished, and nothing of it has been written to the disk; after a power cut any part may be missing.

The digests of the old bytes tell a log whose disk has since been used: then some sector holds neither what
was there nor what the log has for it, and to write the log would destroy what a guest wrote. A chunk that was
written by half is no sign of that: a disk writes whole sectors.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
from typing import TYPE_CHECKING, Self

from bangerbuild.closing import Closing
from bangerbuild.disk import durable
from bangerbuild.disk.blocks import RawFile, host_error
from bangerbuild.disk.chunk_map import ChunkMap
from bangerbuild.errors import FilesystemError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SUFFIX = ".redo"
_HEADER = struct.Struct("<8sQI4x")
_RECORD = struct.Struct("<Q16s")
_TRAILER = struct.Struct("<8sQ32s")
_MAGIC = b"bangredo"
_END_MAGIC = b"redo-end"
SECTOR_BYTES = 512
DIGEST_BYTES = 8
_CHUNK_BYTES = range(512, (1 << 30) + 1)


def path_beside(disk: Path) -> Path:
    """Where the log of a disk lies."""
    return disk.with_name(disk.name + SUFFIX)


def _digest(chunk: int, rest: bytes) -> bytes:
    return hashlib.blake2b(chunk.to_bytes(8, "little") + rest, digest_size=16).digest()


def digests(data: bytes) -> bytes:
    """What tells one content of each sector from another: 8 bytes for each."""
    sectors = (data[at : at + SECTOR_BYTES] for at in range(0, len(data), SECTOR_BYTES))
    return b"".join(hashlib.blake2b(sector, digest_size=DIGEST_BYTES).digest() for sector in sectors)


class LogWriter:
    """A log that is being written; it counts for nothing before `seal`.

    Args:
        disk: the file beside which it lies; there must be no log of it yet.
        size_bytes: the disk's.
        chunk_bytes: how large a chunk is.

    Raises:
        FilesystemError: it can't be made (then there is none), or no longer be written or read.
    """

    def __init__(self, disk: Path, size_bytes: int, chunk_bytes: int) -> None:
        self.path = path_beside(disk)
        self.places = ChunkMap()
        """Where in the log the new bytes of each chunk begin."""
        self._size_bytes = size_bytes
        self._chunk_bytes = chunk_bytes
        self._count = 0
        self._end = 0
        self._digest = hashlib.blake2b(digest_size=32)
        try:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as err:
            raise self._error("made", err) from err
        header = _HEADER.pack(_MAGIC, size_bytes, chunk_bytes)
        self._digest.update(header)
        try:
            self._write(header)
        except BaseException:
            self.discard()
            raise

    def _error(self, deed: str, err: OSError) -> FilesystemError:
        return host_error(f"the redo log '{self.path.name}' can't be {deed}", err)

    def add(self, chunk: int, old: bytes, new: bytes) -> None:
        """Append a record; new bytes that the chunk has in the log already hold no longer."""
        olds = digests(old)
        digest = _digest(chunk, olds + new)
        place = self._end + _RECORD.size + len(olds)
        self._write(_RECORD.pack(chunk, digest) + olds + new)
        self._digest.update(digest)
        self.places[chunk] = place
        self._count += 1

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                written = os.pwrite(self._fd, view, self._end)
                view, self._end = view[written:], self._end + written
        except OSError as err:
            raise self._error("written", err) from err

    def new(self, chunk: int) -> bytes:
        """The new bytes of a chunk that was added."""
        length = _length(chunk, self._chunk_bytes, self._size_bytes)
        data = bytearray()
        try:
            while len(data) < length and (
                piece := os.pread(self._fd, length - len(data), self.places[chunk] + len(data))
            ):
                data += piece
        except OSError as err:
            raise self._error("read", err) from err
        if len(data) != length:
            raise FilesystemError(f"the redo log '{self.path.name}' was cut short by someone else")
        return bytes(data)

    def seal(self) -> None:
        """End the log, and wait until it and its name are on the disk: from now on it holds."""
        self._write(_TRAILER.pack(_END_MAGIC, self._count, self._digest.digest()))
        try:
            os.fsync(self._fd)
            durable.sync_one(self.path.parent)
        except OSError as err:
            raise self._error("written", err) from err

    def close(self) -> None:
        """Let go of the file, which stays where it is; a second call does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def discard(self) -> None:
        """Let go of a log that does not hold, and take it away; one that can't be removed does no harm."""
        self.close()
        with contextlib.suppress(OSError):
            self.path.unlink()


def remove(disk: Path) -> None:
    """Take the log of a disk away for good: it must not come back when the disk has been used again.

    Raises:
        FilesystemError: it can't be removed.
    """
    path = path_beside(disk)
    try:
        path.unlink(missing_ok=True)
        durable.sync_one(disk.parent)
    except OSError as err:
        raise FilesystemError(
            f"the redo log '{path.name}' can't be removed: {err.strerror}",
            details="the disk has all that is in it",
            code=err.errno,
        ) from err


class RedoLog(Closing):
    """A log that somebody left, open to be read; a context manager.

    Args:
        disk: the file beside which it lies.

    Raises:
        FilesystemError: it can't be opened or read.
    """

    def __init__(self, disk: Path) -> None:
        self._file = RawFile(path_beside(disk), beside=True)
        self.size_bytes = 0
        """The disk's, when the log was begun."""
        self.chunk_bytes = _CHUNK_BYTES.start
        self.places = ChunkMap()
        """Where the new bytes of each chunk begin; of a log that does not hold, as far as it can be read."""
        self.is_sealed = False
        """Whether it holds."""
        try:
            self._read()
        except BaseException:
            self.close()
            raise

    @classmethod
    def beside(cls, disk: Path) -> Self | None:
        """The log of a disk; None if there is none."""
        return cls(disk) if path_beside(disk).exists() else None

    def _read(self) -> None:
        if self._file.size_bytes < _HEADER.size + _TRAILER.size:
            return
        header = self._file.read(0, _HEADER.size)
        magic, self.size_bytes, self.chunk_bytes = _HEADER.unpack(header)
        if magic != _MAGIC or self.chunk_bytes not in _CHUNK_BYTES:
            return
        digest = hashlib.blake2b(header, digest_size=32)
        count = 0
        for chunk, place, own in self._records(self._file.size_bytes - _TRAILER.size):
            self.places[chunk] = place
            digest.update(own)
            count += 1
        trailer = self._file.read(self._file.size_bytes - _TRAILER.size, _TRAILER.size)
        self.is_sealed = trailer == _TRAILER.pack(_END_MAGIC, count, digest.digest())

    def _records(self, end: int) -> Iterator[tuple[int, int, bytes]]:
        """Chunk, place and digest of each record that is as it was written."""
        at = _HEADER.size
        while at + _RECORD.size < end:
            chunk, digest = _RECORD.unpack(self._file.read(at, _RECORD.size))
            is_on_disk = self._length(chunk) > 0  # else the header is not as it was written
            length = self._length(chunk) if is_on_disk else self.chunk_bytes
            at += _RECORD.size
            rest_bytes = _digests_length(length) + length
            if at + rest_bytes > end:
                return
            rest = self._file.read(at, rest_bytes)
            at += rest_bytes
            if is_on_disk and _digest(chunk, rest) == digest:
                yield chunk, at - length, digest

    def _length(self, chunk: int) -> int:
        return _length(chunk, self.chunk_bytes, self.size_bytes)

    def old(self, chunk: int) -> bytes:
        """The digests of what was there."""
        length = _digests_length(self._length(chunk))
        return self._file.read(self.places[chunk] - length, length)

    def new(self, chunk: int) -> bytes:
        """What the log has for a chunk."""
        return self._file.read(self.places[chunk], self._length(chunk))

    def close(self) -> None:
        """Let go of the file; a second call does nothing."""
        self._file.close()


def _length(chunk: int, chunk_bytes: int, size_bytes: int) -> int:
    """How many bytes a chunk has; not more than 0 if it lies behind the disk's end."""
    return min(chunk_bytes, size_bytes - chunk * chunk_bytes)


def _digests_length(length: int) -> int:
    return -(-length // SECTOR_BYTES) * DIGEST_BYTES
