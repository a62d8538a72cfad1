"""One compressed stream in a file that goes on with something else, as an initrd does."""

from __future__ import annotations

import bz2
import io
import os
import zlib
from typing import TYPE_CHECKING, BinaryIO, Protocol

from bangerbuild.formats.compression import Decompressed, decompressed, xz_decompressor, zstd_frame_bytes
from bangerbuild.formats.slices import PlainBytes, part_of

if TYPE_CHECKING:
    from collections.abc import Callable

_BUFFER_BYTES = 256 << 10
_WITH_GZIP_HEADER = 31
"""zlib's window bits for a stream with a header and checksum of gzip."""


class SingleStream:
    """The first compressed stream in a file from `offset` on; what comes after it may be anything.

    Args:
        file: the file, with a descriptor; its position is neither used nor moved.
        offset: where the stream begins.
        compression: as `compression_of` gives it.

    Raises:
        CompressionError: it is cut short or damaged; also while its content is read.
    """

    def __init__(self, file: BinaryIO, offset: int, compression: str) -> None:
        source, size = PlainBytes(file), os.fstat(file.fileno()).st_size
        rest = part_of(source, offset, size - offset)
        self._offset = offset
        self._taken_bytes: Callable[[], int]
        if compression == "zstd":  # whose library can't limit what one step returns
            frame_bytes = zstd_frame_bytes(rest)
            self._taken_bytes = lambda: frame_bytes
            self.file = decompressed(part_of(source, offset, frame_bytes), compression)
            """Its content."""
        else:
            steps = _Stepwise(rest, _STEPS[compression]())
            self._taken_bytes = steps.taken_bytes
            self.file = io.BufferedReader(Decompressed(steps, compression), _BUFFER_BYTES)

    @property
    def end(self) -> int:
        """The offset after it, once its content was read to the end."""
        return self._offset + self._taken_bytes()


class _Steps(Protocol):
    """A decompressor of one stream that returns no more than it is asked for."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Inflate:
    """zlib's decompressor in the form that the others have."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(_WITH_GZIP_HEADER)

    @property
    def eof(self) -> bool:
        return self._inflate.eof

    @property
    def needs_input(self) -> bool:
        return not self._inflate.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inflate.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        return self._inflate.decompress(self._inflate.unconsumed_tail + data, max_length)


class _Stepwise:
    """One stream of gzip, bzip2 or xz."""

    def __init__(self, file: BinaryIO, steps: _Steps) -> None:
        self._file = file
        self._steps = steps
        self._read_bytes = 0

    def taken_bytes(self) -> int:
        """How long the stream is, once it was read to its end."""
        return self._read_bytes - len(self._steps.unused_data)

    def read1(self, size: int, /) -> bytes:
        """At most `size` bytes, none at the end; EOFError where the stream is cut short."""
        data = b""
        while not data and not self._steps.eof:
            is_hungry = self._steps.needs_input
            piece = self._file.read(_BUFFER_BYTES) if is_hungry else b""
            self._read_bytes += len(piece)
            data = self._steps.decompress(piece, size)
            if is_hungry and not piece and not data and not self._steps.eof:
                raise EOFError
        return data


_STEPS: dict[str, Callable[[], _Steps]] = {
    "gzip": _Inflate,
    "bzip2": bz2.BZ2Decompressor,
    "xz": xz_decompressor,
}
