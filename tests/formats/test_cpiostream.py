"""Archives one after the other, in every compression, and what is no archive between them."""

from __future__ import annotations

import gzip
import lzma
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import SourceError
from bangerbuild.formats.cpiostream import CpioStream
from bangerbuild.formats.limits import Budget, UnpackLimits
from tests.formats.cpiomaking import TRAILER
from tests.formats.test_single_stream import COMPRESSORS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def archives(path: Path, data: bytes) -> int:
    """How many trailers the stream gives."""
    path.write_bytes(data)
    with path.open("rb") as file:
        stream = CpioStream(file, "initrd", Budget(UnpackLimits(), len(data), "initrd"))
        count = 0
        while stream.next_archive():
            assert stream.read_exactly(len(TRAILER)) == TRAILER
            count += 1
        return count


@pytest.mark.parametrize("first", [*COMPRESSORS, None])
@pytest.mark.parametrize("second", [*COMPRESSORS, None])
def test_each_may_be_in_a_compression_of_its_own(
    tmp_path: Path, first: str | None, second: str | None
) -> None:
    one, other = (COMPRESSORS[name](TRAILER) if name else TRAILER for name in (first, second))
    for zeros in (0, 4, 511, 5000):
        assert archives(tmp_path / "a", one + bytes(zeros) + other + bytes(zeros)) == 2


def test_several_may_be_in_one_compression(tmp_path: Path) -> None:
    assert archives(tmp_path / "a", gzip.compress(TRAILER + bytes(300) + TRAILER) + TRAILER) == 3


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "'initrd' holds no cpio archive"),
        (bytes(600), "'initrd' holds no cpio archive"),
        (b"hsqs" + bytes(96), "'initrd' is no cpio archive but a squashfs image"),
        (
            TRAILER + b"junk",
            "'initrd' is damaged before its first entry: it goes on with something",
        ),
        (
            TRAILER + gzip.compress(gzip.compress(TRAILER)),
            "with something that is no cpio archive",
        ),
        (TRAILER + lzma.compress(TRAILER)[:-20], "'initrd' ends before its first entry"),
        (TRAILER + b"\x04\x22\x4d\x18", "with something that is no cpio archive"),
    ],
)
def test_what_is_no_archive_is_told(tmp_path: Path, data: bytes, said: str) -> None:
    with pytest.raises(SourceError) as caught:
        archives(tmp_path / "a", data)
    assert said in caught.value.brief


def test_a_damaged_first_header_is_not_called_another_kind_of_file(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as caught:
        archives(tmp_path / "a", b"07070Z" + TRAILER[6:])
    assert caught.value.brief == "'initrd' is damaged: its first header is none"


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_a_filesystem_is_told_although_it_begins_with_zeros(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    with pytest.raises(SourceError) as caught:
        archives(tmp_path / "a", pack(bytes(1024) + bytes(56) + b"\x53\xef" + bytes(9000)))
    assert caught.value.brief.startswith("'initrd' is no cpio archive but an ext2, ext3 or ext4 filesystem")
    key = "ext4" if pack is bytes else "disk_image"  # which takes compressed ones too
    assert f"`{key} = …`" in str(caught.value.hint)
