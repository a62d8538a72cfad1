from __future__ import annotations

import bz2
import gzip
import lzma
from typing import TYPE_CHECKING

import pytest
import zstandard

from bangerbuild.formats.compression import CompressionError
from bangerbuild.formats.single_stream import SingleStream

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONTENT = b"".join(b"%d," % number for number in range(200_000))
COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
}


@pytest.mark.parametrize("compression", COMPRESSORS)
@pytest.mark.parametrize("content", [CONTENT, b"", bytes(3 << 20)])
def test_it_ends_where_its_stream_does(tmp_path: Path, compression: str, content: bytes) -> None:
    packed = COMPRESSORS[compression](content)
    path = tmp_path / "file"
    path.write_bytes(b"before" + packed + packed + b"after")
    with path.open("rb") as file:
        stream = SingleStream(file, 6, compression)
        assert stream.file.read() == content
        assert stream.end == 6 + len(packed)


@pytest.mark.parametrize("compression", COMPRESSORS)
@pytest.mark.parametrize("left", [1, 12, 0.5])
def test_one_that_is_cut_short_is_told(tmp_path: Path, compression: str, left: float) -> None:
    packed = COMPRESSORS[compression](CONTENT)
    path = tmp_path / "file"
    path.write_bytes(packed[: int(left * len(packed)) if left < 1 else -int(left)])
    with path.open("rb") as file, pytest.raises(CompressionError) as caught:
        SingleStream(file, 0, compression).file.read()
    assert caught.value.cut


def test_a_frame_of_zstd_that_is_skipped_has_no_content(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"\x50\x2a\x4d\x18\x05\0\0\0abcde" + b"rest")
    with path.open("rb") as file:
        stream = SingleStream(file, 0, "zstd")
        assert (stream.file.read(), stream.end) == (b"", 13)
