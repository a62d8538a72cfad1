from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from bangerbuild.formats.format_error import FormatError
from bangerbuild.kernel.initrd import check, modules
from tests.kernel.making import COMPRESSORS, bzimage, elf, packed
from tests.need import need

if TYPE_CHECKING:
    from pathlib import Path


def cpio(*names: str, directory: Path | None = None) -> bytes:
    """An archive of these files, or of one directory."""
    listed = "".join(f"{name}\n" for name in names or ("/",)).encode()
    command = [need("cpio"), "-o", "-H", "newc", "--quiet"]
    return subprocess.run(command, input=listed, cwd=directory, capture_output=True, check=True).stdout


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


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "fs").mkdir()
    for name in ("overlay.ko.xz", "nf-tables.ko", "overlay", "ext4.ko.txt"):
        (tmp_path / "fs" / name).write_bytes(name.encode() * 5000)
    return tmp_path


def archive(tree: Path) -> bytes:
    return cpio("fs", *(f"fs/{path.name}" for path in sorted((tree / "fs").iterdir())), directory=tree)


def compressed(content: bytes, compressor: str) -> bytes:
    """Without the size that a kernel has behind what is no gzip."""
    data = packed(content, compressor)
    return data if compressor == "gzip" else data[:-4]


@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_the_modules_in_an_initrd_are_found_whatever_it_is_compressed_with(
    tree: Path, compressor: str
) -> None:
    initrd = tree / "initrd.img"
    initrd.write_bytes(compressed(archive(tree), compressor))
    assert modules(initrd, ("overlay", "nf_tables", "btrfs")) == ["nf_tables", "overlay"]


def test_they_are_found_behind_microcode_too(tree: Path) -> None:
    initrd = tree / "initrd.img"
    for content in (archive(tree), compressed(archive(tree), "zstd")):
        initrd.write_bytes(bytes(512) + cpio() + bytes(1024) + content)
        assert modules(initrd, ("overlay",)) == ["overlay"]
        assert modules(initrd, ("btrfs",)) == []


def test_nothing_is_known_of_one_that_can_not_be_read(tree: Path) -> None:
    initrd = tree / "initrd.img"
    initrd.write_bytes(compressed(archive(tree), "zstd")[:-20])
    assert modules(initrd, ("btrfs",)) is None
    initrd.write_bytes(b"no initrd at all")
    assert modules(initrd, ("btrfs",)) is None
