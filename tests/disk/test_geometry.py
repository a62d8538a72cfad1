"""The numbers that libext2fs sizes its memory by: what no mke2fs made is refused before it sees them."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk import geometry
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.libext2fs import open_handle
from bangerbuild.errors import FilesystemError
from tests.disk.ext4_tools import NOW, assert_clean, make_ext4

if TYPE_CHECKING:
    from pathlib import Path

SUPERBLOCK = 1024
BARE = ("-O", "^metadata_csum")
"""Without checksums, which would tell of any change."""

WRONG = {
    "inode_size": [(0x58, "<H", 0), (0x58, "<H", 100), (0x58, "<H", 8192), (0x58, "<H", 257)],
    "log_block_size": [(0x18, "<I", 7), (0x18, "<I", 0xFFFFFFFF)],
    "first_data_block": [(0x14, "<I", 1), (0x14, "<I", 100), (0x14, "<I", 0xFFFFFFFF)],
    "clusters_per_group": [(0x24, "<I", 0), (0x24, "<I", 1 << 16), (0x24, "<I", 32764)],
    "blocks_per_group": [(0x20, "<I", 0), (0x20, "<I", 8), (0x20, "<I", 0xFFFFFFF8)],
    "inodes_per_group": [(0x28, "<I", 0), (0x28, "<I", 7), (0x28, "<I", 1 << 20)],
    "first_ino": [(0x54, "<I", 1), (0x54, "<I", 0xFFFFFFFF)],
    "reserved_gdt_blocks": [(0xCE, "<H", 0xFFFF)],
    "want_extra_isize": [(0x15E, "<H", 0xFFFF), (0x15E, "<H", 132)],
}


def change(path: Path, offset: int, form: str, value: int) -> None:
    """Write a number into a disk."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(struct.pack(form, value))


@pytest.mark.parametrize(
    ("field", "number"), [(field, number) for field, numbers in WRONG.items() for number in numbers]
)
def test_a_number_that_cannot_be_is_named(field: str, number: tuple[int, str, int], tmp_path: Path) -> None:
    path = make_ext4(tmp_path / "disk.ext4", *BARE, size="16M")
    offset, form, value = number
    change(path, SUPERBLOCK + offset, form, value)
    with RawFile(path) as blocks, pytest.raises(FilesystemError) as caught:
        open_handle(blocks, writable=False, now=NOW)
    assert caught.value.brief == f"'{path}' is damaged: its superblock has {field} {value}"
    assert caught.value.hint == f"e2fsck -f '{path}'"


@pytest.mark.parametrize(
    "options",
    [
        ("-b", "1024"),
        ("-b", "65536", "-O", "^metadata_csum"),
        ("-I", "128"),
        ("-I", "1024"),
        ("-O", "bigalloc", "-C", "65536"),
        ("-O", "bigalloc", "-b", "1024", "-C", "4096"),
        ("-O", "meta_bg,^resize_inode"),
        ("-O", "^64bit,^flex_bg"),
        ("-O", "^metadata_csum,uninit_bg"),
        ("-g", "256"),
        ("-N", "100000"),
        ("-t", "ext2", "-r", "0"),
        ("-t", "ext3"),
    ],
    ids=" ".join,
)
def test_whatever_mke2fs_makes_can_be(options: tuple[str, ...], tmp_path: Path) -> None:
    path = make_ext4(tmp_path / "disk.ext4", *options, size="64M")
    with RawFile(path, writable=True) as blocks, Filesystem(blocks, writable=True, now=NOW) as disk:
        disk.write_file("/etc/hostname", b"web")
    assert_clean(path)


PLACES = [
    (0x00, "block bitmap"),
    (0x04, "inode bitmap"),
    (0x08, "inode table"),
]


@pytest.mark.parametrize("value", [0, 4096, 0xFFFFFFFF])
@pytest.mark.parametrize(("offset", "what"), PLACES)
def test_a_group_whose_parts_lie_off_the_disk_is_refused_to_be_written(
    offset: int, what: str, value: int, tmp_path: Path
) -> None:
    path = make_ext4(tmp_path / "disk.ext4", *BARE, size="16M")
    change(path, 4096 + offset, "<I", value)
    with RawFile(path, writable=True) as blocks, pytest.raises(FilesystemError) as caught:
        Filesystem(blocks, writable=True, now=NOW)
    assert f"group 0 has its {what} at block {value} of 4096" in caught.value.brief


def test_an_inode_table_that_begins_within_the_disk_must_end_there(tmp_path: Path) -> None:
    path = make_ext4(tmp_path / "disk.ext4", *BARE, size="16M")
    change(path, 4096 + 0x08, "<I", 4095)
    with RawFile(path, writable=True) as blocks, pytest.raises(FilesystemError, match="its inode table at"):
        Filesystem(blocks, writable=True, now=NOW)


@pytest.mark.parametrize("options", [BARE, ("-O", "^metadata_csum,^64bit")])
@pytest.mark.parametrize(("offset", "kind"), [(0x00, "block"), (0x04, "inode")])
def test_a_bitmap_that_has_other_numbers_free_than_its_group_says_is_refused_to_be_written(
    offset: int, kind: str, options: tuple[str, ...], tmp_path: Path
) -> None:
    """What is in use would be given away: the superblock first of all."""
    path = make_ext4(tmp_path / "disk.ext4", *options, size="16M")
    with path.open("r+b") as file:
        file.seek(4096 + offset)
        (bitmap,) = struct.unpack("<I", file.read(4))
        file.seek(bitmap * 4096)
        file.write(bytes(8))
    before = path.read_bytes()
    with RawFile(path, writable=True) as blocks, pytest.raises(FilesystemError) as caught:
        Filesystem(blocks, writable=True, now=NOW)
    assert f"free {kind}s and says it has" in caught.value.brief
    assert path.read_bytes() == before


def test_groups_beyond_65535_of_anything_count_with_their_upper_halves() -> None:
    superblock = bytearray(1024)
    for name, value in (("blocks_per_group", 1 << 17), ("desc_size", 64), ("feature_incompat", 0x80)):
        form, at = geometry._FIELDS[name]
        struct.pack_into(form, superblock, at, value)
    descriptor = bytearray(64)
    struct.pack_into("<H", descriptor, 0x0C, 0)
    struct.pack_into("<H", descriptor, 0x2C, 2)
    empty = bytes((1 << 17) // 8)
    assert geometry.count_problem(bytes(superblock), bytes(descriptor), "block", empty, 1 << 17) is None
