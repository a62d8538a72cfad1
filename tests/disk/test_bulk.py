from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.bulk import BlockReserve, WriteBehind
from bangerbuild.disk.libext2fs import open_handle
from bangerbuild.disk.mapping import Run
from bangerbuild.errors import FilesystemError
from tests.disk.ext4_tools import NOW
from tests.disk.memory import Memory

if TYPE_CHECKING:
    from pathlib import Path

    from bangerbuild.disk.libext2fs import Handle


class Recording(Memory):
    """Remembers what was written where."""

    def __init__(self, size_bytes: int) -> None:
        super().__init__(bytes(size_bytes))
        self.written: list[tuple[int, int]] = []

    def write(self, offset: int, data: bytes) -> None:
        self.written.append((offset, len(data)))
        super().write(offset, data)


class Full(Memory):
    """A host without room."""

    def __init__(self) -> None:
        super().__init__(bytes(1 << 20))

    def write(self, offset: int, data: bytes) -> None:  # noqa: ARG002 - the same for all
        raise FilesystemError("no room", code=errno.ENOSPC)


class Runs:
    """A handle that gives what it is told to, whatever is asked for."""

    def __init__(self, *runs: tuple[int, int]) -> None:
        self.runs = list(runs)
        self.freed: list[tuple[int, int]] = []

    def allocate_run(self, _goal: int, _blocks: int) -> tuple[int, int]:
        return self.runs.pop(0)

    def free_run(self, first: int, blocks: int) -> None:
        self.freed.append((first, blocks))


def reserve_of(handle: Runs | Handle, goal: int = 0) -> BlockReserve:
    return BlockReserve(handle, goal)  # type: ignore[arg-type] # all that it asks of a handle


def test_writes_are_in_place_once_they_have_settled_and_neighbours_are_one() -> None:
    disk = Recording(100)
    with WriteBehind(disk) as behind:
        behind.write(10, b"ab")
        behind.write(12, b"c")
        behind.write(50, b"z")
        behind.settle()
        assert disk.data[10:13] + disk.data[50:51] == b"abcz"
    assert disk.written == [(10, 3), (50, 1)]


def test_what_is_written_twice_is_what_was_written_last() -> None:
    disk = Recording(100)
    with WriteBehind(disk) as behind:
        for value in range(50):
            behind.write(7, bytes([value]))
        behind.settle()
    assert disk.data[7] == 49


def test_a_write_at_the_end_of_settled_ones_begins_anew() -> None:
    disk = Recording(100)
    with WriteBehind(disk) as behind:
        behind.write(0, b"ab")
        behind.settle()
        behind.write(2, b"cd")
        behind.settle()
    assert disk.written == [(0, 2), (2, 2)]


def test_an_error_of_the_thread_is_told_when_it_settles() -> None:
    with WriteBehind(Full()) as behind:
        behind.write(0, b"x")
        with pytest.raises(FilesystemError, match="no room") as raised:
            behind.settle()
    assert raised.value.code == errno.ENOSPC


def test_an_error_of_the_thread_is_told_by_a_later_write() -> None:
    def write_on(behind: WriteBehind) -> None:
        for index in range(1000):
            behind.write(index * 1000, b"x")

    with WriteBehind(Full()) as behind, pytest.raises(FilesystemError, match="no room"):
        write_on(behind)


def test_blocks_are_handed_out_in_order_and_the_rest_is_given_back() -> None:
    handle = Runs((100, 10))
    reserve = reserve_of(handle)
    assert reserve.take(0, 3) == [Run(0, 100, 3)]
    assert reserve.take(0, 5) == [Run(0, 103, 5)]
    reserve.give_back()
    reserve.give_back()
    assert handle.freed == [(108, 2)]


def test_runs_that_touch_are_one_and_others_are_not() -> None:
    reserve = reserve_of(Runs((100, 4), (104, 4), (200, 4)))
    assert reserve.take(7, 10) == [Run(7, 100, 8), Run(15, 200, 2)]


def test_no_run_is_longer_than_an_extent_can_be() -> None:
    reserve = reserve_of(Runs((0, 32768), (32768, 32768)))
    assert reserve.take(0, 40_000) == [Run(0, 0, 32768), Run(32768, 32768, 40_000 - 32768)]


def test_what_was_given_back_is_free_for_others(disk: Path) -> None:
    with RawFile(disk, writable=True) as blocks:
        handle = open_handle(blocks, writable=True, now=NOW)
        reserve = reserve_of(handle, 1)
        (run,) = reserve.take(0, 2)
        reserve.give_back()
        assert handle.allocate_block(1) == run.first + 2
        handle.abandon()
