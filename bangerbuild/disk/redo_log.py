"""The redo log beside a disk: what a transaction is about to write in place, kept until all of it is there.

    header    8 bytes magic, u64 size of the disk in bytes, u32 size of a chunk in bytes, u32 0
    records   u64 chunk, 16 bytes BLAKE2b of what was there, then the chunk's new bytes
    trailer   8 bytes magic, u64 number of records, SHA-256 of all that is before the trailer

All numbers are little-endian. The disk's last chunk ends with the disk. Of two records of one chunk the later
one holds. A log without its trailer was never finished, and nothing of it has been written to the disk.

The digests of the old bytes tell a log whose disk has since been used: then some place holds neither what was
there nor what the log has for it, and to write the log would destroy what a guest wrote.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import struct
from typing import TYPE_CHECKING, Self

from bangerbuild.disk import durable
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.chunk_map import ChunkMap
from bangerbuild.errors import FilesystemError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

SUFFIX = ".redo"
_HEADER = struct.Struct("<8sQI4x")
_RECORD = struct.Struct("<Q16s")
_TRAILER = struct.Struct("<8sQ32s")
_MAGIC = b"bangredo"
_END_MAGIC = b"redo-end"
_PIECE_BYTES = 1 << 20
_CHUNK_BYTES = range(512, (1 << 30) + 1)


def path_beside(disk: Path) -> Path:
    """Where the log of a disk lies."""
    return disk.with_name(disk.name + SUFFIX)


def fingerprint(data: bytes) -> bytes:
    """What tells one content of a chunk from another: 16 bytes."""
    return hashlib.blake2b(data, digest_size=16).digest()


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
        self._digest = hashlib.sha256()
        try:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as err:
            raise self._error("made", err) from err
        try:
            self._append(_HEADER.pack(_MAGIC, size_bytes, chunk_bytes))
        except BaseException:
            self.discard()
            raise

    def _error(self, deed: str, err: OSError) -> FilesystemError:
        return FilesystemError(
            f"the redo log '{self.path.name}' can't be {deed}: {err.strerror}", code=err.errno
        )

    def add(self, chunk: int, old: bytes, new: bytes) -> None:
        """Append a record; new bytes that the chunk has in the log already hold no longer."""
        place = self._end + _RECORD.size
        self._append(_RECORD.pack(chunk, fingerprint(old)) + new)
        self.places[chunk] = place
        self._count += 1

    def _append(self, data: bytes) -> None:
        self._digest.update(data)
        self._write(data)

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
            f"the redo log '{path.name}' can't be removed: {err.strerror}", code=err.errno
        ) from err


class RedoLog:
    """A log that somebody left, open to be read; a context manager.

    Args:
        disk: the file beside which it lies.

    Raises:
        FilesystemError: it can't be opened or read.
    """

    def __init__(self, disk: Path) -> None:
        self._file = RawFile(path_beside(disk))
        self.size_bytes = 0
        """The disk's, when the log was begun."""
        self.chunk_bytes = _CHUNK_BYTES.start
        self.places = ChunkMap()
        """Where the new bytes of each chunk begin; of a log that does not hold, as far as it can be read."""
        self._end = self._file.size_bytes
        self._count = 0
        try:
            self._read_header()
            self.is_sealed = self._is_whole()
            """Whether it holds."""
            self._read_records()
        except BaseException:
            self.close()
            raise

    @classmethod
    def beside(cls, disk: Path) -> Self | None:
        """The log of a disk; None if there is none."""
        return cls(disk) if path_beside(disk).exists() else None

    def _read_header(self) -> None:
        if self._file.size_bytes < _HEADER.size:
            return
        magic, size_bytes, chunk_bytes = _HEADER.unpack(self._file.read(0, _HEADER.size))
        if magic == _MAGIC and chunk_bytes in _CHUNK_BYTES:
            self.size_bytes, self.chunk_bytes = size_bytes, chunk_bytes

    def _is_whole(self) -> bool:
        """Whether all is there and as it was written."""
        body_bytes = self._end - _TRAILER.size
        if not self.size_bytes or body_bytes < _HEADER.size:
            return False
        magic, self._count, digest = _TRAILER.unpack(self._file.read(body_bytes, _TRAILER.size))
        if magic != _END_MAGIC or digest != self._digest(body_bytes):
            return False
        self._end = body_bytes
        return True

    def _digest(self, length: int) -> bytes:
        hasher = hashlib.sha256()
        for at in range(0, length, _PIECE_BYTES):
            hasher.update(self._file.read(at, min(_PIECE_BYTES, length - at)))
        return hasher.digest()

    def _read_records(self) -> None:
        count = 0
        for chunk, place in self._records():
            self.places[chunk] = place
            count += 1
        self.is_sealed = self.is_sealed and count == self._count

    def _records(self) -> Iterator[tuple[int, int]]:
        """Chunk and place of each record that is all there."""
        at = _HEADER.size
        while at + _RECORD.size < self._end:
            chunk, _ = _RECORD.unpack(self._file.read(at, _RECORD.size))
            length = _length(chunk, self.chunk_bytes, self.size_bytes)
            at += _RECORD.size + length
            if length <= 0 or at > self._end:
                return
            yield chunk, at - length

    def old(self, chunk: int) -> bytes:
        """The fingerprint of what was there."""
        return self._file.read(self.places[chunk] - 16, 16)

    def new(self, chunk: int) -> bytes:
        """What the log has for a chunk."""
        return self._file.read(self.places[chunk], _length(chunk, self.chunk_bytes, self.size_bytes))

    def close(self) -> None:
        """Let go of the file; a second call does nothing."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _length(chunk: int, chunk_bytes: int, size_bytes: int) -> int:
    """How many bytes a chunk has; not more than 0 if it lies behind the disk's end."""
    return min(chunk_bytes, size_bytes - chunk * chunk_bytes)
