"""Decompress LZ4 legacy frames, which the kernel's build uses (`lz4 -l`).

A magic number, then blocks: u32 compressed size, data. Each holds 8 MiB of plain bytes, the last one fewer.
Another magic number in place of a size begins another frame. Source: lz4_Frame_format.md, "Legacy frame".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild.formats.compression import CompressionError
from bangerbuild.formats.lz4_block import lz4_expanded

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
        yield lz4_expanded(view[position : position + size], BLOCK_BYTES)
        position += size
