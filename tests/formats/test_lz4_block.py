from __future__ import annotations

import lz4.block  # type: ignore[import-untyped] # it has no annotations
import pytest

from bangerbuild.formats.compression import CompressionError
from bangerbuild.formats.lz4_block import lz4_expanded

CONTENT = b"to be or not to be, " * 400
BLOCK = lz4.block.compress(CONTENT, store_size=False)


def test_a_block_gives_what_was_put_into_it() -> None:
    assert lz4_expanded(BLOCK, len(CONTENT)) == CONTENT
    assert lz4_expanded(memoryview(BLOCK), 2 * len(CONTENT)) == CONTENT


@pytest.mark.parametrize("most", [0, len(CONTENT) - 1])
def test_one_that_holds_more_than_it_may_is_refused(most: int) -> None:
    with pytest.raises(CompressionError, match="does not decompress"):
        lz4_expanded(BLOCK, most)


@pytest.mark.parametrize("block", [b"", BLOCK[:-7], b"\xff" * 40])
def test_one_that_is_cut_short_or_damaged_is_refused(block: bytes) -> None:
    with pytest.raises(CompressionError, match="does not decompress"):
        lz4_expanded(block, len(CONTENT))
