"""Maps of sparse files as they stand in archives; test_archive reads all forms that GNU tar writes."""

from __future__ import annotations

import itertools
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.formats import sparse
from bangerbuild.formats.format_error import FormatError
from bangerbuild.formats.tarheader import parse_header
from tests.formats.tarmaking import gnu_tar

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MIB = 1 << 20
PIECE = 64 << 10
PLACES = [MIB * number for number in range(0, 60, 2)]
"""More pieces than fit into a header, and into one block after it."""


@pytest.fixture
def top(tmp_path: Path) -> Path:
    (tmp_path / "top").mkdir()
    with (tmp_path / "top" / "holes").open("wb") as file:
        file.truncate(61 * MIB)
        for place in PLACES:
            os.pwrite(file.fileno(), bytes([place % 251 + 1]) * PIECE, place)
    return tmp_path / "top"


def seen(path: Path) -> sparse.Extents:
    """Where the filesystem says that the data is."""
    found = []
    with path.open("rb") as file:
        end = 0
        while end < path.stat().st_size:
            try:
                start = os.lseek(file.fileno(), end, os.SEEK_DATA)
            except OSError:
                break
            end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            found.append((start, end - start))
    return tuple(found)


def test_the_map_of_a_header_goes_on_in_blocks_behind_it(top: Path, tmp_path: Path) -> None:
    raw = gnu_tar(top, tmp_path / "a.tar", "--format=gnu", "-S").read_bytes()
    start = next(at for at in range(0, len(raw), 512) if parse_header(raw[at : at + 512]).type == b"S")
    blocks = iter(range(start + 512, len(raw), 512))
    size, pairs = sparse.old_gnu_map(raw[start : start + 512], lambda: raw[(at := next(blocks)) : at + 512])
    assert size == 61 * MIB
    assert sparse.joined(pairs) == seen(top / "holes")


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 5))))
def test_joined_pieces_cover_the_same_bytes_and_do_not_touch(steps: list[tuple[int, int]]) -> None:
    pairs, position = [], 0
    for gap, length in steps:
        pairs.append((position + gap, length))
        position += gap + length
    extents = sparse.joined(pairs)
    assert covered(extents) == covered(pairs)
    assert all(length > 0 for _, length in extents)
    assert all(sum(one) < other[0] for one, other in itertools.pairwise(extents))


def test_pieces_of_nothing_at_the_end_are_left_out() -> None:
    assert sparse.joined([(0, 3), (9, 0)]) == ((0, 3),)


def test_a_piece_of_nothing_in_a_hole_joins_no_others() -> None:
    assert sparse.joined([(0, 1), (5, 0), (5, 1)]) == ((0, 1), (5, 1))


def covered(pairs: object) -> set[int]:
    return {byte for offset, length in pairs for byte in range(offset, offset + length)}  # type: ignore[attr-defined]


@pytest.mark.parametrize("pairs", [[(0, 5), (4, 1)], [(5, 1), (0, 1)], [(0, -1)]])
def test_pieces_that_overlap_or_go_back_are_refused(pairs: list[tuple[int, int]]) -> None:
    with pytest.raises(FormatError, match="damaged sparse map"):
        sparse.joined(pairs)


@pytest.mark.parametrize(("size", "stored"), [(10, 4), (10, 6), (9, 5)])
def test_a_map_that_does_not_fit_its_file_is_refused(size: int, stored: int) -> None:
    assert sparse.checked([(5, 5)], 10, 5) == ((5, 5),)
    with pytest.raises(FormatError, match="does not fit its size"):
        sparse.checked([(5, 5)], size, stored)


@pytest.mark.parametrize("numbers", [b"1", b"1,2,3", b"1,x", b","])
def test_a_map_in_a_record_holds_pairs_of_numbers(numbers: bytes) -> None:
    assert sparse.pax_map(b"0,5,10,2") == [(0, 5), (10, 2)]
    assert sparse.pax_map(b"") == []
    with pytest.raises(FormatError, match="damaged sparse map"):
        sparse.pax_map(numbers)


def block_of(text: bytes) -> Callable[[], bytes]:
    """Block after block of a map in front of its data."""
    blocks = iter(range(0, len(text) + 512, 512))
    return lambda: text[(at := next(blocks)) : at + 512].ljust(512, b"\0")


def test_a_map_in_front_of_the_data_takes_whole_blocks() -> None:
    lines = b"".join(b"%d\n" % number for number in (100, *range(200)))
    assert len(lines) > 512
    taken, pairs = sparse.leading_map(10_000, block_of(lines))
    assert taken == 1024
    assert pairs == [(number, number + 1) for number in range(0, 200, 2)]


@pytest.mark.parametrize("text", [b"3\n0\n1\n", b"1" * 2000])
def test_a_map_in_front_of_the_data_that_does_not_end_is_refused(text: bytes) -> None:
    with pytest.raises(FormatError, match="does not end"):
        sparse.leading_map(1024, block_of(text))
