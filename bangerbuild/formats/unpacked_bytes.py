"""Random access to the decompressed content of a file.

Reading backwards in a compressed file means decompressing again from an earlier point. For gzip the state of
the decompressor (some 40 KiB) can be copied, so states are saved at regular distances; the other formats
always start from the beginning.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, BinaryIO, Protocol

from typing_extensions import override

from bangerbuild.formats.compression import GZIP_MAGIC, GZIP_WINDOW, CompressionError, decompressed
from bangerbuild.formats.hostfile import changed
from bangerbuild.formats.slices import RandomAccess

if TYPE_CHECKING:
    from typing import Self

_PIECE_BYTES = 64 << 10
_PASSED_BYTES = 256 << 10
_STATES_MAX = 256
"""About 12 MiB in all; when there are more states, every second one is dropped."""
_STATE_DISTANCE_BYTES = 2 << 20


class _Stream(Protocol):
    position: int
    """The offset, in the decompressed content, of the next byte."""

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, none at the end only."""

    def copy(self) -> Self | None:
        """A stream that continues from the same position; None if the format does not allow it."""


class UnpackedBytes(RandomAccess):
    """The decompressed content of a file that was read to its end once before.

    No content is kept. Reading forwards decompresses the bytes in between; reading backwards decompresses
    from the last saved state before the offset.

    Args:
        file: seekable, closed by the caller; nothing else may move its position.
        compression: as `compression.compression_of` gives it.
        written: its name in messages.
    """

    def __init__(self, file: BinaryIO, compression: str, written: str) -> None:
        self._packed = file
        self._compression = compression
        self._written = written
        self._stream = self._start()
        self._states: list[_Stream] = []
        """By their positions."""
        self._distance_bytes = _STATE_DISTANCE_BYTES

    @override
    def read_at(self, offset: int, size: int) -> bytes:
        """SourceError if the file is no longer what it was."""
        try:
            self._go_to(offset)
            return self._stream.read(size)
        except (CompressionError, zlib.error) as err:
            raise changed(self._written) from err

    def _start(self) -> _Stream:
        return _Gzip(self._packed) if self._compression == "gzip" else _Other(self._packed, self._compression)

    def _go_to(self, offset: int) -> None:
        before = [state for state in self._states if state.position <= offset]
        if offset < self._stream.position or (before and before[-1].position > self._stream.position):
            self._stream = (before[-1].copy() if before else None) or self._start()
        while left := offset - self._stream.position:
            self._keep()
            if not self._stream.read(min(left, _PASSED_BYTES)):
                raise changed(self._written)

    def _keep(self) -> None:
        """Save the stream's state if the last saved one is far enough away."""
        last = self._states[-1].position if self._states else 0
        if self._stream.position < last + self._distance_bytes:
            return
        if state := self._stream.copy():
            self._states.append(state)
        if len(self._states) > _STATES_MAX:
            self._states = self._states[::2]
            self._distance_bytes *= 2


class _Gzip:
    """A gzip file with one or more members, read as `compression` reads it."""

    def __init__(self, file: BinaryIO, position: int = 0, packed_position: int = 0) -> None:
        self.position = position
        self.inflate = zlib.decompressobj(GZIP_WINDOW)  # which verifies checksums too
        self._file = file
        self._packed_position = packed_position

    def read(self, size: int) -> bytes:
        """See _Stream."""
        data = b""
        while not data:
            packed = self._packed()
            if not packed:
                return b""
            data = self.inflate.decompress(packed, size)
        self.position += len(data)
        return data

    def copy(self) -> Self | None:
        """See _Stream."""
        if self.inflate.eof:
            return None
        other = type(self)(self._file, self.position, self._packed_position)
        other.inflate = self.inflate.copy()
        return other

    def _packed(self) -> bytes:
        """The next compressed bytes for zlib; empty at the end."""
        if not self.inflate.eof:
            return self.inflate.unconsumed_tail or self._next()
        packed = self.inflate.unused_data.lstrip(b"\0")
        while len(packed) < len(GZIP_MAGIC) and (more := self._next()):
            packed = (packed + more).lstrip(b"\0")
        if not packed.startswith(GZIP_MAGIC):
            return b""
        self.inflate = zlib.decompressobj(GZIP_WINDOW)
        return packed

    def _next(self) -> bytes:
        self._file.seek(self._packed_position)
        packed = self._file.read(_PIECE_BYTES)
        self._packed_position += len(packed)
        return packed


class _Other:
    def __init__(self, file: BinaryIO, compression: str) -> None:
        self.position = 0
        file.seek(0)
        self._file = decompressed(file, compression)

    def read(self, size: int) -> bytes:
        """See _Stream."""
        data = self._file.read(size)
        self.position += len(data)
        return data

    def copy(self) -> Self | None:
        """See _Stream."""
        return None
