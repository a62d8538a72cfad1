"""Files that only claim to be large, or that name the same place again and again, are refused at once."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk import qcow2, qcow2_tables
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.overlay import ZEROS
from bangerbuild.disk.qcow2_header import parse_header
from bangerbuild.disk.qcow2_tables import Tables
from bangerbuild.errors import OverlayError
from tests.disk.memory import Memory
from tests.disk.qemu_img import checked
from tests.disk.test_qcow2_store import as_guest, made, place

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["place"]

BITS = qcow2.DEFAULT_CLUSTER_BITS
L1_CLUSTER = 3
"""Of a file that we make: header, refcount table, refcount block, L1 table."""
PLAIN = 1 << 63
GIB = 1 << 30


def tables_of(disk: Path) -> Tables:
    with RawFile(disk) as file:
        return read(file)


def read(file: Memory | RawFile) -> Tables:
    header = parse_header(file.read(0, qcow2.HEAD_BYTES), "root.qcow2")
    return Tables.read(file, header, "root.qcow2")


def with_tables(count: int, place_of: int | None = None) -> Memory:
    """A file with so many L2 tables, all of them empty, one behind the other or all in one place."""
    entries_per_table = (1 << BITS) // 8
    content = bytearray(qcow2.empty(count * entries_per_table << BITS, "base"))
    at = L1_CLUSTER << BITS
    first = len(content) >> BITS
    for index in range(count):
        cluster = first + index if place_of is None else place_of
        struct.pack_into(">Q", content, at + index * 8, cluster << BITS | PLAIN)
    used = first + count
    struct.pack_into(f">{used}H", content, 2 << BITS, *(1 for _ in range(used)))
    return Memory(bytes(content) + bytes(count << BITS))


def test_what_qemu_wrote_is_found_where_it_is(place: Path) -> None:
    disk = made(place)
    as_guest(disk, "write -P 7 1M 64k", "write -P 8 2M 16k", "write -z 1M 16k", "write -z -u 4M 16k")
    found = tables_of(disk)
    first = (1 << 20) >> BITS
    assert [chunk - first for chunk in found.slots] == [*range(16), *range(256, 260), *range(768, 772)]
    assert [chunk - first for chunk, slot in found.slots.items() if slot == ZEROS] == [
        *range(4),
        *range(768, 772),
    ]
    assert [chunk - first for chunk in found.reserved] == [*range(4)]
    assert (len(found.tables), len(found.blocks)) == (3, 1)
    assert found.first_unused == disk.stat().st_size >> BITS
    checked(disk)


def test_many_tables_are_read() -> None:
    found = read(with_tables(100))
    assert (len(found.tables), len(found.slots)) == (100, 0)
    assert found.first_unused == 4 + 100


def test_two_tables_in_one_place_are_refused_before_they_are_read() -> None:
    with pytest.raises(OverlayError, match="two L2 tables lie in the same place"):
        read(with_tables(2000, place_of=4))


def test_more_tables_than_can_be_read_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qcow2_tables, "MOST_TABLE_BYTES", 64 << BITS)
    assert read(with_tables(64))
    with pytest.raises(OverlayError, match="has L2 tables of more than 256 KiB"):
        read(with_tables(65))


def test_tables_far_behind_in_a_file_of_holes_are_refused(place: Path) -> None:
    disk = made(place)
    far = 1 << 43
    with disk.open("r+b") as file:
        file.truncate(far + GIB)
        file.seek(40)
        file.write(struct.pack(">Q", far))
        file.seek(far)
        file.write(struct.pack(">Q", far + (1 << BITS) | PLAIN))
    with pytest.raises(OverlayError, match="no refcount block counts cluster"):
        tables_of(disk)
