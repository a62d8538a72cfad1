from __future__ import annotations

import subprocess

import pytest

from bangerbuild.formats.format_error import FormatError
from bangerbuild.kernel.initrd import check
from tests.kernel.making import COMPRESSORS, bzimage, elf, packed
from tests.need import need


def cpio() -> bytes:
    command = [need("cpio"), "-o", "-H", "newc", "--quiet"]
    return subprocess.run(command, input=b"/\n", capture_output=True, check=True).stdout


@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_a_cpio_archive_is_an_initrd_whatever_it_is_compressed_with(compressor: str) -> None:
    check(packed(cpio(), compressor))


def test_a_plain_cpio_archive_is_an_initrd_also_behind_padding() -> None:
    check(cpio())
    check(bytes(512) + cpio())


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (b"", "is no initrd: it is empty"),
        (bzimage(elf()), "is no initrd: it looks like a kernel"),
        (bytes(1080) + b"\x53\xef", "is no initrd: it looks like an ext2, ext3 or ext4 filesystem"),
        (b"text", "is no initrd"),
        (bytes(4096), "is no initrd"),
    ],
)
def test_what_is_no_initrd_is_told_by_its_looks(head: bytes, said: str) -> None:
    with pytest.raises(FormatError) as caught:
        check(head)
    assert caught.value.brief == said
