from __future__ import annotations

import errno
import os
import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bangerbuild.disk.redo_log import LogWriter, RedoLog, digests, path_beside, remove
from bangerbuild.errors import FilesystemError
from tests.disk.faults import Fault, Host, running_on

if TYPE_CHECKING:
    from pathlib import Path

CHUNK = 1024
SIZE = 10 * CHUNK + 700
LAST = 10
OLD, NEW = bytes(CHUNK), b"\xff" * CHUNK


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    return tmp_path / "disk.ext4"


def written(disk: Path, *chunks: tuple[int, bytes, bytes], seal: bool = True) -> Path:
    """A log of these chunks: number, what was there, what shall be."""
    log = LogWriter(disk, SIZE, CHUNK)
    for chunk, old, new in chunks:
        log.add(chunk, old, new)
    if seal:
        log.seal()
    log.close()
    return log.path


def found(disk: Path) -> tuple[bool, dict[int, bytes]]:
    """Whether the log holds, and what it has."""
    with RedoLog(disk) as log:
        return log.is_sealed, {chunk: log.new(chunk) for chunk in log.places}


def test_a_log_lies_beside_its_disk_and_is_nobody_elses(disk: Path) -> None:
    path = written(disk, (1, OLD, NEW))
    assert path == disk.with_name("disk.ext4.redo")
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_sealed_log_holds_and_has_what_was_added(disk: Path) -> None:
    written(disk, (7, OLD, NEW), (2, OLD, b"two".ljust(CHUNK)), (LAST, bytes(700), b"\1" * 700))
    assert found(disk) == (True, {2: b"two".ljust(CHUNK), 7: NEW, LAST: b"\1" * 700})
    with RedoLog(disk) as log:
        assert (log.size_bytes, log.chunk_bytes) == (SIZE, CHUNK)
        assert log.old(7) == digests(OLD)
        assert log.old(LAST) == digests(bytes(700))


def test_of_two_records_of_a_chunk_the_later_one_holds(disk: Path) -> None:
    written(disk, (1, OLD, NEW), (2, OLD, NEW), (1, OLD, b"later".ljust(CHUNK)))
    assert found(disk) == (True, {1: b"later".ljust(CHUNK), 2: NEW})


def test_what_was_added_can_be_read_before_the_log_is_sealed(disk: Path) -> None:
    log = LogWriter(disk, SIZE, CHUNK)
    for new in (NEW, b"later".ljust(CHUNK)):
        log.add(4, OLD, new)
        assert log.new(4) == new
    log.add(LAST, bytes(700), b"\1" * 700)
    assert log.new(LAST) == b"\1" * 700
    log.discard()


def test_a_log_without_its_end_does_not_hold_but_says_what_it_has(disk: Path) -> None:
    written(disk, (1, OLD, NEW), (2, OLD, NEW), seal=False)
    is_sealed, chunks = found(disk)
    assert not is_sealed
    assert chunks == {1: NEW}  # where a trailer would be, the end of the last record is


def test_a_log_of_nothing_holds(disk: Path) -> None:
    written(disk)
    assert found(disk) == (True, {})


def test_where_there_is_no_log_there_is_none(disk: Path) -> None:
    assert RedoLog.beside(disk) is None


@pytest.mark.parametrize("content", [b"", b"bangredo", b"\0" * 4096, b"x" * 100_000])
def test_a_file_that_is_no_log_does_not_hold(disk: Path, content: bytes) -> None:
    path_beside(disk).write_bytes(content)
    assert found(disk) == (False, {})


@pytest.mark.parametrize("chunk_bytes", [0, 1, 511, (1 << 30) + 1, (1 << 32) - 1])
def test_a_log_of_impossible_chunks_does_not_hold(disk: Path, chunk_bytes: int) -> None:
    content = bytearray(written(disk, (1, OLD, NEW)).read_bytes())
    struct.pack_into("<I", content, 16, chunk_bytes)
    path_beside(disk).write_bytes(content)
    assert found(disk) == (False, {})


THREE = ((1, OLD, NEW), (5, OLD, b"five".ljust(CHUNK)), (LAST, bytes(700), b"\1" * 700))


def test_a_log_that_is_cut_anywhere_does_not_hold(disk: Path) -> None:
    content = written(disk, *THREE).read_bytes()
    for length in range(len(content)):
        path_beside(disk).write_bytes(content[:length])
        is_sealed, chunks = found(disk)
        assert not is_sealed
        assert chunks.items() <= {chunk: new for chunk, _, new in THREE}.items()


def test_a_log_with_more_behind_its_end_does_not_hold(disk: Path) -> None:
    content = written(disk, *THREE).read_bytes()
    path_beside(disk).write_bytes(content + b"\0")
    assert found(disk)[0] is False


@settings(max_examples=500)
@given(data=st.data())
def test_a_log_with_a_wrong_bit_does_not_hold_and_says_nothing_that_was_not_added(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    disk = tmp_path_factory.mktemp("log") / "disk"
    content = bytearray(written(disk, *THREE).read_bytes())
    bit = data.draw(st.integers(0, len(content) * 8 - 1))
    content[bit // 8] ^= 1 << bit % 8
    path_beside(disk).write_bytes(content)
    with RedoLog(disk) as log:
        assert not log.is_sealed
        if bit >= 24 * 8:  # else the header is wrong, and with it where chunks end
            new = {chunk: log.new(chunk) for chunk in log.places}
            assert new.items() <= {chunk: new for chunk, _, new in THREE}.items()


@pytest.mark.parametrize("record", range(len(THREE)))
def test_what_is_wrong_with_one_record_does_not_hide_the_others(disk: Path, record: int) -> None:
    content = bytearray(written(disk, *THREE).read_bytes())
    content[24 + record * (24 + 16 + CHUNK) + 100] ^= 1
    path_beside(disk).write_bytes(content)
    assert found(disk) == (False, {chunk: new for i, (chunk, _, new) in enumerate(THREE) if i != record})


def test_digests_tell_one_sector_from_another_and_nothing_of_its_neighbours() -> None:
    one = digests(b"a" * 512 + b"b" * 512 + b"c" * 100)
    other = digests(b"a" * 512 + b"x" * 512 + b"c" * 100)
    assert len(one) == 24
    assert (one[:8], one[16:]) == (other[:8], other[16:])
    assert one[8:16] != other[8:16]


# a host that fails


def test_a_log_that_is_there_is_not_written_over(disk: Path) -> None:
    path_beside(disk).write_bytes(b"another")
    with pytest.raises(FilesystemError, match=r"'disk\.ext4\.redo' can't be made: File exists"):
        LogWriter(disk, SIZE, CHUNK)
    assert path_beside(disk).read_bytes() == b"another"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_leaves_no_log_and_the_hint_is_to_make_room(disk: Path, code: int) -> None:
    with running_on(Fault(at=2, code=code)), pytest.raises(FilesystemError) as error:
        LogWriter(disk, SIZE, CHUNK)
    assert error.value.hint == "free some space there, or choose another place: --store DIR"
    assert error.value.code == code
    assert not path_beside(disk).exists()


@pytest.mark.parametrize("what", ["log", "directory"])
def test_a_sync_that_fails_is_told(disk: Path, what: str) -> None:
    log = LogWriter(disk, SIZE, CHUNK)
    fault = Fault(at=2 if what == "log" else 3, code=errno.EIO)
    with running_on(fault), pytest.raises(FilesystemError, match="can't be written: Input/output error"):
        log.seal()
    log.discard()
    assert not path_beside(disk).exists()


def test_a_log_that_somebody_cut_is_told_when_it_is_read(disk: Path) -> None:
    log = LogWriter(disk, SIZE, CHUNK)
    log.add(1, OLD, NEW)
    os.truncate(log.path, 100)
    with pytest.raises(FilesystemError, match="was cut short by someone else"):
        log.new(1)
    log.discard()


def test_reading_goes_on_where_the_kernel_stops_early(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = LogWriter(disk, SIZE, CHUNK)
    log.add(1, OLD, NEW)
    pread = os.pread
    monkeypatch.setattr(os, "pread", lambda fd, length, offset: pread(fd, min(length, 100), offset))
    assert log.new(1) == NEW
    log.discard()


def test_discarding_twice_or_what_is_gone_is_no_error(disk: Path) -> None:
    log = LogWriter(disk, SIZE, CHUNK)
    log.path.unlink()
    log.discard()
    log.discard()
    log.close()


def test_a_log_is_gone_for_good_once_it_is_removed(disk: Path) -> None:
    written(disk, *THREE)
    with running_on(host := Host()):
        remove(disk)
    assert not path_beside(disk).exists()
    assert host.calls == 2  # the name, and the directory synced
    remove(disk)


@pytest.mark.parametrize("at", [1, 2])
def test_a_log_that_cannot_be_removed_is_told(disk: Path, at: int) -> None:
    written(disk, *THREE)
    with running_on(Fault(at=at, code=errno.EROFS)), pytest.raises(FilesystemError, match="can't be removed"):
        remove(disk)


def test_a_sealed_log_that_may_come_back_does_not_hold(disk: Path) -> None:
    log = LogWriter(disk, SIZE, CHUNK)
    log.add(1, OLD, NEW)
    back = disk.with_name("back")
    back.hardlink_to(log.path)  # what a power cut makes of a removal that was not synced
    with running_on(Fault(at=3, code=errno.EIO)), pytest.raises(FilesystemError):
        log.seal()
    log.discard()
    back.rename(path_beside(disk))
    assert found(disk) == (False, {})


def test_a_log_of_which_the_removal_was_not_synced_does_not_hold(disk: Path) -> None:
    path = written(disk, *THREE)
    back = disk.with_name("back")
    back.hardlink_to(path)
    with running_on(Fault(at=2, code=errno.EIO)), pytest.raises(FilesystemError):
        remove(disk)
    back.rename(path)
    assert found(disk) == (False, {})
