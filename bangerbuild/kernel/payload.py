"""Decompress the payload of a bzImage: an ELF file in one of several compressions, followed by its size.

The last four bytes are the decompressed size, little-endian. For gzip they are part of its trailer; for the
other compressions they follow the stream. Source: arch/x86/boot/compressed/{Makefile,mkpiggy.c},
lib/decompress.c.
"""

from __future__ import annotations

import lzma
import os
from typing import TYPE_CHECKING

from bangerbuild.errors import readable_size
from bangerbuild.formats.compression import CompressionError, decompressed
from bangerbuild.formats.format_error import FormatError
from bangerbuild.kernel import lz4

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

LIMIT_BYTES = 512 << 20
_LZMA_MEMORY_BYTES = 192 << 20
"""Its header names a dictionary of up to 4 GiB; kernels have 32 MiB at most."""
"""A limit that no kernel reaches, against files that were made to fill the disk."""
PIECE_BYTES = 1 << 20
HEAD_BYTES = 16
"""How many bytes of a payload `check` needs."""
ELF_MAGIC = b"\x7fELF"
_GZIP_MAGIC = b"\x1f\x8b"


def plain(payload: bytes) -> Iterator[bytes]:
    """The decompressed bytes of a payload, in pieces.

    Raises:
        FormatError: its compression is unknown, it is damaged or cut short, or exceeds the limit.
    """
    if payload.startswith(ELF_MAGIC):
        yield payload
        return
    read = _reader(payload)
    body = payload if payload.startswith(_GZIP_MAGIC) else payload[:-4]
    size_bytes = 0
    try:
        for piece in limited(read(body)):
            size_bytes += len(piece)
            yield piece
    except CompressionError as err:
        raise FormatError(f"has a payload that {err.brief}") from err
    stated = int.from_bytes(payload[-4:], "little")
    if size_bytes != stated:
        raise FormatError(f"has a damaged payload: it unpacks to {size_bytes} bytes and states {stated}")


def check(head: bytes) -> None:
    """Check that the compression of a payload that begins so is known.

    Raises:
        FormatError: it is not.
    """
    if not head.startswith(ELF_MAGIC):
        _reader(head)


def limited(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same pieces, up to LIMIT_BYTES in all.

    Raises:
        FormatError: there are more.
    """
    left = LIMIT_BYTES
    for piece in pieces:
        left -= len(piece)
        if left < 0:
            raise FormatError(f"is no kernel: it unpacks to more than {readable_size(LIMIT_BYTES)}")
        yield piece


def pieces_of(file: BinaryIO) -> Iterator[bytes]:
    """The rest of a file, in pieces."""
    while piece := file.read(PIECE_BYTES):
        yield piece


def decompressed_pieces(data: bytes) -> Iterator[bytes]:
    """What is compressed in one of the ways that a kernel knows, in pieces, up to LIMIT_BYTES.

    Raises:
        FormatError: its compression is unknown, or it exceeds the limit.
        CompressionError: it is damaged or cut short.
    """
    return limited(_reader(data)(data))


def _reader(payload: bytes) -> Callable[[bytes], Iterator[bytes]]:
    for magic, name, read in _COMPRESSORS:
        if payload.startswith(magic):
            if read is None:
                raise FormatError(
                    f"has a payload compressed with {name}, which can't be unpacked here", hint=_HINT
                )
            return read
    begin = payload[:4].hex(" ")
    raise FormatError(f"has a payload of an unknown compressor: it begins with '{begin}'", hint=_HINT)


def _streamed(name: str) -> Callable[[bytes], Iterator[bytes]]:
    def read(data: bytes) -> Iterator[bytes]:
        # The end of a zstd stream is found by seeking, so a file is needed.
        with os.fdopen(os.memfd_create("payload"), "w+b") as file:
            file.write(data)
            file.seek(0)
            yield from pieces_of(decompressed(file, name))

    return read


def _lzma(data: bytes) -> Iterator[bytes]:
    stream = lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=_LZMA_MEMORY_BYTES)
    try:
        piece = stream.decompress(data, PIECE_BYTES)
        while not stream.eof:  # behind its end stands the plain size
            if not piece and stream.needs_input:
                raise CompressionError("is an lzma stream cut short", cut=True)
            yield piece
            piece = stream.decompress(b"", PIECE_BYTES)
        yield piece
    except lzma.LZMAError as err:
        raise CompressionError(f"is an lzma stream that does not decompress: {err}", cut=False) from err


_HINT = "unpack it elsewhere and name the vmlinux, or build it with CONFIG_KERNEL_ZSTD"
_COMPRESSORS: tuple[tuple[bytes, str, Callable[[bytes], Iterator[bytes]] | None], ...] = (
    (_GZIP_MAGIC, "gzip", _streamed("gzip")),
    (b"BZh", "bzip2", _streamed("bzip2")),
    (b"\xfd7zXZ\0", "xz", _streamed("xz")),
    (b"\x28\xb5\x2f\xfd", "zstd", _streamed("zstd")),
    (lz4.MAGIC, "lz4", lz4.legacy_blocks),
    (b"\x5d\0\0", "lzma", _lzma),
    (b"\x89LZO\0\r\n\x1a\n", "lzo", None),
)
