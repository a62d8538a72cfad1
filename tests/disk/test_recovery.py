from __future__ import annotations

import os
import shutil
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.recovery import RecoveredDisk, recover
from bangerbuild.disk.redo_log import path_beside
from bangerbuild.disk.transaction import Transaction
from bangerbuild.errors import FilesystemError
from tests.disk.ext4_tools import assert_clean, debugfs, make_ext4
from tests.disk.faults import Host, Kill, Killed, running_on

if TYPE_CHECKING:
    from pathlib import Path

CHUNK = 4096
SIZE = 16 * CHUNK + 1000
OLD = bytes(i * 7 % 251 for i in range(SIZE))
PATCH = ((2 * CHUNK, b"A" * CHUNK), (5 * CHUNK + 10, b"B" * 5000), (16 * CHUNK, b"C" * 1000))
NEW = OLD
for at, data in PATCH:
    NEW = NEW[:at] + data + NEW[at + len(data) :]
HEADER, SYNCS, END = 1 + 1, 2, 1
"""Calls: the log is made and its header written; log and directory are synced; its end is written."""
CHUNKS = 4


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk.ext4"
    path.write_bytes(OLD)
    return path


def patched_up_to(disk: Path, chunks: int | None) -> None:
    """Patch the disk, and be killed when so many chunks are on it; None: just before the log is sealed."""
    sealed = HEADER + CHUNKS + CHUNKS + END + SYNCS  # records; then the host's room is asked for
    at = sealed - SYNCS if chunks is None else sealed + 1 + chunks
    with running_on(Kill(at=at)), suppress(Killed), Transaction(disk, "disk") as file:
        for place in PATCH:
            file.write(*place)
        file.flush()
    assert path_beside(disk).exists()


def seen(disk: Path) -> bytes:
    file = RecoveredDisk(disk, "disk")
    try:
        return file.read(0, file.size_bytes)
    finally:
        file.close()


def test_a_log_that_was_never_sealed_is_discarded(disk: Path) -> None:
    patched_up_to(disk, None)
    assert seen(disk) == OLD
    assert recover(disk, "disk")
    assert disk.read_bytes() == OLD
    assert not path_beside(disk).exists()


@pytest.mark.parametrize("chunks", range(CHUNKS + 1))
def test_a_sealed_log_is_written_however_much_of_it_is_there(disk: Path, chunks: int) -> None:
    patched_up_to(disk, chunks)
    assert (disk.read_bytes() == NEW) == (chunks == CHUNKS)
    assert seen(disk) == NEW
    assert recover(disk, "disk")
    assert disk.read_bytes() == NEW
    assert not path_beside(disk).exists()


@given(offset=st.integers(0, SIZE), length=st.integers(0, SIZE))
def test_any_stretch_is_read_as_it_will_be(
    tmp_path_factory: pytest.TempPathFactory, offset: int, length: int
) -> None:
    disk = tmp_path_factory.mktemp("disk") / "disk"
    disk.write_bytes(OLD)
    patched_up_to(disk, 2)
    length = min(length, SIZE - offset)
    file = RecoveredDisk(disk, "disk")
    assert file.read(offset, length) == NEW[offset : offset + length]
    file.close()


def test_the_only_chunk_of_a_log_may_be_the_last_of_the_disk(disk: Path) -> None:
    with running_on(Kill(at=9)), suppress(Killed), Transaction(disk, "disk") as file:
        file.write(16 * CHUNK, b"C" * 1000)
        file.flush()
    assert seen(disk) == OLD[: 16 * CHUNK] + b"C" * 1000
    recover(disk, "disk")
    assert disk.read_bytes() == OLD[: 16 * CHUNK] + b"C" * 1000


def test_where_there_is_no_log_there_is_nothing_to_do(disk: Path) -> None:
    with running_on(host := Host()):
        assert not recover(disk, "disk")
    assert host.calls == 0


def test_an_empty_log_is_discarded(disk: Path) -> None:
    path_beside(disk).touch()
    assert seen(disk) == OLD
    assert recover(disk, "disk")
    assert not path_beside(disk).exists()


# a disk that was used after the interruption

ELSEWHERE = 9 * CHUNK, b"a guest's"
OVER_THE_PATCH = 5 * CHUNK + 600, b"a guest's"


def write(disk: Path, offset: int, data: bytes) -> None:
    """Write as a guest does."""
    with disk.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def assert_refused(disk: Path, match: str) -> None:
    """Neither reading nor recovering is possible, and nothing is changed."""
    before = disk.read_bytes(), path_beside(disk).read_bytes()
    for act in (seen, lambda disk: recover(disk, "disk")):
        with pytest.raises(FilesystemError, match=match) as error:
            act(disk)
        log = path_beside(disk)
        assert error.value.hint == f"check the disk with `e2fsck -f`, then `rm '{log}'`; or --replace it"
    assert (disk.read_bytes(), path_beside(disk).read_bytes()) == before


@pytest.mark.parametrize("chunks", range(CHUNKS + 1))
def test_a_log_is_not_written_over_what_a_guest_wrote(disk: Path, chunks: int) -> None:
    patched_up_to(disk, chunks)
    write(disk, *OVER_THE_PATCH)
    assert_refused(disk, "'disk' was used since a patch of it was interrupted")


def test_a_guest_that_wrote_over_all_that_was_patched_is_found_out_all_the_same(disk: Path) -> None:
    patched_up_to(disk, 1)
    write(disk, 2 * CHUNK, b"a guest's".ljust(CHUNK))
    assert_refused(disk, "was used since")


def test_the_refusal_says_how_much_is_of_whom(disk: Path) -> None:
    patched_up_to(disk, 1)
    write(disk, *OVER_THE_PATCH)
    with pytest.raises(FilesystemError) as error:
        recover(disk, "disk")
    assert error.value.details == "17 sectors are as they were, 8 are patched, 1 were written by someone else"


def test_what_a_guest_wrote_elsewhere_stays(disk: Path) -> None:
    patched_up_to(disk, 2)
    write(disk, *ELSEWHERE)
    recover(disk, "disk")
    expected = bytearray(NEW)
    expected[ELSEWHERE[0] : ELSEWHERE[0] + len(ELSEWHERE[1])] = ELSEWHERE[1]
    assert disk.read_bytes() == expected


def test_a_log_that_was_never_sealed_goes_whatever_a_guest_wrote(disk: Path) -> None:
    patched_up_to(disk, None)
    write(disk, *OVER_THE_PATCH)
    assert recover(disk, "disk")
    assert OVER_THE_PATCH[1] in disk.read_bytes()


def test_a_chunk_that_was_written_by_half_is_nobody_elses(disk: Path) -> None:
    patched_up_to(disk, 1)
    write(disk, 5 * CHUNK, NEW[5 * CHUNK : 5 * CHUNK + 3 * 512])
    assert seen(disk) == NEW
    recover(disk, "disk")
    assert disk.read_bytes() == NEW


# another disk


def test_a_log_is_not_written_to_another_disk_of_the_same_size(disk: Path) -> None:
    patched_up_to(disk, 0)
    disk.write_bytes(os.urandom(SIZE))
    assert_refused(disk, "was used since")


@pytest.mark.parametrize("size_bytes", [0, CHUNK, 5 * CHUNK + 100, 16 * CHUNK])
def test_a_log_is_not_written_to_a_disk_that_was_cut(disk: Path, size_bytes: int) -> None:
    patched_up_to(disk, 2)
    os.truncate(disk, size_bytes)
    assert_refused(disk, "was used since")


def test_a_disk_that_somebody_enlarged_is_patched_all_the_same(disk: Path) -> None:
    patched_up_to(disk, 2)
    os.truncate(disk, SIZE + 5000)
    assert seen(disk) == NEW + bytes(5000)
    recover(disk, "disk")
    assert disk.read_bytes() == NEW + bytes(5000)


def test_a_log_without_its_disk_is_the_callers_mistake(disk: Path) -> None:
    patched_up_to(disk, 2)
    disk.unlink()
    for act in (seen, lambda disk: recover(disk, "disk")):
        with pytest.raises(FilesystemError, match="No such file"):
            act(disk)
    assert path_beside(disk).exists()


# a log that is damaged


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


@given(bit=st.integers(0), chunks=st.integers(0, CHUNKS))
@example(bit=80, chunks=0)  # in the disk's size: its chunks seem to lie beyond its end
@example(bit=80, chunks=1)
def test_a_log_with_a_wrong_bit_is_never_written(
    tmp_path_factory: pytest.TempPathFactory, bit: int, chunks: int
) -> None:
    disk = tmp_path_factory.mktemp("disk") / "disk"
    disk.write_bytes(OLD)
    patched_up_to(disk, chunks)
    before = disk.read_bytes()
    bit %= path_beside(disk).stat().st_size * 8
    flip(path_beside(disk), bit)
    try:
        assert seen(disk) == before
        recover(disk, "disk")
    except FilesystemError as error:
        assert chunks, "nothing was patched"
        assert "is changed by half, and the redo log beside it is damaged" in error.brief  # noqa: PT017
    else:
        assert (
            not chunks or bit < 24 * 8 or chunks == 1
        )  # the only record that was written may be the wrong one
    assert disk.read_bytes() == before


def test_a_log_that_was_cut_after_it_was_begun_does_not_pass_for_one_that_was_never_sealed(
    disk: Path,
) -> None:
    patched_up_to(disk, 2)
    log = path_beside(disk)
    for length in range(log.stat().st_size - 1, 24 + 24 + 64 + CHUNK + 48, -997):
        os.truncate(log, length)
        assert_refused(disk, "is changed by half, and the redo log beside it is damaged")


def test_a_log_that_was_cut_before_it_was_begun_is_discarded(disk: Path) -> None:
    patched_up_to(disk, 0)
    os.truncate(path_beside(disk), path_beside(disk).stat().st_size - 1)
    assert seen(disk) == OLD
    assert recover(disk, "disk")
    assert disk.read_bytes() == OLD


# a disk that is read past its log


def test_it_can_only_be_read(disk: Path) -> None:
    patched_up_to(disk, 2)
    file = RecoveredDisk(disk, "a name")
    assert (file.name, file.place, file.writable) == ("a name", str(disk), False)
    with pytest.raises(FilesystemError, match="'a name' is open for reading"):
        file.write(0, b"x")
    with pytest.raises(FilesystemError, match="'a name' ends before"):
        file.read(SIZE - 1, 2)
    file.flush()
    file.close()


def test_reading_past_a_log_touches_neither(disk: Path) -> None:
    patched_up_to(disk, 2)
    before = disk.stat().st_mtime_ns, path_beside(disk).stat().st_mtime_ns, disk.read_bytes()
    with running_on(host := Host()):
        seen(disk)
    assert host.calls == 0
    assert (disk.stat().st_mtime_ns, path_beside(disk).stat().st_mtime_ns, disk.read_bytes()) == before


# a filesystem


def write_tree(disk: Path) -> None:
    """A patch of an ext4, in one transaction."""
    with Transaction(disk, "disk") as file, Filesystem(file, writable=True, now=1_700_000_000) as filesystem:
        file.allow(filesystem.superblock.block_bytes, filesystem.is_unused)
        filesystem.remove("/old")
        for number in range(20):
            filesystem.write_file(f"/d{number % 3}/f{number}", bytes([number]) * 10_000)


def test_a_filesystem_is_clean_whenever_its_patch_is_killed(tmp_path: Path) -> None:
    start = make_ext4(tmp_path / "start.ext4", size="4M")
    with RawFile(start, writable=True) as file, Filesystem(file, writable=True) as filesystem:
        filesystem.write_file("/old", b"old" * 5000)
    whole = tmp_path / "whole.ext4"
    shutil.copy(start, whole)
    with running_on(host := Host()):
        write_tree(whole)
    disk = tmp_path / "disk.ext4"
    for at in range(1, host.calls + 1, host.calls // 20):
        shutil.copy(start, disk)
        with running_on(Kill(at=at)), suppress(Killed):
            write_tree(disk)
        recover(disk, "disk")
        assert disk.read_bytes() in (start.read_bytes(), whole.read_bytes())
    assert_clean(whole)
    assert debugfs(whole, "cat /d1/f19") == bytes([19]) * 10_000
