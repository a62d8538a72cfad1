"""The redo log beside a disk: all that a transaction is about to write, kept until it is written.

    header    8 bytes magic, u64 size of the disk in bytes, u32 size of a chunk in bytes, u32 0
    records   u64 chunk, 16 bytes digest of the rest of the record and the chunk's number,
              8 bytes digest of what was there in each of its sectors, its new bytes
    trailer   8 bytes magic, u64 number of records, 32 bytes digest of the header and the records' digests

All numbers are little-endian, all digests BLAKE2b. A sector has 512 bytes; the disk's last chunk and last
sector end with the disk. Of two records for one chunk the later one counts. If the trailer is missing, the
log was never completed, and nothing of it was written to the disk; after a power cut any part of it may be
missing.

The digests of the old bytes show whether the disk was used since: then some sector has neither its old bytes
nor those in the log, and writing the log would destroy a guest's data. A half-written chunk is no such sign,
because disks write whole sectors.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
from typing import TYPE_CHECKING, Self

from typing_extensions import override

from bangerbuild.disk import beside, durable
from bangerbuild.disk.blocks import RawFile, host_error, write_all
from bangerbuild.disk.chunk_map import ChunkMap
from bangerbuild.errors import FilesystemError
from bangerbuild.host.closing import Closing

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_HEADER = struct.Struct("<8sQI4x")
_RECORD = struct.Struct("<Q16s")
_TRAILER = struct.Struct("<8sQ32s")
_MAGIC = b"bangredo"
_END_MAGIC = b"redo-end"
SECTOR_BYTES = 512
DIGEST_BYTES = 8
_CHUNK_BYTES = range(512, (1 << 30) + 1)


def path_beside(disk: Path) -> Path:
    """The path of a disk's log."""
    return disk.with_name(disk.name + beside.REDO_LOG)


def _digest(chunk: int, rest: bytes) -> bytes:
    return hashlib.blake2b(chunk.to_bytes(8, "little") + rest, digest_size=16).digest()


def digests(data: bytes) -> bytes:
    """The digests of all sectors, 8 bytes each."""
    sectors = (data[at : at + SECTOR_BYTES] for at in range(0, len(data), SECTOR_BYTES))
    return b"".join(hashlib.blake2b(sector, digest_size=DIGEST_BYTES).digest() for sector in sectors)


class LogWriter:
    """A log that is being written; it is valid only after `seal`.

    Args:
        disk: the disk; it must have no log yet.
        size_bytes: the disk's size.
        chunk_bytes: the size of a chunk.

    Raises:
        FilesystemError: it can't be made (then there is none), written or read.
    """

    def __init__(self, disk: Path, size_bytes: int, chunk_bytes: int) -> None:
        self.path = path_beside(disk)
        self.places = ChunkMap()
        """The offset, in the log, of each chunk's new bytes."""
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
        """Append a record; it replaces an earlier one of the same chunk."""
        olds = digests(old)
        digest = _digest(chunk, olds + new)
        place = self._end + _RECORD.size + len(olds)
        self._write(_RECORD.pack(chunk, digest) + olds + new)
        self._digest.update(digest)
        self.places[chunk] = place
        self._count += 1

    def _write(self, data: bytes) -> None:
        try:
            write_all(self._fd, data, self._end)
        except OSError as err:
            raise self._error("written", err) from err
        self._end += len(data)

    def new(self, chunk: int) -> bytes:
        """The new bytes of a chunk in the log."""
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
        """Write the trailer and sync the log and its directory; from now on the log is valid.

        Raises:
            FilesystemError: that failed, and the log is empty: it may be discarded.
        """
        try:
            self._write(_TRAILER.pack(_END_MAGIC, self._count, self._digest.digest()))
            os.fsync(self._fd)
            durable.sync_one(self.path.parent)
        except OSError as err:
            _void(self._fd)
            raise self._error("written", err) from err

    def close(self) -> None:
        """Close the file, which stays; a second call does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def discard(self) -> None:
        """Close and remove an incomplete log; one that can't be removed does no harm."""
        self.close()
        with contextlib.suppress(OSError):
            self.path.unlink()


def remove(disk: Path) -> None:
    """Remove the log of a disk and sync the directory: it must not reappear after the disk was used again.

    Raises:
        FilesystemError: it can't be removed.
    """
    path = path_beside(disk)
    fd = -1
    try:
        with contextlib.suppress(FileNotFoundError):
            fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            path.unlink()
        durable.sync_one(disk.parent)
    except OSError as err:
        _void(fd)
        raise FilesystemError(
            f"the redo log '{path.name}' can't be removed: {err.strerror}",
            details="the disk has all that is in it",
            code=err.errno,
        ) from err
    finally:
        if fd >= 0:
            os.close(fd)


def _void(fd: int) -> None:
    """Empty a log, as far as that is possible: its directory can't be synced, so that it may come back.

    Written to a disk that was used since, it would destroy what a guest wrote, unless that is in the very
    sectors that are in the log. An empty one is discarded.
    """
    with contextlib.suppress(OSError):
        os.ftruncate(fd, 0)
        os.fsync(fd)


class RedoLog(Closing):
    """An existing log, open for reading; a context manager.

    Args:
        disk: the disk.

    Raises:
        FilesystemError: it can't be opened or read.
    """

    def __init__(self, disk: Path) -> None:
        self._file = RawFile(path_beside(disk), beside=True)
        self.size_bytes = 0
        """The disk's size when the log was begun."""
        self.chunk_bytes = _CHUNK_BYTES.start
        self.places = ChunkMap()
        """The offset of each chunk's new bytes; for an incomplete log, as far as it can be read."""
        self.is_sealed = False
        """Whether the log is complete."""
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
        """Chunk, offset and digest of each intact record, up to the first damaged one."""
        at = _HEADER.size
        while at + _RECORD.size < end:
            chunk, digest = _RECORD.unpack(self._file.read(at, _RECORD.size))
            is_on_disk = self._length(chunk) > 0  # otherwise the header is damaged
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
        """The digests of a chunk's old sectors."""
        length = _digests_length(self._length(chunk))
        return self._file.read(self.places[chunk] - length, length)

    def new(self, chunk: int) -> bytes:
        """The new bytes of a chunk."""
        return self._file.read(self.places[chunk], self._length(chunk))

    @override
    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._file.close()


def _length(chunk: int, chunk_bytes: int, size_bytes: int) -> int:
    """The size of a chunk in bytes; 0 or less if it is beyond the disk's end."""
    return min(chunk_bytes, size_bytes - chunk * chunk_bytes)


def _digests_length(length: int) -> int:
    return -(-length // SECTOR_BYTES) * DIGEST_BYTES
