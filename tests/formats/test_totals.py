from __future__ import annotations

import pytest

from bangerbuild.formats.totals import Totals, measure
from bangerbuild.tree import Entry, EntryType

BLOCK = 4096


def file(path: str, size: int = 0, extents: tuple[tuple[int, int], ...] | None = None) -> Entry:
    return Entry(path, EntryType.FILE, size_bytes=size, data_extents=extents)


def test_nothing_is_still_a_top() -> None:
    assert measure([]) == Totals(1, 1, 0, BLOCK, 0)


@pytest.mark.parametrize(
    ("entry", "blocks"),
    [
        (file("f"), 0),
        (file("f", 1), 1),
        (file("f", BLOCK), 1),
        (file("f", BLOCK + 1), 2),
        (file("f", 1 << 30, ()), 0),
        (file("f", 1 << 30, ((100, 1),)), 1),
        (file("f", 1 << 30, ((BLOCK - 1, 2),)), 2),
        (file("f", 1 << 30, tuple((at * 2 * BLOCK, BLOCK) for at in range(5))), 6),
        (Entry("l", EntryType.SYMLINK, target="x" * 59), 0),
        (Entry("l", EntryType.SYMLINK, target="x" * 60), 1),
        (Entry("l", EntryType.SYMLINK, target="ü" * 30), 1),
        (Entry("d", EntryType.CHARACTER_DEVICE), 0),
    ],
)
def test_data_counts_in_whole_blocks(entry: Entry, blocks: int) -> None:
    totals = measure([entry])

    assert (totals.inodes, totals.data_bytes) == (2, blocks * BLOCK)


def test_a_hard_link_is_a_name_and_no_inode() -> None:
    assert measure([file("a", 1), Entry("b", EntryType.HARD_LINK, target="a")]).inodes == 2


def test_parents_that_no_entry_names_count_once() -> None:
    totals = measure([file("a/b/c"), file("a/b/d"), Entry("a", EntryType.DIRECTORY)])

    assert (totals.inodes, totals.directories, totals.directory_bytes) == (5, 3, 3 * BLOCK)


def test_a_directory_with_many_names_takes_more_blocks() -> None:
    few, many = measure([file("n" * 100)]), measure([file(f"{number:0100}") for number in range(1000)])

    assert few.directory_bytes == BLOCK
    assert many.directory_bytes >= 1000 * 108


def test_attributes_take_a_block_for_each_inode_that_has_any() -> None:
    with_attributes = Entry("a", EntryType.FILE, xattrs={"user.a": b"1", "user.b": b"2"})

    assert measure([with_attributes, file("b")]).xattr_bytes == BLOCK


def test_all_of_it_together_is_the_sum() -> None:
    assert Totals(1, 1, 10, 200, 3000).bytes == 3210
