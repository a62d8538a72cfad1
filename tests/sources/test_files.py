"""Which kind of source a file is by its content; compressed disks unpacked into sparse files."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING

import pytest
import zstandard

from bangerbuild.errors import SourceError
from bangerbuild.formats.limits import UnpackLimits
from bangerbuild.sources.ext4 import Ext4Source
from bangerbuild.sources.file_kinds import FILE_KINDS
from bangerbuild.sources.files import kind_of, unpack_disk
from bangerbuild.sources.tar import TarSource
from tests import PROJECT
from tests.disk.ext4_tools import assert_clean, make_ext4
from tests.fetch.memory import PRINT_PEAK_KIB

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bangerbuild.sources.files import FileKind

COMPRESSORS: dict[str | None, Callable[[bytes], bytes]] = {
    None: bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": zstandard.ZstdCompressor(write_checksum=True).compress,
}
COMPRESSIONS = [name for name in COMPRESSORS if name]
MIB = 1 << 20


def kind_of_file(path: Path) -> type[FileKind]:
    return kind_of(path, written="some.file", kinds=FILE_KINDS.values())


def refusal(path: Path, content: bytes) -> SourceError:
    path.write_bytes(content)
    with pytest.raises(SourceError) as caught:
        kind_of_file(path)
    assert caught.value.brief.startswith("'some.file' ")
    return caught.value


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ext4 with a file in it."""
    directory = tmp_path_factory.mktemp("disk")
    (directory / "tree").mkdir()
    (directory / "tree" / "file").write_bytes(os.urandom(MIB))
    return make_ext4(directory / "disk.ext4", "-d", str(directory / "tree"), size="8M")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "file"


@pytest.mark.parametrize("compression", COMPRESSORS)
@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_a_tarball_is_told_by_its_first_header(path: Path, form: int, compression: str | None) -> None:
    with tarfile.open(path, "w", format=form) as archive:
        archive.addfile(tarfile.TarInfo("ä" * 40))
    path.write_bytes(COMPRESSORS[compression](path.read_bytes()))
    assert kind_of_file(path) is TarSource


@pytest.mark.parametrize("compression", COMPRESSORS)
def test_an_ext4_is_told_by_its_superblock(path: Path, disk: Path, compression: str | None) -> None:
    path.write_bytes(COMPRESSORS[compression](disk.read_bytes()[: 2 * MIB]))
    assert kind_of_file(path) is Ext4Source


@pytest.mark.parametrize(
    ("offset", "magic", "words"),
    [
        (0, b"", "empty"),
        (100_000, b"1", "nothing but zeros"),
        (0, b"\r\n<!DOCTYPE HTML>\n<html>", "a web page"),
        (0, b"<html lang='en'>", "a web page"),
        (0, b"LUKS\xba\xbe", "a LUKS volume"),
        (0x8001, b"CD001", "a CD image"),
        (510, b"\x55\xaa", "a disk image with partitions"),
        (0, b"XFSB", "an XFS"),
        (0x10040, b"_BHRfS_M", "a btrfs filesystem"),
        (0, b"PK\3\4", "a zip archive"),
        (0, b"!<arch>\ndebian-binary", "an ar archive"),
        (0, b"\x04\x22\x4d\x18", "an lz4 stream"),
        (0, b"#!/bin/sh\n", "a script"),
        (0, b"abcdefghij\n", "something that begins with 'abcdefgh'"),
    ],
)
def test_what_is_neither_is_called_by_its_name(path: Path, offset: int, magic: bytes, words: str) -> None:
    content = bytes(offset) + magic if magic else b""
    assert words in refusal(path, content).brief
    if magic:
        assert words in refusal(path, gzip.compress(content)).brief


@pytest.mark.parametrize("content", [b"XFSB", b"\x04\x22\x4d\x18", b"<html>", bytes(536) + b"LVM2 001"])
def test_there_is_a_way_out(path: Path, content: bytes) -> None:
    assert refusal(path, content).hint is not None


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("damage", [lambda data: data[:20], lambda data: data[:12] + os.urandom(4000)])
def test_a_damaged_beginning_is_told(
    path: Path, disk: Path, compression: str, damage: Callable[[bytes], bytes]
) -> None:
    error = refusal(path, damage(COMPRESSORS[compression](disk.read_bytes()[:MIB])))
    assert f"is a {compression} stream" in error.brief or "something that begins" in error.brief


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    for name in ("missing", "."):
        with pytest.raises(SourceError):
            kind_of_file(tmp_path / name)


# unpacking


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_compressed_ext4_comes_out_as_it_went_in_and_sparse(
    tmp_path: Path, disk: Path, compression: str
) -> None:
    packed, target = tmp_path / "packed", tmp_path / "disk.ext4"
    packed.write_bytes(COMPRESSORS[compression](disk.read_bytes()))
    unpack_disk(packed, target, written="some.file", limits=UnpackLimits())
    assert target.read_bytes() == disk.read_bytes()
    assert target.stat().st_blocks * 512 < 2 * MIB
    assert target.stat().st_mode & 0o777 == 0o600
    assert_clean(target)


@pytest.mark.parametrize("size", [1, 4095, 4097, MIB - 1, MIB + 4096 + 1])
@pytest.mark.parametrize("ends_in_zeros", [True, False])
def test_any_length_comes_out_right(tmp_path: Path, size: int, *, ends_in_zeros: bool) -> None:
    packed, target = tmp_path / "packed", tmp_path / "disk"
    content = b"1" * (size // 2) + bytes(size - size // 2 - 1) + (b"\0" if ends_in_zeros else b"1")
    packed.write_bytes(gzip.compress(content))
    unpack_disk(packed, target, written="some.file", limits=UnpackLimits())
    assert target.read_bytes() == content


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("kept", [0.3, 0.999])
def test_a_cut_or_damaged_ext4_leaves_nothing(
    tmp_path: Path, disk: Path, compression: str, kept: float
) -> None:
    packed, target = tmp_path / "packed", tmp_path / "disk.ext4"
    content = COMPRESSORS[compression](disk.read_bytes())
    packed.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(SourceError, match=rf"'some\.file' is a {compression} stream"):
        unpack_disk(packed, target, written="some.file", limits=UnpackLimits())
    assert not target.exists()


def test_a_target_that_is_there_is_left_alone(tmp_path: Path) -> None:
    packed, target = tmp_path / "packed", tmp_path / "disk.ext4"
    packed.write_bytes(gzip.compress(b"1"))
    target.write_text("mine")
    with pytest.raises(FileExistsError):
        unpack_disk(packed, target, written="some.file", limits=UnpackLimits())
    assert target.read_text() == "mine"


def test_a_bomb_is_refused_at_its_limit(tmp_path: Path) -> None:
    packed, target = tmp_path / "packed", tmp_path / "disk.ext4"
    packed.write_bytes(zstandard.compress(b"1" * (20 * MIB)))
    limits = UnpackLimits(total_bytes=10 * MIB)
    with pytest.raises(SourceError, match="unpacks to more than 10 MiB") as caught:
        unpack_disk(packed, target, written="some.file", limits=limits)
    assert caught.value.hint is not None
    assert not target.exists()


def test_a_large_and_empty_disk_is_no_bomb_but_endless_zeros_are(tmp_path: Path) -> None:
    packed, target = tmp_path / "packed", tmp_path / "disk.ext4"
    zeros = zstandard.compress(bytes(640 * MIB))
    packed.write_bytes(zeros)
    unpack_disk(packed, target, written="some.file", limits=UnpackLimits(total_bytes=10 * MIB))
    target.unlink()
    packed.write_bytes(zeros * 2)
    with pytest.raises(SourceError, match="unpacks to more than 10 MiB"):
        unpack_disk(packed, target, written="some.file", limits=UnpackLimits(total_bytes=10 * MIB))


def test_unpacking_takes_little_memory(tmp_path: Path) -> None:
    packed = tmp_path / "packed"
    packed.write_bytes(zstandard.compress(os.urandom(MIB) * 200))
    script = (
        "import sys\nfrom pathlib import Path\n"
        "from bangerbuild.formats.limits import UnpackLimits\n"
        "from bangerbuild.sources.files import unpack_disk\n"
        "unpack_disk(Path(sys.argv[1]), Path(sys.argv[2]), written='some.file', limits=UnpackLimits())\n"
    )
    command = [sys.executable, "-c", script + PRINT_PEAK_KIB, str(packed), str(tmp_path / "disk")]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 100 << 10
