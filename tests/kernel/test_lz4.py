"""lz4's legacy frames, as `lz4 -l` writes them for kernels."""

from __future__ import annotations

import subprocess

import pytest

from bangerbuild.formats.compression import CompressionError
from bangerbuild.kernel.lz4 import BLOCK_BYTES, MAGIC, legacy_blocks
from tests.need import need

PLAIN = b"".join(b"%d\n" % number for number in range(10_000))


def packed(data: bytes) -> bytes:
    return subprocess.run([need("lz4"), "-l", "-c"], input=data, capture_output=True, check=True).stdout


def test_a_frame_comes_out_block_by_block() -> None:
    data = PLAIN + bytes(BLOCK_BYTES)
    blocks = list(legacy_blocks(packed(data)))
    assert [len(block) for block in blocks] == [BLOCK_BYTES, len(PLAIN)]
    assert b"".join(blocks) == data


def test_frames_in_a_row_are_one() -> None:
    assert b"".join(legacy_blocks(packed(PLAIN) + packed(b"more"))) == PLAIN + b"more"


@pytest.mark.parametrize("length", [5, 7, 100, -1])
def test_a_frame_cut_short_says_so(length: int) -> None:
    with pytest.raises(CompressionError, match="is an lz4 stream cut short") as caught:
        list(legacy_blocks(packed(PLAIN)[:length]))
    assert caught.value.cut


def test_damage_says_that_it_does_not_decompress() -> None:
    with pytest.raises(CompressionError, match="an lz4 stream that does not decompress") as caught:
        list(legacy_blocks(MAGIC + (8).to_bytes(4, "little") + b"\xff" * 8))
    assert not caught.value.cut
