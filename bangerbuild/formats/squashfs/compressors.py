"""The compressions of squashfs: each block of an image is one stream of its own.

The numbers are those of the superblock (fs/squashfs/squashfs_fs.h). No block has more than 1 MiB of content,
so none is ever expanded to more, whatever it says. All functions may be called by several threads at once,
and the libraries work without Python's lock.
"""

from __future__ import annotations

import lzma
import zlib
from typing import TYPE_CHECKING, TypeAlias

from bangerbuild.formats.compression import CompressionError, zstd_content
from bangerbuild.formats.lz4_block import lz4_expanded

if TYPE_CHECKING:
    from collections.abc import Callable

    from bangerbuild.formats.compression import Steps

    Expand: TypeAlias = Callable[[bytes, int], bytes]
    """The content of a block of at most so many bytes; CompressionError if it is damaged, or has more."""

_MEMORY_BYTES = 32 << 20
"""A dictionary has the size of a block at most."""


def _of_gzip(data: bytes, most_bytes: int) -> bytes:
    inflate = zlib.decompressobj()
    try:
        plain = inflate.decompress(data, most_bytes + 1)
    except zlib.error as err:
        raise _damaged("gzip", str(err)) from err
    return _whole("gzip", plain, most_bytes, is_at_end=inflate.eof)


def _of_xz(data: bytes, most_bytes: int) -> bytes:
    steps = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MEMORY_BYTES)
    return _of_steps("xz", steps, data, most_bytes)


def _of_lzma(data: bytes, most_bytes: int) -> bytes:
    steps = lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=_MEMORY_BYTES)
    return _of_steps("lzma", steps, data, most_bytes)


def _of_steps(name: str, steps: Steps, data: bytes, most_bytes: int) -> bytes:
    try:
        plain = steps.decompress(data, most_bytes + 1)
    except lzma.LZMAError as err:
        raise _damaged(name, str(err)) from err
    is_at_end = steps.eof or (name == "lzma" and len(plain) <= most_bytes)  # its end need not be marked
    return _whole(name, plain, most_bytes, is_at_end=is_at_end)


def _whole(name: str, plain: bytes, most_bytes: int, *, is_at_end: bool) -> bytes:
    if len(plain) > most_bytes:
        raise _damaged(name, f"it expands to more than {most_bytes} bytes")
    if not is_at_end:
        raise CompressionError(f"is a {name} stream cut short", cut=True)
    return plain


def _damaged(name: str, why: str) -> CompressionError:
    return CompressionError(f"is a {name} stream that does not decompress: {why}", cut=False)


LZO = 3
EXPANDERS: dict[int, Expand] = {
    1: _of_gzip,
    2: _of_lzma,
    4: _of_xz,
    5: lz4_expanded,
    6: zstd_content,
}
"""By the number of the compression; LZO, which hardly anyone uses, is not among them."""
