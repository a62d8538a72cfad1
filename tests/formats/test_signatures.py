"""What a file is by its first bytes: what other tools make is called by its name."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import subprocess
import zipfile
from typing import TYPE_CHECKING

import pytest
import zstandard

from bangerbuild.formats.signatures import HEAD_BYTES, described, identify
from tests.disk.ext4_tools import make_ext4
from tests.formats.tarmaking import gnu_tar
from tests.need import need

if TYPE_CHECKING:
    from pathlib import Path


def head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD_BYTES)


def what(content: bytes) -> str:
    found = identify(content)
    assert found is not None
    return found.what


@pytest.mark.parametrize("kind", ["ext2", "ext3", "ext4"])
def test_what_mke2fs_makes_is_a_filesystem_with_its_key(tmp_path: Path, kind: str) -> None:
    found = identify(head(make_ext4(tmp_path / "disk", "-t", kind, size="8M")))
    assert found is not None
    assert (found.what, found.way_out) == (
        "an ext2, ext3 or ext4 filesystem",
        "name it with `ext4 = …` in a manifest",
    )


@pytest.mark.parametrize("form", ["ustar", "gnu", "posix"])
def test_what_tar_makes_is_a_tarball(tmp_path: Path, form: str) -> None:
    (tmp_path / "tree").mkdir()
    assert what(head(gnu_tar(tmp_path / "tree", tmp_path / "x.tar", f"--format={form}"))) == "a tarball"


@pytest.mark.parametrize(
    ("form", "name"),
    [
        ("qcow2", "a qcow2 disk image"),
        ("vmdk", "a VMDK disk image"),
        ("vpc", "a VHD disk image"),
        ("vhdx", "a VHDX disk image"),
        ("vdi", "a VDI disk image"),
    ],
)
def test_what_qemu_makes_is_a_disk_image_with_its_key(tmp_path: Path, form: str, name: str) -> None:
    command = [need("qemu-img", "qemu-utils"), "create", "-q", "-f", form, str(tmp_path / "disk"), "4M"]
    subprocess.run(command, check=True)
    found = identify(head(tmp_path / "disk"))
    assert found is not None
    assert found.what == name
    assert found.way_out == "name it with `disk_image = …` in a manifest"


@pytest.mark.parametrize(("offset", "magic"), [(510, b"\x55\xaa"), (512, b"EFI PART"), (4096, b"EFI PART")])
def test_a_disk_with_partitions_is_told_with_its_key(offset: int, magic: bytes) -> None:
    found = identify(bytes(offset) + magic)
    assert found is not None
    assert found.what == "a disk image with partitions"
    assert found.way_out == found.way_out_of("xz") == "name it with `disk_image = …` in a manifest"


@pytest.mark.parametrize(
    ("offset", "magic", "what", "name"),
    [
        (0, b"LUKS\xba\xbe", "a LUKS volume", "LUKS"),
        (536, b"LVM2 001", "an LVM physical volume", "LVM"),
        (1024, b"\x10\x20\xf5\xf2", "an F2FS filesystem", "F2FS"),
        (4086, b"SWAPSPACE2", "a swap area", "swap"),
    ],
)
def test_what_partitions_hold_has_a_name_of_one_word(offset: int, magic: bytes, what: str, name: str) -> None:
    found = identify(bytes(offset) + magic)
    assert found is not None
    assert (found.what, found.name) == (what, name)


def test_an_xfs_is_to_be_mounted(tmp_path: Path) -> None:
    (tmp_path / "disk").touch()
    os.truncate(tmp_path / "disk", 400 << 20)
    subprocess.run([need("mkfs.xfs", "xfsprogs"), "-q", tmp_path / "disk"], check=True)
    assert what(head(tmp_path / "disk")) == "an XFS filesystem"


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (gzip.compress(b"x", mtime=0), "a gzip stream"),
        (bz2.compress(b"x"), "a bzip2 stream"),
        (lzma.compress(b"x"), "an xz stream"),
        (lzma.compress(b"x", lzma.FORMAT_ALONE), "an lzma stream"),
        (zstandard.compress(b"x"), "a zstd stream"),
    ],
)
def test_a_compressed_stream_is_called_by_its_name(content: bytes, name: str) -> None:
    assert what(content) == name


def test_a_zip_archive_is_one() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("name", "content")
    assert what(file.getvalue()) == "a zip archive"


def test_what_cpio_makes_is_one(tmp_path: Path) -> None:
    command = [need("cpio"), "--quiet", "-o", "-H", "newc"]
    done = subprocess.run(command, input=b"", cwd=tmp_path, capture_output=True, check=True)
    assert what(done.stdout) == "a cpio archive"


@pytest.mark.parametrize(
    "text", ["<html>", "<!DOCTYPE html>", "\r\n <HTML lang=en>", "<!doctype HTML PUBLIC"]
)
def test_a_web_page_is_told_before_anything_else(text: str) -> None:
    assert what(text.encode() + bytes(1080) + b"\x53\xef") == "a web page"


def test_a_tarball_with_a_boot_sectors_mark_in_it_is_a_tarball() -> None:
    content = bytearray(HEAD_BYTES)
    content[257:262], content[510:512] = b"ustar", b"\x55\xaa"
    assert what(bytes(content)) == "a tarball"


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"", "empty"),
        (b"\0", "nothing but zeros"),
        (bytes(HEAD_BYTES), "nothing but zeros"),
        (b"#!/bin/sh\necho", "something that begins with '#!/bin/s'"),
        (b"x", "something that begins with 'x'"),
    ],
)
def test_what_nobody_knows_is_described_by_its_first_bytes(content: bytes, name: str) -> None:
    assert identify(content) is None
    assert (described(content).what, described(content).way_out) == (name, None)


def test_a_head_that_is_short_is_no_reason_to_fail() -> None:
    for length in range(0, 1100, 7):
        described(b"\x01" * length)
