from __future__ import annotations

import gzip
import re
import struct
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.errors import SourceError
from bangerbuild.kernel import payload
from bangerbuild.kernel.unpack import Kernel, unpack
from tests.kernel.making import (
    COMPRESSORS,
    RELEASE,
    arm64_image,
    bzimage,
    debian_boot,
    elf,
    packed,
    readelf,
)
from tests.need import need
from tests.properties import SHARED_FIXTURES

if TYPE_CHECKING:
    from pathlib import Path


def unpacked(directory: Path, image: bytes) -> tuple[Kernel, bytes]:
    (directory / "vmlinuz").write_bytes(image)
    kernel = unpack(directory / "vmlinuz", directory / "vmlinux", written="boot/vmlinuz")
    return kernel, (directory / "vmlinux").read_bytes()


def complaint(directory: Path, image: bytes) -> str:
    with pytest.raises(SourceError) as caught:
        unpacked(directory, image)
    return caught.value.brief


def test_debians_kernel_becomes_an_elf_file_that_readelf_finds_nothing_wrong_with(tmp_path: Path) -> None:
    (packed_kernel,) = debian_boot(tmp_path).glob("vmlinuz-*")
    kernel = unpack(packed_kernel, tmp_path / "vmlinux", written="vmlinuz")

    assert kernel == Kernel(packed_kernel.name.removeprefix("vmlinuz-"), "x86_64")
    header = dict(
        line.split(":", 1) for line in readelf(tmp_path / "vmlinux", "-h").splitlines() if ":" in line
    )
    said = {key.strip(): value.strip() for key, value in header.items()}
    assert said["Class"] == "ELF64"
    assert said["Type"] == "EXEC (Executable file)"
    assert said["Machine"] == "Advanced Micro Devices X86-64"
    assert " .init.text " in readelf(tmp_path / "vmlinux", "-S")


@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_a_bzimage_is_unpacked_byte_for_byte_whatever_its_compressor(tmp_path: Path, compressor: str) -> None:
    plain = elf()
    assert unpacked(tmp_path, bzimage(packed(plain, compressor))) == (Kernel(RELEASE, "x86_64"), plain)


def test_the_bzimages_made_here_are_bzimages_to_file_and_their_content_to_readelf(tmp_path: Path) -> None:
    unpacked(tmp_path, bzimage(packed(elf(), "gzip")))
    said = subprocess.run([need("file"), tmp_path / "vmlinuz"], capture_output=True, text=True, check=True)
    assert f"bzImage, version {RELEASE} (build@host)" in said.stdout
    assert "0xffffffff81000000" in readelf(tmp_path / "vmlinux", "-l")


def test_an_lz4_payload_may_have_many_blocks_and_frames(tmp_path: Path) -> None:
    plain = elf(filler_bytes=17 << 20)
    half = len(plain) // 2
    frames = packed(plain[:half], "lz4")[:-4] + packed(plain[half:], "lz4")[:-4]
    image = bzimage(frames + struct.pack("<I", len(plain)))
    assert unpacked(tmp_path, image)[1] == plain


def test_an_uncompressed_payload_is_taken_as_it_is(tmp_path: Path) -> None:
    assert unpacked(tmp_path, bzimage(elf()))[1] == elf()


def test_a_vmlinux_is_taken_as_it_is_and_its_release_read_from_its_banner(tmp_path: Path) -> None:
    assert unpacked(tmp_path, elf()) == (Kernel(RELEASE, "x86_64"), elf())


def test_a_vmlinux_without_a_banner_has_no_release(tmp_path: Path) -> None:
    assert unpacked(tmp_path, elf(release="unknown"))[0] == Kernel(None, "x86_64")


@pytest.mark.parametrize("image", [arm64_image(), gzip.compress(arm64_image())], ids=["plain", "gzip"])
def test_an_arm64_image_is_passed_on_uncompressed(tmp_path: Path, image: bytes) -> None:
    assert unpacked(tmp_path, image) == (Kernel(RELEASE, "aarch64"), arm64_image())


def test_a_header_without_a_release_leaves_it_to_the_banner(tmp_path: Path) -> None:
    image = bytearray(bzimage(packed(elf(release="5.4.0"), "gzip")))
    struct.pack_into("<H", image, 0x20E, 0)
    assert unpacked(tmp_path, bytes(image))[0] == Kernel("5.4.0", "x86_64")


def test_setup_of_no_stated_size_has_four_sectors(tmp_path: Path) -> None:
    image = bytearray(bzimage(packed(elf(), "gzip")))
    image[0x1F1] = 0
    struct.pack_into("<I", image, 0x248, 700 - 512)
    assert unpacked(tmp_path, bytes(image))[1] == elf()


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (b"", "is no kernel: it is empty"),
        (b"#!/bin/sh\n", "is no kernel: it looks like a script"),
        (b"\x28\xb5\x2f\xfd" + bytes(5000), "is no kernel: it looks like a zstd stream"),
        (gzip.compress(b"text", mtime=0), "is no kernel: it looks like a gzip stream"),
        (bytes(257) + b"ustar" + bytes(5000), "is no kernel: it looks like a tarball"),
        (
            bytes(1080) + b"\x53\xef" + bytes(5000),
            "is no kernel: it looks like an ext2, ext3 or ext4 filesystem",
        ),
        (bytes(510) + b"\x55\xaa" + bytes(5000), "is no kernel: it looks like a disk image with partitions"),
        (
            b"MZ\0\0zimg" + bytes(5000),
            "is a kernel in a compressed EFI image (CONFIG_EFI_ZBOOT), which can't be unpacked here",
        ),
        (b"\x7fELF", "is no kernel: it holds no ELF file"),
        (elf(kind=3), "is no kernel: it looks like an ELF program"),
        (elf(kind=1), "is no kernel: it looks like an ELF program"),
        (elf(address=0x400000), "is no kernel: it looks like an ELF program"),
        (elf()[:70], "is no kernel: it looks like an ELF program"),
        (elf(machine=183), "is no kernel for x86-64: its ELF header says arm64"),
        (elf(machine=3, bits=32), "is no kernel for x86-64: its ELF header says 32-bit x86"),
        (elf(machine=999), "is no kernel for x86-64: its ELF header says machine 999 of the ELF numbers"),
        (
            bzimage(b"\xde\xad\xbe\xef" + bytes(500)),
            "has a payload of an unknown compressor: it begins with 'de ad be ef'",
        ),
        (
            bzimage(b"\x89LZO\0\r\n\x1a\n" + bytes(500)),
            "has a payload compressed with lzo, which can't be unpacked here",
        ),
        (bzimage(b""), "has a payload of an unknown compressor: it begins with ''"),
        (
            bzimage(elf(), version=0x0206),
            "is a kernel of boot protocol 2.06, which can't be unpacked: 2.08 is the oldest",
        ),
        (
            bzimage(elf(), length=0xFFFFFFFF),
            "states a payload of 4 GiB, more than any kernel has",
        ),
        (bzimage(gzip.compress(b"no ELF", mtime=0)), "is no kernel: it holds no ELF file"),
        (
            bzimage(gzip.compress(elf(machine=3, bits=32), mtime=0)),
            "is no kernel for x86-64: its ELF header says 32-bit x86",
        ),
        (gzip.compress(arm64_image(), mtime=0)[:-9], "is a gzip stream cut short"),
    ],
)
def test_what_is_no_kernel_is_told_in_one_line(tmp_path: Path, image: bytes, said: str) -> None:
    assert complaint(tmp_path, image) == f"'boot/vmlinuz' {said}"


def test_an_ordinary_program_is_no_kernel(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"^'true' is no kernel: it looks like an ELF program$"):
        unpack(tmp_path.__class__("/bin/true"), tmp_path / "vmlinux", written="true")


def test_a_directory_is_no_kernel(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"^'boot' is a directory$"):
        unpack(tmp_path, tmp_path / "vmlinux", written="boot")


def test_a_file_cut_short_is_told_by_where_its_payload_ends(tmp_path: Path) -> None:
    image = bzimage(packed(elf(), "xz"))
    said = complaint(tmp_path, image[:3000])
    assert (
        said == f"'boot/vmlinuz' is cut short: its payload ends at byte {len(image) - 100}, the file at 3000"
    )


def test_an_arm64_image_keeps_its_gzip_damage_to_itself(tmp_path: Path) -> None:
    image = bytearray(gzip.compress(arm64_image()))
    image[-8] ^= 1
    assert "is a gzip stream that does not decompress" in complaint(tmp_path, bytes(image))


@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_a_payload_cut_short_is_refused_wherever_it_ends(tmp_path: Path, compressor: str) -> None:
    whole = packed(elf(filler_bytes=300), compressor)
    for length in (len(whole) - 1, len(whole) - 4, len(whole) - 5, len(whole) // 2, 16):
        said = complaint(tmp_path, bzimage(whole[:length]))
        assert said.startswith("'boot/vmlinuz' has a ")
        assert "payload" in said


@pytest.mark.parametrize("compressor", sorted(set(COMPRESSORS) - {"gzip"}))
def test_a_payload_that_unpacks_to_another_size_than_it_states_is_refused(
    tmp_path: Path, compressor: str
) -> None:
    plain = elf()
    image = bzimage(packed(plain, compressor)[:-4] + struct.pack("<I", 77))
    said = f"'boot/vmlinuz' has a damaged payload: it unpacks to {len(plain)} bytes and states 77"
    assert complaint(tmp_path, image) == said


@pytest.mark.parametrize(
    ("compressor", "at"), [("gzip", 12), ("bzip2", 12), ("xz", 40), ("zstd", 12), ("lz4", 8), ("lzma", 13)]
)
def test_a_payload_with_damaged_bytes_does_not_decompress(tmp_path: Path, compressor: str, at: int) -> None:
    whole = bytearray(packed(elf(), compressor))
    whole[at : at + 8] = b"\xff" * 8
    said = f"'boot/vmlinuz' has a payload that is an? {compressor} stream that does not decompress: "
    assert re.match(said, complaint(tmp_path, bzimage(bytes(whole))))


@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_a_payload_without_end_is_given_up(
    tmp_path: Path, compressor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(payload, "LIMIT_BYTES", 2 << 20)
    image = bzimage(packed(elf() + bytes(5 << 20), compressor))
    assert complaint(tmp_path, image) == "'boot/vmlinuz' is no kernel: it unpacks to more than 2 MiB"
    assert (tmp_path / "vmlinux").stat().st_size <= 2 << 20


def test_a_vmlinux_without_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payload, "LIMIT_BYTES", 2 << 20)
    said = complaint(tmp_path, elf() + bytes(2 << 20))
    assert said == "'boot/vmlinuz' is no kernel: it unpacks to more than 2 MiB"


@SHARED_FIXTURES
@given(
    noise=st.binary(max_size=200),
    begin=st.sampled_from(
        [b"\x1f\x8b\x08\0", b"BZh9", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"\x02\x21\x4c\x18"]
    ),
)
def test_no_payload_however_damaged_is_more_than_an_error(tmp_path: Path, begin: bytes, noise: bytes) -> None:
    assert complaint(tmp_path, bzimage(begin + noise)).startswith("'boot/vmlinuz' ")


@SHARED_FIXTURES
@given(st.binary(max_size=120), st.integers(0, 120))
def test_no_elf_header_however_damaged_is_more_than_an_error(tmp_path: Path, noise: bytes, at: int) -> None:
    image = bytearray(elf(filler_bytes=100))
    image[at : at + len(noise)] = noise
    try:
        kernel, _ = unpacked(tmp_path, bytes(image))
    except SourceError as err:
        assert err.brief.startswith("'boot/vmlinuz' ")  # noqa: PT017 # either way is right, both are judged
    else:
        assert kernel.architecture in {"x86_64", "aarch64"}
