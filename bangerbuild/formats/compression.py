"""Decompression of gzip, bzip2, xz and zstd, recognised by the first bytes of a file.

Concatenated streams are read as one. The only module that imports zstandard.
"""

from __future__ import annotations

import bz2
import io
import lzma
import os
import zlib
from typing import TYPE_CHECKING, BinaryIO, Protocol

import zstandard

from bangerbuild.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable

    from _typeshed import WriteableBuffer

MAGIC_BYTES = 6
"""How many bytes at a file's start identify its compression."""
_BUFFER_BYTES = 256 << 10
_PIECE_BYTES = 64 << 10
"""How much of a file is given to a decompressor at once; zlib copies what it has not taken yet."""
_XZ_MEMORY_BYTES = 160 << 20
"""Enough for a dictionary of 128 MiB, zstandard's limit too; `xz -9` uses 64 MiB."""
GZIP_MAGIC = b"\x1f\x8b"
GZIP_WINDOW = 16 + zlib.MAX_WBITS
"""zlib's window bits for a stream with a header and checksum of gzip."""
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_ZSTD_SKIPPABLE = b"\x2a\x4d\x18"
_ZSTD_HEADER_BYTES_MIN, _ZSTD_HEADER_BYTES_MAX = 8, 18
_ZSTD_RLE_BLOCK = 1
ZSTD_LEVEL = 3
"""zstd's own default."""
_ZSTD_WINDOW_BYTES = 8 << 20
"""The memory that a frame may ask for: more than level 3 does."""


class CompressionError(SourceError):
    """A compressed stream that ends early (`cut`) or holds damaged bytes; the brief is a predicate."""

    def __init__(self, brief: str, *, cut: bool) -> None:
        super().__init__(brief)
        self.cut = cut


def compression_of(head: bytes) -> str | None:
    """The compression of a file that begins with `head`; None if it is none of those read here."""
    if head[1:4] == _ZSTD_SKIPPABLE and head[0] >> 4 == 5:
        return "zstd"
    return next((name for magic, name in _MAGICS if head.startswith(magic)), None)


def decompressed(file: BinaryIO, compression: str) -> BinaryIO:
    """A reader of the decompressed content of `file`, a seekable file at its start; the caller closes it.

    Reading raises CompressionError where the stream is cut short or damaged.
    """
    return io.BufferedReader(Decompressed(_OPENERS[compression](file), compression), _BUFFER_BYTES)


def zstd_frame_bytes(file: BinaryIO) -> int:
    """The size of the frame at the start of `file`, told by the sizes of its blocks.

    Raises:
        CompressionError: the file ends before the frame does, or the frame is damaged.
    """
    try:
        head = file.read(_ZSTD_HEADER_BYTES_MAX)
        if head.startswith(_ZSTD_MAGIC):
            end = _end_of_frame(file, 0, head)
        else:
            end = 8 + int.from_bytes(head[4:8], "little")
    except (EOFError, zstandard.ZstdError):
        end = -1
    if not 0 < end <= file.seek(0, os.SEEK_END):
        raise CompressionError("is a zstd stream cut short", cut=True)
    return end


def zstd_compressed(data: bytes) -> bytes:
    """One frame of zstd; the same bytes for the same data, with one version of the library."""
    return zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(data)


def zstd_expanded(frame: bytes, size_bytes: int) -> bytes:
    """The content of one frame of zstd, which has this size; no more is ever expanded.

    Raises:
        CompressionError: it is damaged, or has another size.
    """
    decompressor = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW_BYTES)
    try:
        with decompressor.stream_reader(frame) as reader:
            data = reader.read(size_bytes + 1)
    except zstandard.ZstdError as err:
        raise CompressionError(f"is a zstd stream that does not decompress: {err}", cut=False) from err
    if len(data) != size_bytes:
        much = "more" if len(data) > size_bytes else "less"
        raise CompressionError(f"expands to {much} than {size_bytes} bytes", cut=len(data) < size_bytes)
    return data


def zstd_content(frame: bytes, most_bytes: int) -> bytes:
    """The content of one frame of zstd, which has at most this size, expanded at once.

    Raises:
        CompressionError: it is damaged, or has more.
    """
    try:
        if zstandard.frame_content_size(frame) > most_bytes:
            raise CompressionError(f"expands to more than {most_bytes} bytes", cut=False)
        return zstandard.ZstdDecompressor().decompress(frame, max_output_size=most_bytes)
    except zstandard.ZstdError as err:
        raise CompressionError(f"is a zstd stream that does not decompress: {err}", cut=False) from err


class ByteStream(Protocol):
    """A source of decompressed bytes."""

    def read1(self, size: int, /) -> bytes:
        """At most `size` bytes, none at the end; EOFError where the stream is cut short."""


class Decompressed(io.RawIOBase):
    """Translates the libraries' errors.

    Reads in single steps, so that all data before a damage is returned.
    """

    def __init__(self, source: ByteStream, compression: str) -> None:
        super().__init__()
        self._source = source
        self._compression = compression

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """Fill the buffer as far as one step does; 0 at the end."""
        view = memoryview(buffer)
        try:
            data = self._source.read1(len(view))
        except EOFError as err:
            raise CompressionError(f"is a {self._compression} stream cut short", cut=True) from err
        except (zlib.error, lzma.LZMAError, zstandard.ZstdError) as err:
            raise self._damaged(err) from err
        except OSError as err:
            if err.errno is not None:
                raise
            raise self._damaged(err) from err  # gzip and bz2 report damage by an OSError without an errno
        view[: len(data)] = data
        return len(data)

    def _damaged(self, err: Exception) -> CompressionError:
        return CompressionError(f"is a {self._compression} stream that does not decompress: {err}", cut=False)


class _ZstdFile:
    """zstandard's reader, with a check at its end: zstandard itself accepts a stream that is cut short."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._reader = zstandard.ZstdDecompressor().stream_reader(
            file, read_across_frames=True, closefd=False
        )

    def read1(self, size: int, /) -> bytes:
        data = self._reader.read1(size)
        if not data and size and not _zstd_frames_are_whole(self._file):
            raise EOFError
        return data


def _zstd_frames_are_whole(file: BinaryIO) -> bool:
    """Whether the last frame ends at the end of the file, by the sizes of its blocks (RFC 8878, 3.1).

    The file is at its end afterwards.
    """
    size = file.seek(0, os.SEEK_END)
    position = 0
    try:
        while position < size:
            file.seek(position)
            head = file.read(_ZSTD_HEADER_BYTES_MAX)
            if len(head) < _ZSTD_HEADER_BYTES_MIN:
                return False
            if head.startswith(_ZSTD_MAGIC):
                position = _end_of_frame(file, position, head)
            else:
                position += 8 + int.from_bytes(head[4:8], "little")
    finally:
        file.seek(size)
    return position == size


def _end_of_frame(file: BinaryIO, position: int, head: bytes) -> int:
    has_checksum = bool(head[4] & 0b100)
    position += zstandard.frame_header_size(head)
    is_last = False
    while not is_last:
        file.seek(position)
        block = file.read(3)
        if len(block) < 3:
            raise EOFError
        header = int.from_bytes(block, "little")
        is_last = bool(header & 1)
        is_rle = header >> 1 & 0b11 == _ZSTD_RLE_BLOCK
        position += 3 + (1 if is_rle else header >> 3)
    return position + (4 if has_checksum else 0)


class Steps(Protocol):
    """A decompressor of one stream that returns no more than it is asked for, as bz2's and lzma's are."""

    @property
    def eof(self) -> bool:
        """Whether the stream has ended."""

    @property
    def needs_input(self) -> bool:
        """Whether it has nothing more to return without more of the stream."""

    @property
    def unused_data(self) -> bytes:
        """What was given to it and follows the stream."""

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """What comes of more of the stream."""


class Inflate:
    """zlib's decompressor in that form, for one member of gzip; it verifies checksums too."""

    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(GZIP_WINDOW)

    @property
    def eof(self) -> bool:
        """See Steps."""
        return self._inflate.eof

    @property
    def needs_input(self) -> bool:
        """See Steps."""
        return not self._inflate.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        """See Steps."""
        return self._inflate.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """See Steps."""
        return self._inflate.decompress(self._inflate.unconsumed_tail + data, max_length)


def xz_decompressor() -> lzma.LZMADecompressor:
    """One stream's, with a memory limit, which LZMAFile can't set: a stream may ask for up to 4 GiB."""
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_BYTES)


class _Streams:
    """Streams one after the other, with padding of zeros between them.

    Args:
        file: at its start.
        begin: makes the decompressor of one.
        magic: how the next one begins; what begins otherwise is ignored, as gzip itself does: there is
            padding at the end of tapes, and signatures at that of images. Empty: whatever follows is one.
    """

    def __init__(self, file: BinaryIO, begin: Callable[[], Steps], magic: bytes = b"") -> None:
        self._file = file
        self._begin = begin
        self._magic = magic
        self._steps = begin()

    def read1(self, size: int, /) -> bytes:
        data = b""
        while not data:
            piece = b""
            if self._steps.eof:
                piece = self._start_of_next()
                if not piece or not piece.startswith(self._magic):
                    return b""
                self._steps = self._begin()
            elif self._steps.needs_input and not (piece := self._file.read(_PIECE_BYTES)):
                raise EOFError
            data = self._steps.decompress(piece, size)
        return data

    def _start_of_next(self) -> bytes:
        """What follows a stream, without zeros; enough of it to tell what it is, empty at the file's end."""
        piece = self._steps.unused_data.lstrip(b"\0")
        while len(piece) < max(1, len(self._magic)) and (more := self._file.read(_PIECE_BYTES)):
            piece = (piece + more).lstrip(b"\0")
        return piece


_MAGICS = ((GZIP_MAGIC, "gzip"), (b"BZh", "bzip2"), (b"\xfd7zXZ\0", "xz"), (_ZSTD_MAGIC, "zstd"))
_OPENERS: dict[str, Callable[[BinaryIO], ByteStream]] = {
    "gzip": lambda file: _Streams(file, Inflate, GZIP_MAGIC),
    "bzip2": bz2.BZ2File,
    "xz": lambda file: _Streams(file, xz_decompressor),
    "zstd": _ZstdFile,
}
