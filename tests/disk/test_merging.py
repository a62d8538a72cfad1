"""Disks copied into raw files and onto each other: all bytes, no holes filled, nothing written twice."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.disk import merging
from bangerbuild.disk.blocks import RawFile
from tests.disk.memory import Memory

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20
SPARSE = bytes(3 * MIB) + os.urandom(4096) + bytes(2 * MIB + 512)


class Counting(Memory):
    """Remembers where it was written to."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.writes: list[tuple[int, int]] = []

    def write(self, offset: int, data: bytes) -> None:
        self.writes.append((offset, len(data)))
        super().write(offset, data)


@pytest.mark.parametrize("content", [SPARSE, bytes(MIB), os.urandom(MIB + 1), b""])
def test_a_copy_has_the_bytes_and_takes_room_for_data_only(tmp_path: Path, content: bytes) -> None:
    target = tmp_path / "copy"
    before = os.umask(0)
    try:
        merging.copy(Memory(content), target)
    finally:
        os.umask(before)
    assert target.read_bytes() == content
    assert target.stat().st_mode & 0o777 == 0o600
    data = len(content) if content.strip(b"\0") and content is not SPARSE else 2 * MIB
    assert target.stat().st_blocks * 512 <= data + 4096


def test_a_copy_takes_nobodys_place(tmp_path: Path) -> None:
    (tmp_path / "copy").write_text("mine")
    with pytest.raises(FileExistsError):
        merging.copy(Memory(b"x"), tmp_path / "copy")
    assert (tmp_path / "copy").read_text() == "mine"


def test_chunks_go_to_their_places_and_the_last_ends_with_the_file(tmp_path: Path) -> None:
    target = tmp_path / "disk"
    target.write_bytes(b"." * 10)
    merging.put_chunks([(2, b"CCCC"), (0, b"AAAA")], 4, target)
    assert target.read_bytes() == b"AAAA....CC"


@given(
    st.lists(st.tuples(st.integers(0, 3 * 4096 - 1), st.binary(min_size=1, max_size=9)), max_size=6),
    st.integers(1, 3 * 4096),
)
def test_only_chunks_that_differ_are_written(changes: list[tuple[int, bytes]], size: int) -> None:
    source = bytearray(size)
    for at, data in changes:
        piece = data[: max(0, size - at)]
        source[at : at + len(piece)] = piece
    target = Counting(bytes(size))
    merging.copy_differences(Memory(bytes(source)), target)
    assert target.read(0, size) == source
    differing = [at for at in range(0, size, 4096) if any(source[at : at + 4096])]
    assert target.writes == [(at, min(4096, size - at)) for at in differing]


def test_disks_that_are_alike_are_only_read(tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(SPARSE)
    with RawFile(tmp_path / "disk") as target:
        merging.copy_differences(Memory(SPARSE), target)
