"""The redo log beside a disk: what a transaction is about to write in place, kept until all of it is there.

    header    8 bytes magic, u64 size of the disk
    records   u64 offset, u32 length, u32 0, 16 bytes BLAKE2b of what was there, then the new bytes
    trailer   8 bytes magic, u64 number of records, SHA-256 of all that is before the trailer

All numbers are little-endian. A log without its trailer was never finished, and nothing of it has been
written to the disk. Of two records with one offset the later one holds.

The digests of the old bytes tell a log whose disk has since been used: then some place holds neither what was
there nor what the log has for it, and to write the log would destroy what a guest wrote.
"""

from __future__ import annotations

import hashlib
import os
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Self

from bangerbuild.disk import durable
from bangerbuild.disk.blocks import RawFile
from bangerbuild.errors import FilesystemError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import TracebackType

SUFFIX = ".redo"
_HEADER = struct.Struct("<8sQ")
_RECORD = struct.Struct("<QI4x16s")
_TRAILER = struct.Struct("<8sQ32s")
_MAGIC = b"bangredo"
_END_MAGIC = b"redo-end"
_PIECE_BYTES = 1 << 20


def path_beside(disk: Path) -> Path:
    """Where the log of a disk lies."""
    return disk.with_name(disk.name + SUFFIX)


def fingerprint(data: bytes) -> bytes:
    """What tells one content of a place on the disk from another: 16 bytes."""
    return hashlib.blake2b(data, digest_size=16).digest()


class Record(NamedTuple):
    """One stretch of the disk that the log has new bytes for."""

    offset: int
    length: int
    old: bytes
    """The fingerprint of what was there."""
    place: int
    """Where in the log the new bytes begin."""


class LogWriter:
    """A log that is being written; it counts for nothing before `seal`.

    Args:
        disk: the file beside which it lies; there must be no log of it yet.
        size_bytes: the disk's.

    Raises:
        FilesystemError: it can't be made, or no longer be written.
    """

    def __init__(self, disk: Path, size_bytes: int) -> None:
        self.path = path_beside(disk)
        self._count = 0
        self._end = 0
        self._digest = hashlib.sha256()
        self._errors = f"the redo log '{self.path.name}' can't be written"
        try:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as err:
            raise FilesystemError(f"{self._errors}: {err.strerror}", code=err.errno) from err
        self._append(_HEADER.pack(_MAGIC, size_bytes))

    def add(self, offset: int, old: bytes, new: bytes) -> int:
        """Append a record; where in the log its new bytes stand."""
        place = self._end + _RECORD.size
        self._append(_RECORD.pack(offset, len(new), fingerprint(old)) + new)
        self._count += 1
        return place

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
            raise FilesystemError(f"{self._errors}: {err.strerror}", code=err.errno) from err

    def read(self, place: int, length: int) -> bytes:
        """New bytes that were added before."""
        return os.pread(self._fd, length, place)

    def seal(self) -> None:
        """End the log, and wait until it and its name are on the disk: from now on it holds."""
        self._write(_TRAILER.pack(_END_MAGIC, self._count, self._digest.digest()))
        try:
            os.fsync(self._fd)
            durable.sync_one(self.path.parent)
        except OSError as err:
            raise FilesystemError(f"{self._errors}: {err.strerror}", code=err.errno) from err

    def close(self) -> None:
        """Let go of the file, which stays where it is; a second call does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def remove(disk: Path) -> None:
    """Take the log of a disk away for good: it must not come back when the disk has been used again.

    Raises:
        FilesystemError: it can't be removed.
    """
    try:
        path_beside(disk).unlink(missing_ok=True)
        durable.sync_one(disk.parent)
    except OSError as err:
        raise FilesystemError(
            f"the redo log '{path_beside(disk).name}' can't be removed: {err.strerror}", code=err.errno
        ) from err


@dataclass
class SealedLog:
    """A log that holds, open to be read; a context manager."""

    blocks: RawFile
    size_bytes: int
    """The disk's."""
    records: tuple[Record, ...]
    """One for each offset."""

    @classmethod
    def beside(cls, disk: Path) -> Self | None:
        """The log of a disk; None if there is none, or none that was sealed."""
        path = path_beside(disk)
        if not path.exists():
            return None
        blocks = RawFile(path)
        found = _parse(blocks)
        if found is None:
            blocks.close()
            return None
        return cls(blocks, *found)

    def new(self, record: Record) -> bytes:
        """What the log has for a place."""
        return self.blocks.read(record.place, record.length)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.blocks.close()


def _parse(blocks: RawFile) -> tuple[int, tuple[Record, ...]] | None:
    """The disk's size and the records; None unless all is there and as it was written."""
    body_bytes = blocks.size_bytes - _TRAILER.size
    if body_bytes < _HEADER.size:
        return None
    magic, count, digest = _TRAILER.unpack(blocks.read(body_bytes, _TRAILER.size))
    if magic != _END_MAGIC or _digest(blocks, body_bytes) != digest:
        return None
    magic, size_bytes = _HEADER.unpack(blocks.read(0, _HEADER.size))
    records = {record.offset: record for record in _records(blocks, body_bytes)}
    return (size_bytes, tuple(records.values())) if magic == _MAGIC and count >= len(records) else None


def _digest(blocks: RawFile, length: int) -> bytes:
    hasher = hashlib.sha256()
    for at in range(0, length, _PIECE_BYTES):
        hasher.update(blocks.read(at, min(_PIECE_BYTES, length - at)))
    return hasher.digest()


def _records(blocks: RawFile, end: int) -> Iterator[Record]:
    at = _HEADER.size
    while at < end:
        offset, length, old = _RECORD.unpack(blocks.read(at, _RECORD.size))
        yield Record(offset, length, old, at + _RECORD.size)
        at += _RECORD.size + length
