"""Kernels (bzImage, ELF, arm64) and initrds (cpio): unpacked and judged, or refused."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

from hypothesis import example, given

from bangerbuild.formats.format_error import FormatError
from bangerbuild.kernel import initrd
from bangerbuild.kernel.config import embedded
from bangerbuild.kernel.unpack import unpack
from tests.fuzz.frame import assert_is_one_line, damaged, few, within_limits
from tests.kernel.making import COMPRESSORS, arm64_image, bzimage, elf, packed

if TYPE_CHECKING:
    from tests.fuzz.frame import Place

ELF = elf(config="CONFIG_EXT4_FS=y\n", filler_bytes=512)
KERNELS = [
    *(bzimage(packed(ELF, compressor)) for compressor in COMPRESSORS),
    *(ELF, arm64_image(), gzip.compress(arm64_image())),
]
HOT = [*range(0x1F0, 0x1F2), 0x1FE, *range(0x200, 0x214), *range(0x230, 0x264, 4), 0x20E, 0xABC, 0xAC0]
CPIO = b"070701" + b"0" * 104 + b"TRAILER!!!\0\0\0\0"
INITRDS = [
    CPIO,
    gzip.compress(CPIO),
    bytes(512) + CPIO,
    b"\x02\x21\x4c\x18" + CPIO,
    b"\x28\xb5\x2f\xfd" + CPIO,
]


def with_dictionary(size: bytes) -> bytes:
    """A kernel whose lzma stream names a dictionary of that size."""
    return bzimage(b"\x5d" + size + packed(ELF, "lzma")[5:])


@few(150)
@given(data=damaged(KERNELS, HOT))
@example(data=with_dictionary(b"\0\0\xff\xff"))
@example(data=with_dictionary(b"\0\0\0\x80"))
@example(data=ELF[:0x36] + b"\xff" * 4 + ELF[0x3A:])
def test_a_damaged_kernel(place: Place, data: bytes) -> None:
    kernel = place.inside / "vmlinuz"
    kernel.write_bytes(data)
    with within_limits():
        unpack(kernel, place.inside / "vmlinux", written="vmlinuz")
        embedded(place.inside / "vmlinux")
    place.assert_nothing_else_was_touched()


@few(100)
@given(data=damaged(INITRDS, range(8)))
def test_a_damaged_initrd(data: bytes) -> None:
    with within_limits():
        try:
            initrd.check(data[: initrd.HEAD_BYTES])
        except FormatError as err:
            assert_is_one_line(err)


def test_the_specimens_are_read(place: Place) -> None:
    for data in KERNELS:
        (place.inside / "vmlinuz").write_bytes(data)
        assert unpack(place.inside / "vmlinuz", place.inside / "vmlinux", written="vmlinuz").release
    for data in INITRDS:
        initrd.check(data)
