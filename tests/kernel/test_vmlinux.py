"""An uncompressed kernel is told from programs and from kernels of other machines."""

from __future__ import annotations

from pathlib import Path

import pytest

from bangerbuild.formats.format_error import FormatError
from bangerbuild.kernel.vmlinux import check_elf, is_arm64_image, release_of
from tests.kernel.making import RELEASE, arm64_image, elf, readelf


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "vmlinux"


def test_a_kernel_for_x86_64_is_what_readelf_calls_one(path: Path) -> None:
    path.write_bytes(elf())
    check_elf(path)
    said = readelf(path, "-h", "-l")
    assert "Advanced Micro Devices X86-64" in said
    assert "0xffffffff81000000" in said


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"machine": 183}, "no kernel for x86-64: its ELF header says arm64"),
        ({"machine": 3}, "its ELF header says 32-bit x86"),
        ({"machine": 9999}, "its ELF header says machine 9999"),
        ({"address": 0x400000}, "it looks like an ELF program"),
        ({"kind": 3}, "it looks like an ELF program"),
    ],
)
def test_what_would_not_boot_is_told_by_what_it_is(path: Path, changed: dict[str, int], said: str) -> None:
    path.write_bytes(elf(**changed))  # type: ignore[arg-type]
    with pytest.raises(FormatError, match=said):
        check_elf(path)


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"#!/bin/sh\n" * 20])
def test_what_is_no_elf_file_is_no_kernel(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(FormatError, match="it holds no ELF file"):
        check_elf(path)


def test_a_program_of_this_host_is_no_kernel() -> None:
    with pytest.raises(FormatError, match="is no kernel"):
        check_elf(Path("/bin/sh"))


def test_a_table_of_program_headers_behind_the_end_is_empty(path: Path) -> None:
    data = bytearray(elf())
    data[0x20:0x28] = (1 << 60).to_bytes(8, "little")
    path.write_bytes(data)
    with pytest.raises(FormatError, match="it looks like an ELF program"):
        check_elf(path)


def test_a_kernel_says_its_release_in_its_banner(path: Path) -> None:
    path.write_bytes(elf())
    assert release_of(path) == RELEASE


def test_a_kernel_without_a_banner_has_no_release(path: Path) -> None:
    path.write_bytes(elf().replace(b"Linux version", b"Other version"))
    assert release_of(path) is None


def test_an_arm64_image_is_told_by_its_magic() -> None:
    assert is_arm64_image(arm64_image()[:64])
    assert not is_arm64_image(elf()[:64])
    assert not is_arm64_image(b"")
