"""Disks as bytes at offsets: `Blocks`, the interface under a `Filesystem`, and its simplest form, a raw file.

Other implementations: `overlay` is a snapshot store over its base, `transaction` a file that is changed
completely or not at all, `journal` and `recovery` read through an unfinished change.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING, Protocol

from typing_extensions import override

from bangerbuild.errors import FULL, FULL_HINT, FilesystemError
from bangerbuild.host.closing import Closing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path


class Blocks(Protocol):
    """A disk of a fixed size that can be read, and perhaps written, at any offset."""

    name: str
    """The disk's name in messages."""
    place: str | None
    """The file that holds it byte for byte, for commands in hints; None if there is none."""
    size_bytes: int
    writable: bool

    def read(self, offset: int, length: int) -> bytes:
        """Read exactly `length` bytes.

        Raises:
            FilesystemError: they reach beyond the end, or the file can't be read.
        """

    def write(self, offset: int, data: bytes) -> None:
        """Write bytes; the disk never grows.

        Raises:
            FilesystemError: they reach beyond the end, or the file can't be written.
        """

    def flush(self) -> None:
        """Make everything written so far part of the disk, and durable."""


def write_all(fd: int, data: bytes | bytearray | memoryview, offset: int) -> None:
    """Write all of the data at a place of a file: a disk that gets full takes a part first.

    Raises:
        OSError: it can't be written.
    """
    view = memoryview(data)
    while view:
        written = os.pwrite(fd, view, offset)
        view, offset = view[written:], offset + written


class RawFile(Closing, Blocks):
    """A file or block device that holds a disk byte for byte. It must exist, and its size never changes.

    Args:
        path: the file; open until `close` or the end of the with block.
        writable: whether it is opened for writing too.
        durable: whether `flush` waits for the disk; False if the caller syncs many files at once.
        beside: whether it is a file that this program keeps beside a disk, such as a redo log; a symlink is
            then refused.

    Raises:
        FilesystemError: it can't be opened, or is neither a regular file nor a block device.
    """

    def __init__(
        self, path: Path | str, *, writable: bool = False, durable: bool = True, beside: bool = False
    ) -> None:
        self.name = os.fspath(path)
        self.place: str | None = self.name
        self.writable = writable
        self._durable = durable
        self._fd, self.size_bytes = _open_disk(
            self.name, os.O_RDWR if writable else os.O_RDONLY, beside=beside
        )

    @override
    def read(self, offset: int, length: int) -> bytes:
        if offset + length > self.size_bytes:  # a damaged filesystem can refer to any offset
            raise FilesystemError(f"'{self.name}' ends before byte {offset + length}")
        try:
            data = os.pread(self._fd, length, offset)
            while 0 < len(data) < length and (
                more := os.pread(self._fd, length - len(data), offset + len(data))
            ):
                data += more
        except OSError as err:
            raise host_error(f"cannot read '{self.name}'", err) from err
        if len(data) != length:
            raise FilesystemError(f"'{self.name}' ends before byte {offset + length}")
        return data

    @override
    def write(self, offset: int, data: bytes | bytearray) -> None:
        check_end(self, offset, len(data))
        try:
            write_all(self._fd, data, offset)
        except OSError as err:
            raise host_error(f"cannot write '{self.name}'", err) from err

    @override
    def flush(self) -> None:
        if self.writable and self._durable:
            try:
                os.fsync(self._fd)
            except OSError as err:
                raise host_error(f"cannot sync '{self.name}'", err) from err

    def write_back(self) -> None:
        """Write dirty pages back to the disk, called from a thread beside the one that writes.

        The final sync then takes less time. Errors are ignored here, since the final sync reports them.
        """
        with contextlib.suppress(OSError):
            os.fdatasync(self._fd)

    def allocate(self, ranges: Iterable[tuple[int, int]]) -> bool:
        """Reserve space on the host, so that writing there can't lack it; whether any was missing.

        Args:
            ranges: offset and length of each, in bytes.

        Raises:
            FilesystemError: there is no space.
        """
        try:
            before = os.fstat(self._fd).st_blocks
            for offset, length in ranges:
                os.posix_fallocate(self._fd, offset, length)
            return os.fstat(self._fd).st_blocks != before
        except OSError as err:
            raise host_error(f"there is no room for '{self.name}'", err) from err

    @override
    def close(self) -> None:
        """Close the file; a second call does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def check_end(disk: Blocks, offset: int, length: int) -> None:
    """Refuse a range that reaches beyond a disk's end.

    Raises:
        FilesystemError: it does.
    """
    if offset + length > disk.size_bytes:
        raise FilesystemError(f"'{disk.name}' ends before byte {offset + length}")


def host_error(brief: str, err: OSError) -> FilesystemError:
    """The FilesystemError for an OSError of the host."""
    hint = FULL_HINT if err.errno in FULL else None
    return FilesystemError(f"{brief}: {err.strerror}", hint=hint, code=err.errno)


def read_layered(
    offset: int,
    length: int,
    chunk_bytes: int,
    own: Callable[[int], bytes | None],
    below: Callable[[int, int], bytes],
) -> bytes:
    """Read a disk of which some chunks are stored elsewhere.

    Args:
        offset: in bytes.
        length: in bytes.
        chunk_bytes: the size of a chunk.
        own: returns a whole chunk that is stored elsewhere, None for any other chunk.
        below: reads (offset, length) of the disk that holds the other chunks.
    """
    chunk, within = divmod(offset, chunk_bytes)
    if within + length <= chunk_bytes:
        data = own(chunk)
        return below(offset, length) if data is None else data[within : within + length]
    parts: list[bytes] = []
    start, end = offset, offset + length
    for chunk in range(offset // chunk_bytes, -(-end // chunk_bytes)):
        if (data := own(chunk)) is None:
            continue
        at, stop = max(offset, chunk * chunk_bytes), min(end, (chunk + 1) * chunk_bytes)
        if start < at:
            parts.append(below(start, at - start))
        parts.append(data[at - chunk * chunk_bytes : stop - chunk * chunk_bytes])
        start = stop
    if start < end:
        parts.append(below(start, end - start))
    return b"".join(parts)


def chunked(offset: int, data: bytes, chunk_bytes: int) -> Iterator[tuple[int, int, bytes]]:
    """Split bytes at chunk borders: (chunk, offset in the chunk, bytes)."""
    at = 0
    while at < len(data):
        chunk, within = divmod(offset + at, chunk_bytes)
        piece = data[at : at + chunk_bytes - within]
        yield chunk, within, piece
        at += len(piece)


def _open_disk(name: str, flags: int, *, beside: bool) -> tuple[int, int]:
    """The file descriptor and the size in bytes. Does not block, as opening a FIFO would."""
    try:
        fd = os.open(name, flags | os.O_CLOEXEC | os.O_NONBLOCK | (os.O_NOFOLLOW if beside else 0))
    except OSError as err:
        raise host_error(f"cannot open '{name}'", err) from err
    status = os.fstat(fd)
    if stat.S_ISREG(status.st_mode):
        return fd, status.st_size
    if stat.S_ISBLK(status.st_mode) and not beside:
        return fd, os.lseek(fd, 0, os.SEEK_END)
    os.close(fd)
    if beside:
        raise FilesystemError(
            f"'{name}' is no regular file, so nothing that was left here", hint=f"rm '{name}'"
        )
    raise FilesystemError(f"'{name}' is no disk: neither a regular file nor a block device")
