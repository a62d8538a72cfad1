"""What a Filesystem stands on: bytes at offsets. A raw file is here, a store over its base in `overlay`."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Protocol, Self

from bangerbuild.errors import FilesystemError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType


class Blocks(Protocol):
    """A disk of a fixed size that can be read and perhaps written at any offset."""

    name: str
    """What to call it in a message."""
    size_bytes: int
    writable: bool

    def read(self, offset: int, length: int) -> bytes:
        """Exactly this many bytes.

        Raises:
            FilesystemError: they reach beyond the end, or the file can't be read.
        """

    def write(self, offset: int, data: bytes) -> None:
        """Put bytes in place; never beyond the end.

        Raises:
            FilesystemError: they reach beyond the end, or the file can't be written.
        """

    def flush(self) -> None:
        """Make all that was written so far part of the disk, and durable."""


class RawFile:
    """A file or block device that holds a disk byte for byte. Never creates it, never changes its size.

    Args:
        path: the file, owned by the caller; open until `close` or the end of the with block.
        writable: opened for reading only unless set.
        durable: whether `flush` waits for the disk; False where the caller syncs many files at once.
    """

    def __init__(self, path: Path | str, *, writable: bool = False, durable: bool = True) -> None:
        self.name = os.fspath(path)
        self.writable = writable
        self._durable = durable
        self._fd = _open_disk(self.name, os.O_RDWR if writable else os.O_RDONLY)
        self.size_bytes = os.lseek(self._fd, 0, os.SEEK_END)

    def read(self, offset: int, length: int) -> bytes:
        """See Blocks."""
        try:
            data = os.pread(self._fd, length, offset)
            while 0 < len(data) < length and (
                more := os.pread(self._fd, length - len(data), offset + len(data))
            ):
                data += more
        except OSError as err:
            raise FilesystemError(f"cannot read '{self.name}': {err.strerror}", code=err.errno) from err
        if len(data) != length:
            raise FilesystemError(f"'{self.name}' ends before byte {offset + length}")
        return data

    def write(self, offset: int, data: bytes) -> None:
        """See Blocks."""
        if offset + len(data) > self.size_bytes:
            raise FilesystemError(f"'{self.name}' ends before byte {offset + len(data)}")
        view = memoryview(data)
        try:
            while view:
                written = os.pwrite(self._fd, view, offset)
                view, offset = view[written:], offset + written
        except OSError as err:
            raise FilesystemError(f"cannot write '{self.name}': {err.strerror}", code=err.errno) from err

    def flush(self) -> None:
        """See Blocks."""
        if self.writable and self._durable:
            try:
                os.fsync(self._fd)
            except OSError as err:
                raise FilesystemError(f"cannot sync '{self.name}': {err.strerror}", code=err.errno) from err

    def close(self) -> None:
        """Let go of the file; a second call does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _open_disk(name: str, flags: int) -> int:
    try:
        fd = os.open(name, flags | os.O_CLOEXEC)
    except OSError as err:
        raise FilesystemError(f"cannot open '{name}': {err.strerror}", code=err.errno) from err
    mode = os.fstat(fd).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
        os.close(fd)
        raise FilesystemError(f"'{name}' is no disk: neither a regular file nor a block device")
    return fd
