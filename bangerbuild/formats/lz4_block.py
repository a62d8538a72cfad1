"""Decompress single blocks of LZ4. The only module that imports lz4."""

from __future__ import annotations

import lz4.block  # type: ignore[import-untyped] # it has no annotations

from bangerbuild.formats.compression import CompressionError


def lz4_expanded(block: bytes | memoryview, most_bytes: int) -> bytes:
    """The content of a block, which has at most this size.

    Raises:
        CompressionError: it is damaged, or has more.
    """
    try:
        plain: bytes = lz4.block.decompress(block, uncompressed_size=most_bytes)
    except lz4.block.LZ4BlockError as err:
        message = f"is an lz4 stream that does not decompress: {err}"
        raise CompressionError(message, cut=False) from err
    return plain
