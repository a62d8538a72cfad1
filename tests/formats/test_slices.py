"""A part of a file is a file like any other."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.formats.slices import PlainBytes, part_of

if TYPE_CHECKING:
    from pathlib import Path

DATA = bytes(range(256)) * 40


class Memory:
    """Bytes that can be read from any place on."""

    def read_at(self, offset: int, size: int) -> bytes:
        return DATA[offset : offset + size]


def test_a_part_of_an_open_file_is_what_dd_cuts_out_and_leaves_the_file_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(DATA)
    with (tmp_path / "file").open("rb") as file:
        file.seek(17)
        with part_of(PlainBytes(file), 300, 5000) as part:
            assert part.read() == DATA[300:5300]
        assert file.tell() == 17
        assert not file.closed


@given(
    offset=st.integers(0, len(DATA)),
    size=st.integers(0, 5000),
    moves=st.lists(st.tuples(st.sampled_from([0, 1, 2]), st.integers(-20, 6000), st.integers(0, 3000))),
)
def test_a_part_reads_and_seeks_as_its_bytes_in_memory_do(
    offset: int, size: int, moves: list[tuple[int, int, int]]
) -> None:
    expected = io.BytesIO(DATA[offset : offset + size])
    size = len(expected.getvalue())
    part = part_of(Memory(), offset, size)
    for whence, distance, count in moves:
        base = (0, expected.tell(), size)[whence]
        if base + distance >= 0:
            assert part.seek(distance, whence) == expected.seek(distance, whence)
        assert part.read(count) == expected.read(count)


def test_there_is_nothing_before_the_start() -> None:
    with pytest.raises(ValueError, match="nothing before the start"):
        part_of(Memory(), 10, 10).seek(-11, os.SEEK_END)


def test_a_source_that_ends_early_ends_the_part() -> None:
    assert part_of(Memory(), len(DATA) - 3, 10).read() == DATA[-3:]
