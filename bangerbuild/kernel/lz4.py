"""Decompress LZ4 legacy frames, which the kernel's build uses (`lz4 -l`). The only module that imports lz4.

A magic number, then blocks: u32 compressed size, data. Each holds 8 MiB of plain bytes, the last one fewer.
Another magic number in place of a size begins another frame. Source: lz4_Frame_format.md, "Legacy frame".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import lz4.block  # type: ignore[import-untyped] # it has no annotations

from bangerbuild.formats.compression import CompressionError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAGIC = b"\x02\x21\x4c\x18"
BLOCK_BYTES = 8 << 20


def legacy_blocks(data: bytes) -> Iterator[bytes]:
    """The decompressed bytes of a stream, block by block.

    Raises:
        CompressionError: it is cut short or damaged.
    """
    view = memoryview(data)
    position = 0
    while position < len(view):
        word = bytes(view[position : position + 4])
        position += 4
        if word == MAGIC:
            continue
        size = int.from_bytes(word, "little")
        if len(word) < 4 or position + size > len(view):
            raise CompressionError("is an lz4 stream cut short", cut=True)
        yield _plain(view[position : position + size])
        position += size


def _plain(block: memoryview) -> bytes:
    try:
        plain: bytes = lz4.block.decompress(block, uncompressed_size=BLOCK_BYTES)
    except lz4.block.LZ4BlockError as err:
        message = f"is an lz4 stream that does not decompress: {err}"
        raise CompressionError(message, cut=False) from err
    return plain
