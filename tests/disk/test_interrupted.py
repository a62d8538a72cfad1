from __future__ import annotations

import errno
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk import interrupted
from bangerbuild.disk.growing import note_beside, undo_beside
from bangerbuild.disk.redo_log import path_beside
from bangerbuild.disk.transaction import Transaction
from bangerbuild.errors import FilesystemError
from tests.disk.ext4_tools import assert_clean
from tests.disk.faults import Fault, Kill, Killed, running_on
from tests.disk.growths import MIB, PLAIN, grow_killed, made

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    return made(tmp_path / "disk.ext4", PLAIN)


def patch_killed(disk: Path, at: int = 12) -> Path:
    """A patch of some chunks that was killed when its log was sealed, and the disk written by half."""
    with running_on(Kill(at=at)), suppress(Killed), Transaction(disk, "disk") as file:
        file.write(2 * MIB, b"patched" * 2000)
        file.flush()
    return disk


def seen(disk: Path) -> bytes:
    with interrupted.open_recovered(disk, "disk") as blocks:
        return blocks.read(0, blocks.size_bytes)


def test_a_disk_that_nothing_happened_to_is_read_as_it_is_and_not_touched(disk: Path) -> None:
    assert not interrupted.is_half_patched(disk)
    assert not interrupted.is_half_grown(disk)
    assert interrupted.size_before(disk) is None
    assert seen(disk) == disk.read_bytes()
    before = disk.stat()
    assert not interrupted.mend(disk, "disk")
    assert disk.stat().st_mtime_ns == before.st_mtime_ns
    assert list(disk.parent.iterdir()) == [disk]


@pytest.mark.parametrize("at", range(2, 14))
def test_what_is_read_past_a_patch_is_what_mending_makes(disk: Path, at: int) -> None:
    old = disk.read_bytes()
    patch_killed(disk, at)
    assert interrupted.is_half_patched(disk)
    before = seen(disk)
    assert interrupted.mend(disk, "disk")
    assert disk.read_bytes() == before
    assert (before == old) or before[2 * MIB :].startswith(b"patched" * 2000)
    assert not interrupted.is_half_patched(disk)
    assert not interrupted.mend(disk, "disk")


def test_what_is_read_past_a_growth_is_what_mending_makes(disk: Path) -> None:
    size_bytes = disk.stat().st_size
    assert grow_killed(disk, PLAIN, 50)
    assert interrupted.is_half_grown(disk)
    assert interrupted.size_before(disk) == size_bytes
    before = seen(disk)
    assert len(before) == size_bytes
    assert interrupted.mend(disk, "disk")
    assert disk.read_bytes() == before
    assert_clean(disk)
    assert not interrupted.is_half_grown(disk)


def test_an_undo_file_whose_note_is_gone_is_all_that_is_left_of_a_growth_and_goes_too(disk: Path) -> None:
    before = disk.read_bytes()
    undo_beside(disk).write_bytes(b"\0" * 4096)
    assert interrupted.is_half_grown(disk)
    assert interrupted.size_before(disk) is None
    assert seen(disk) == before
    interrupted.mend(disk, "disk")
    assert not interrupted.is_half_grown(disk)
    assert disk.read_bytes() == before


def test_what_is_opened_has_the_name_it_was_given_and_the_place_it_lies_at(disk: Path) -> None:
    for spoil in (lambda: None, lambda: patch_killed(disk), lambda: grow_killed(disk, PLAIN, 20)):
        spoil()
        with interrupted.open_recovered(disk, "vms/web/work.ext4") as blocks:
            assert (blocks.name, blocks.place, blocks.writable) == ("vms/web/work.ext4", str(disk), False)
        interrupted.mend(disk, "disk")


def test_a_name_that_is_given_is_in_what_goes_wrong(disk: Path) -> None:
    patch_killed(disk)
    with disk.open("r+b") as file:
        file.seek(2 * MIB + 600)
        file.write(b"a guest's")
    with (
        pytest.raises(FilesystemError, match="was used since a patch") as error,
        interrupted.open_recovered(disk, "work"),
    ):
        pass
    assert error.value.brief.startswith("'work' ")


def test_everything_that_may_be_left_beside_a_disk_is_known_a_note_before_what_it_speaks_of(
    disk: Path,
) -> None:
    assert interrupted.leftovers(disk) == (note_beside(disk), undo_beside(disk), path_beside(disk))
    everything = {disk}
    patch_killed(disk)
    everything |= set(disk.parent.iterdir())
    interrupted.mend(disk, "disk")
    assert grow_killed(disk, PLAIN, 50)
    everything |= set(disk.parent.iterdir())
    assert everything == {disk, *interrupted.leftovers(disk)}


@pytest.mark.parametrize("at", [1, 2, 3])
def test_mending_that_fails_throws_nothing_away(disk: Path, at: int) -> None:
    patch_killed(disk)
    before = seen(disk)
    with running_on(Fault(at=at, code=errno.EIO)), pytest.raises((FilesystemError, OSError)):
        interrupted.mend(disk, "disk")
    assert seen(disk) == before
    assert interrupted.mend(disk, "disk")
    assert disk.read_bytes() == before
