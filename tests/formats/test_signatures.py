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

from bangerbuild.formats import signatures
from bangerbuild.formats.signatures import HEAD_BYTES, described, identify
from bangerbuild.sources.files import head_of
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
    ("offset", "magic", "name"),
    [
        (0, b"\x3a\xff\x26\xed", "an Android sparse image"),
        (0, b"Rar!\x1a\x07\0", "a RAR archive"),
        (0, b"\xed\xab\xee\xdb", "an RPM package"),
        (0, b"\x89LZO\0\r\n\x1a\n", "an lzop stream"),
        (510, b"\x55\xaa\xeb\x66HdrS", "a Linux kernel"),
        (0, b"QFI\xfb\0\0\0\x01", "a qcow disk image of version 1"),
        (0, b"version https://git-lfs.github.com/spec/v1\n", "a pointer of Git LFS"),
        (0, b"/annex/objects/SHA256E-s1--00\n", "a pointer of git-annex"),
        (0x8000, b"JFS1", "a JFS filesystem"),
        (0x10034, b"ReIsEr2Fs", "a ReiserFS filesystem"),
        (0x8001, b"BEA01", "a UDF filesystem"),
        (1030, b"\x34\x34\x02\0", "a NILFS2 filesystem"),
        (32, b"NXSB", "an APFS container"),
        (0, b"\x27\x05\x19\x56", "a U-Boot image"),
        (0, b"age-encryption.org/v1\n", "an age file"),
        (0, b' \n{"errors": []}', "a JSON document"),
        (0, b'<?xml version="1.0"?><Error>', "an XML document"),
    ],
)
def test_what_no_tool_makes_here_is_called_by_its_mark(offset: int, magic: bytes, name: str) -> None:
    assert what(bytes(offset) + magic + bytes(5000)) == name


def test_lz4_of_either_form_is_one(tmp_path: Path) -> None:
    for form, name in (("-1", "an lz4 stream"), ("-l", "an lz4 stream of the old form")):
        command = [need("lz4"), form, "-c"]
        assert what(subprocess.run(command, input=b"x", capture_output=True, check=True).stdout) == name


def test_a_swap_area_and_a_fat_are_no_disks_with_partitions(tmp_path: Path) -> None:
    for command, name in (("mkswap", "a swap area"), ("mkfs.fat", "a FAT filesystem")):
        (tmp_path / name).touch()
        os.truncate(tmp_path / name, 16 << 20)
        packages = {"mkswap": "util-linux", "mkfs.fat": "dosfstools"}
        subprocess.run([need(command, packages[command]), tmp_path / name], check=True, capture_output=True)
        assert what(head(tmp_path / name)) == name


def test_a_cd_with_a_partition_table_is_a_cd() -> None:
    content = bytearray(HEAD_BYTES)
    content[0x8001:0x8006], content[510:520] = b"CD001", b"\x55\xaaEFI PART"
    assert what(bytes(content)) == "a CD image"


def test_what_has_its_mark_at_the_end_is_told_by_that(tmp_path: Path) -> None:
    for mark, name in ((b"koly", "an Apple disk image"), (b"conectix", "a VHD disk image")):
        found = identify(b"x" * 4096, mark.ljust(512, b"\0"))
        assert found is not None
        assert found.what == name
    command = [need("qemu-img", "qemu-utils"), "create", "-q", "-f", "vpc", "-o", "subformat=fixed"]
    subprocess.run([*command, tmp_path / "disk.vhd", "4M"], check=True)
    assert (
        described(head(tmp_path / "disk.vhd"), (tmp_path / "disk.vhd").read_bytes()[-512:]).what
        == "a VHD disk image"
    )
    assert (
        head_of(tmp_path / "disk.vhd", "disk.vhd").refusal("disk.vhd", "no").brief
        == "'disk.vhd' is a VHD disk image: no"
    )


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
        (b"; a note\necho", "something that begins with '; a note'"),
        (b"x", "something that begins with 'x'"),
    ],
)
def test_what_nobody_knows_is_described_by_its_first_bytes(content: bytes, name: str) -> None:
    assert identify(content) is None
    assert (described(content).what, described(content).way_out) == (name, None)


def test_a_head_that_is_short_is_no_reason_to_fail() -> None:
    for length in range(0, 1100, 7):
        described(b"\x01" * length)


def test_each_kind_but_a_few_has_a_way_out() -> None:
    lacking = {signature.what for _, _, signature in signatures._SIGNATURES if signature.way_out is None}
    assert lacking == set()


def test_minix_and_cramfs_are_called_so(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "minix").write_bytes(bytes(1 << 20))
    subprocess.run([need("mkfs.minix", "util-linux"), tmp_path / "minix"], capture_output=True, check=True)
    command = [need("mkfs.cramfs", "util-linux"), str(tmp_path / "tree"), str(tmp_path / "cramfs")]
    subprocess.run(command, capture_output=True, check=True)
    assert what(head(tmp_path / "minix")) == "a Minix filesystem"
    assert what(head(tmp_path / "cramfs")) == "a cramfs filesystem"


def test_what_has_no_mark_is_told_by_its_name() -> None:
    assert [signatures.named(name) for name in ("x.tar", "br")] == [None, None]
    found = signatures.named("root.tar.br")
    assert found is not None
    assert found.what == "a brotli stream, as its name says"
