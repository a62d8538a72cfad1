"""One compressed stream in a file that goes on with something else, as an initrd does."""

from __future__ import annotations

import bz2
import io
import os
from typing import TYPE_CHECKING, BinaryIO

from bangerbuild.formats.compression import (
    Decompressed,
    Inflate,
    decompressed,
    xz_decompressor,
    zstd_frame_bytes,
)
from bangerbuild.formats.slices import PlainBytes, part_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from bangerbuild.formats.compression import Steps

_BUFFER_BYTES = 256 << 10


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


class _Stepwise:
    """One stream of gzip, bzip2 or xz."""

    def __init__(self, file: BinaryIO, steps: Steps) -> None:
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


_STEPS: dict[str, Callable[[], Steps]] = {
    "gzip": Inflate,
    "bzip2": bz2.BZ2Decompressor,
    "xz": xz_decompressor,
}
