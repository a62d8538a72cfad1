"""Parts of a file as file objects of their own; the data is read from the original file."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, BinaryIO, Protocol

from typing_extensions import override

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_BUFFER_BYTES = 256 << 10


class RandomAccess(Protocol):
    """Bytes that can be read from any offset."""

    def read_at(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset` on; empty only at the end. OSError if they can't be read."""


class PlainBytes(RandomAccess):
    """The bytes of an open file, which the caller closes."""

    def __init__(self, file: BinaryIO) -> None:
        self._fd = file.fileno()

    @override
    def read_at(self, offset: int, size: int) -> bytes:
        return os.pread(self._fd, size, offset)


def part_of(source: RandomAccess, offset: int, size_bytes: int) -> BinaryIO:
    """A part of `source` as a seekable file at its start; it has no file descriptor."""
    return io.BufferedReader(_Slice(source, offset, size_bytes), _BUFFER_BYTES)


class _Slice(io.RawIOBase):
    def __init__(self, source: RandomAccess, offset: int, size_bytes: int) -> None:
        super().__init__()
        self._source = source
        self._offset = offset
        self._size_bytes = size_bytes
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        view = memoryview(buffer)
        wanted = max(0, min(len(view), self._size_bytes - self._position))
        data = self._source.read_at(self._offset + self._position, wanted) if wanted else b""
        view[: len(data)] = data
        self._position += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size_bytes}[whence]
        if start + offset < 0:
            raise ValueError(f"there is nothing before the start: {start + offset}")
        self._position = start + offset
        return self._position
