"""Partition tables, made by sfdisk, read by way of partx; damaged ones are refused."""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk.blocks import RawFile
from bangerbuild.errors import FilesystemError, SourceError
from bangerbuild.virtual_disk.table import Partition, check_end, has_table, partitions
from tests.virtual_disk.making import LINUX, MIB, ROOT_X86_64, Part, disk, gpt_of_4096, starts

if TYPE_CHECKING:
    from pathlib import Path


def read(path: Path) -> tuple[Partition, ...]:
    """The partitions of a raw disk."""
    room = path.parent / "room"
    room.mkdir(exist_ok=True)
    with RawFile(path) as blocks:
        blocks.name = "disk"
        found = partitions(blocks, room)
    assert list(room.iterdir()) == []
    return found


def test_a_gpt_says_place_type_name_and_uuid_of_each(tmp_path: Path) -> None:
    given = "6d6f7265-0000-4000-8000-000000000001"
    parts = (Part(8, LINUX, name="wört er"), Part(24, ROOT_X86_64, uuid=given.upper()))
    one, two = read(disk(tmp_path / "disk", parts))
    assert (one.number, one.start, one.size_bytes, one.name) == (1, MIB, 8 * MIB, "wört er")
    assert (two.number, two.start, two.type, two.uuid) == (2, 9 * MIB, ROOT_X86_64.lower(), given)


def test_numbers_need_not_be_in_the_order_of_places(debian: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").symlink_to(debian)
    found = read(tmp_path / "disk")
    assert {one.number: one.start for one in found} == starts(debian)
    assert [one.number for one in found] == [1, 14, 15]


def test_logical_partitions_of_an_mbr_are_found_along_their_chain(tmp_path: Path) -> None:
    parts = (
        Part(4, "83"),
        Part(50, "5", number=2),
        Part(8, "83", number=5),
        Part(8, "82", number=6),
        Part(8, "83", number=7),
    )
    path = disk(tmp_path / "disk", parts, label="dos")
    found = read(path)
    assert {one.number: one.start for one in found} == starts(path)
    assert [(one.number, one.type) for one in found] == [
        (1, "0x83"),
        (2, "0x5"),
        (5, "0x83"),
        (6, "0x82"),
        (7, "0x83"),
    ]
    assert [one.is_container for one in found] == [False, True, False, False, False]


def test_sectors_of_4096_bytes_are_told_from_the_table(tmp_path: Path, root: Path) -> None:
    path = gpt_of_4096(tmp_path / "disk", [(LINUX, "one", root), (ROOT_X86_64, "two", root)])
    one, two = read(path)
    assert (one.start, one.size_bytes, one.name) == (MIB, root.stat().st_size, "one")
    assert (two.start, two.type) == (MIB + root.stat().st_size, ROOT_X86_64.lower())


def test_an_mbr_of_4096_byte_sectors_is_told_from_what_lies_where_it_points(
    tmp_path: Path, root: Path
) -> None:
    path = disk(tmp_path / "disk", [Part(24, "83")], label="dos", mib=256)
    with path.open("r+b") as file:
        os.pwrite(file.fileno(), struct.pack("<II", 256, root.stat().st_size // 4096), 446 + 8)
        os.pwrite(file.fileno(), root.read_bytes()[: 64 << 10], MIB)
    (one,) = read(path)
    assert (one.start, one.size_bytes) == (MIB, root.stat().st_size)


def test_an_mbr_of_4096_byte_sectors_with_logical_partitions_alone_is_told_too(tmp_path: Path) -> None:
    path = disk(tmp_path / "disk", [Part(50, "5"), Part(8, "83", number=5)], label="dos", mib=512)
    records = dict(_at_4096(path))
    with path.open("r+b") as file:
        for place, record in records.items():
            os.pwrite(file.fileno(), bytes(512), place // 8)
            os.pwrite(file.fileno(), record, place)
    found = read(path)
    assert [(one.number, one.size_bytes) for one in found if not one.is_container] == [(5, 64 * MIB)]


def _at_4096(path: Path) -> list[tuple[int, bytes]]:
    """The boot record, and that of the extended partition where sectors of 4096 bytes have it."""
    data = path.read_bytes()
    (first,) = struct.unpack_from("<I", data, 446 + 8)
    return [(0, data[:512]), (first * 4096, data[first * 512 :][:512])]


@pytest.mark.parametrize("first", [1 << 51, (1 << 64) - 1])
def test_entries_that_lie_nowhere_are_those_of_the_copy(tmp_path: Path, first: int) -> None:
    path = disk(tmp_path / "disk", [Part(8, LINUX, name="kept")])
    with path.open("r+b") as file:
        os.pwrite(file.fileno(), struct.pack("<Q", first), 512 + 72)
    assert [one.name for one in read(path)] == ["kept"]


def test_without_a_table_the_whole_disk_is_the_one_partition(root: Path, tmp_path: Path) -> None:
    (tmp_path / "disk").symlink_to(root)
    assert read(tmp_path / "disk") == (Partition(0, 0, root.stat().st_size),)


@pytest.mark.parametrize("sector", [1, 2])
def test_the_copy_at_the_end_counts_if_the_first_is_damaged(tmp_path: Path, sector: int) -> None:
    path = disk(tmp_path / "disk", [Part(8, LINUX, name="kept")])
    with path.open("r+b") as file:
        os.pwrite(file.fileno(), b"\xff" * 8, sector * 512 + 60)
    assert [one.name for one in read(path)] == ["kept"]


def test_a_gpt_that_is_damaged_twice_is_refused(tmp_path: Path) -> None:
    path = disk(tmp_path / "disk", [Part(8)])
    with path.open("r+b") as file:
        for place in (512, path.stat().st_size - 512):
            os.pwrite(file.fileno(), bytes(512), place)
    with pytest.raises(SourceError, match="the partition table of 'disk' is damaged"):
        read(path)


def test_partitions_that_overlap_are_refused(tmp_path: Path) -> None:
    path = disk(tmp_path / "disk", [Part(8, "83"), Part(8, "83")], label="dos")
    with path.open("r+b") as file:
        os.pwrite(file.fileno(), struct.pack("<I", 4096), 446 + 16 + 8)
    with pytest.raises(SourceError, match="partitions 1 and 2 overlap"):
        read(path)


def test_a_chain_of_logical_partitions_that_leads_in_circles_ends(tmp_path: Path) -> None:
    parts = (Part(50, "5", number=1), Part(8, "83", number=5), Part(8, "83"))
    path = disk(tmp_path / "disk", parts, label="dos")
    with path.open("r+b") as file:
        os.pwrite(file.fileno(), struct.pack("<I", 1), MIB + 446 + 16 + 8)
        os.pwrite(file.fileno(), os.pread(file.fileno(), 512, MIB), MIB + 512)
    try:
        assert len(read(path)) < 256
    except SourceError as err:
        assert "damaged" in err.brief  # noqa: PT017  # either will do


def test_a_partition_behind_the_end_of_the_disk_is_refused_when_it_is_taken(tmp_path: Path) -> None:
    path = disk(tmp_path / "disk", [Part(8, "83"), Part(40, "83")], label="dos")
    os.truncate(path, 20 * MIB)
    with RawFile(path) as blocks:
        blocks.name = "disk"
        one, two = read(path)
        check_end(one, blocks)
        with pytest.raises(FilesystemError, match="'disk' is cut short: partition 2 ends at byte"):
            check_end(two, blocks)


def test_a_table_is_told_from_the_boot_sector_of_a_filesystem(
    debian: Path, root: Path, tmp_path: Path
) -> None:
    fat_head = bytes(54) + b"FAT16   " + bytes(448) + b"\x55\xaa"
    assert has_table(debian.read_bytes()[:4096])
    assert not has_table(root.read_bytes()[:4096])
    assert not has_table(fat_head)
    assert has_table(disk(tmp_path / "dos", [Part(8, "83")], label="dos").read_bytes()[:4096])
