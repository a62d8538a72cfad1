from __future__ import annotations

import errno
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.disk import beside, overlay, redo_log, transaction
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.recovery import RecoveredDisk, recover
from bangerbuild.disk.snapshot_store import SnapshotStore
from bangerbuild.disk.transaction import Transaction
from bangerbuild.errors import FilesystemError
from tests.disk.faults import Fault, Host, Kill, Killed, PowerCut, ShortWrites, running_on

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from random import Random

    from bangerbuild.disk.blocks import Blocks

Writes: TypeAlias = "Sequence[tuple[int, bytes] | None]"
"""Where and what; None commits."""

CHUNK = 1024
DISK_BYTES = 24 * CHUNK + 700
OLD = bytes(i * 7 % 251 for i in range(DISK_BYTES))
UNUSED = frozenset({3, 4, 5, 9, 20})
"""Chunks of a raw disk that nothing refers to: before the first commit, what is in them does not matter."""


class Raw:
    """A disk byte for byte."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "disk.ext4"
        self.path.write_bytes(OLD)

    @contextmanager
    def changing(self) -> Iterator[Blocks]:
        with Transaction(self.path, "disk") as disk:
            disk.allow(CHUNK, UNUSED.__contains__)
            yield disk

    def read(self, file: Blocks) -> bytes:
        return file.read(0, DISK_BYTES)

    def is_state(self, found: bytes, states: list[bytes], number: int) -> bool:
        if number:
            return found == states[number]
        places = (slice(at, at + CHUNK) for at in range(0, DISK_BYTES, CHUNK) if at // CHUNK not in UNUSED)
        return all(found[place] == OLD[place] for place in places)


class Snapshot:
    """A store that holds something already, over a base."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "root.cow"
        self.base = directory / "base"
        self.base.write_bytes(OLD[: 10 * CHUNK] + bytes(DISK_BYTES - 10 * CHUNK))
        with RawFile(self.base) as base, SnapshotStore.create(base, self.path, chunk_bytes=CHUNK) as store:
            store.write(0, OLD)
            store.commit()

    @contextmanager
    def changing(self) -> Iterator[Blocks]:
        with RawFile(self.base) as base, Transaction(self.path, "disk") as file:
            store = SnapshotStore(base, file)
            file.allow(CHUNK, store.is_unused)
            yield store

    def read(self, file: Blocks) -> bytes:
        with RawFile(self.base) as base:
            return SnapshotStore(base, file).read(0, DISK_BYTES)

    def is_state(self, found: bytes, states: list[bytes], number: int) -> bool:
        return found == states[number]


Subject: TypeAlias = "Raw | Snapshot"
KINDS = (Raw, Snapshot)


def states_of(writes: Writes) -> list[bytes]:
    """The disk at first, and after each commit."""
    states, now = [OLD], bytearray(OLD)
    for write in writes:
        if write is None:
            states.append(bytes(now))
        else:
            now[write[0] : write[0] + len(write[1])] = write[1]
    return states


def run(subject: Subject, writes: Writes, done: list[int]) -> None:
    """Write and commit; `done` gets an entry for each commit."""
    with subject.changing() as disk:
        for write in writes:
            if write is None:
                disk.flush()
                done.append(len(done))
            else:
                disk.write(*write)


def through(subject: Subject) -> bytes:
    """The disk as it is seen past what lies beside it."""
    file = RecoveredDisk(subject.path, "disk")
    try:
        return subject.read(file)
    finally:
        file.close()


def now(subject: Subject) -> bytes:
    """The disk as it is."""
    with RawFile(subject.path) as file:
        return subject.read(file)


def log_of(subject: Subject) -> Path:
    return redo_log.path_beside(subject.path)


@pytest.fixture(params=KINDS, ids=["raw", "snapshot"])
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Subject:
    made: Subject = request.param(tmp_path)
    return made


@contextmanager
def fresh(kind: type[Subject], limit_bytes: int) -> Iterator[Subject]:
    """A subject in a directory of its own, whose writes go on when there are more than so many bytes."""
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        patch.setattr(transaction, "PENDING_LIMIT_BYTES", limit_bytes)
        patch.setattr(overlay, "PENDING_LIMIT_BYTES", limit_bytes)
        yield kind(Path(directory))


def calls_of(kind: type[Subject], limit: int, writes: Writes) -> int:
    """How many calls they take."""
    with fresh(kind, limit) as subject:
        with running_on(host := Host()):
            run(subject, writes, [])
        return host.calls


write = st.tuples(st.integers(0, DISK_BYTES - 1), st.binary(min_size=1, max_size=6000)).map(
    lambda drawn: (drawn[0], drawn[1][: DISK_BYTES - drawn[0]])
)
some_writes = st.lists(write | st.none(), max_size=8)
kinds = st.sampled_from(KINDS)
limits = st.sampled_from([0, 3 * CHUNK, 1 << 20])


@given(kind=kinds, writes=some_writes, limit=limits, short=st.booleans())
def test_any_writes_are_read_back_and_those_before_a_commit_stay(
    kind: type[Subject], writes: Writes, limit: int, *, short: bool
) -> None:
    with fresh(kind, limit) as subject:
        states = states_of([*writes, None])
        with running_on(ShortWrites() if short else Host()), subject.changing() as disk:
            for step in writes:
                disk.flush() if step is None else disk.write(*step)
            assert disk.read(0, DISK_BYTES) == states[-1]
            assert all(disk.read(at, 1) == states[-1][at : at + 1] for at in range(0, DISK_BYTES, 97))
        assert subject.is_state(now(subject), states, len(states) - 2)
        assert not log_of(subject).exists()


@given(
    kind=kinds,
    writes=some_writes,
    limit=limits,
    at=st.integers(1, 40),
    torn=st.booleans(),
    power=st.none() | st.randoms(use_true_random=False),
)
def test_a_kill_or_power_cut_anywhere_leaves_what_the_last_commit_made_or_the_next(
    kind: type[Subject], writes: Writes, limit: int, at: int, *, torn: bool, power: Random | None
) -> None:
    with fresh(kind, limit) as subject:
        states, done = states_of([*writes, None]), list[int]()
        host = PowerCut(at=at, torn=torn) if power else Kill(at=at, torn=torn)
        with running_on(host), suppress(Killed):
            run(subject, writes, done)
        if isinstance(host, PowerCut) and power:
            host.lose(lambda _: bool(power.randrange(2)))
        seen = through(subject)
        recover(subject.path, "disk")
        assert seen == now(subject)
        assert any(subject.is_state(seen, states, n) for n in (len(done), len(done) + 1) if n < len(states))
        assert not log_of(subject).exists()
        assert not recover(subject.path, "disk")
        assert now(subject) == seen


LOSSES: dict[str, Callable[[Path], bool]] = {
    "everything": lambda _: True,
    "names": Path.is_dir,
    "content": Path.is_file,
    "the log": lambda place: place.suffix == beside.REDO_LOG,
    "the disk": lambda place: place.is_file() and place.suffix != beside.REDO_LOG,
}


@pytest.mark.parametrize("lost", LOSSES)
@pytest.mark.parametrize("limit", [0, 1 << 20], ids=["placed early", "in memory"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_power_cut_leaves_no_half_whatever_was_not_synced(
    kind: type[Subject], limit: int, lost: str
) -> None:
    writes: Writes = [(3 * CHUNK, b"U" * 3 * CHUNK), (12 * CHUNK, b"V" * 3 * CHUNK), None]
    states = states_of(writes)
    for at in range(1, calls_of(kind, limit, writes) + 2):
        with fresh(kind, limit) as subject:
            host, done = PowerCut(at=at), list[int]()
            with running_on(host), suppress(Killed):
                run(subject, writes, done)
            host.lose(LOSSES[lost])
            recover(subject.path, "disk")
            numbers = (0, 1) if not done else (1,)
            assert any(subject.is_state(now(subject), states, number) for number in numbers), at


@given(
    kind=kinds,
    writes=some_writes,
    at=st.integers(1, 40),
    again=st.integers(1, 20),
    power=st.none() | st.randoms(use_true_random=False),
)
def test_a_recovery_that_is_killed_is_finished_by_the_next(
    kind: type[Subject], writes: Writes, at: int, again: int, power: Random | None
) -> None:
    with fresh(kind, 3 * CHUNK) as subject:
        with running_on(Kill(at=at)), suppress(Killed):
            run(subject, [*writes, None], [])
        seen = through(subject)
        host = PowerCut(at=again)
        with running_on(host), suppress(Killed):
            recover(subject.path, "disk")
        if power:
            host.lose(lambda _: bool(power.randrange(2)))
        assert through(subject) == seen
        recover(subject.path, "disk")
        assert now(subject) == seen


# a host that fails

FAULTS = (errno.ENOSPC, errno.EIO, errno.EDQUOT)
MIXED: Writes = [(10 * CHUNK, bytes([1]) * 9000), (0, b"first"), (3 * CHUNK, b"unused"), None]


@pytest.mark.parametrize("code", FAULTS, ids=errno.errorcode.get)
@pytest.mark.parametrize("limit", [2 * CHUNK, 1 << 20], ids=["placed early", "in memory"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_at_any_call_changes_nothing_and_then_it_works(
    kind: type[Subject], limit: int, code: int
) -> None:
    states = states_of(MIXED)
    for at in range(1, calls_of(kind, limit, MIXED) - 1):  # behind them the log is taken away
        with fresh(kind, limit) as subject:
            with running_on(Fault(at=at, code=code)), pytest.raises(FilesystemError) as error:
                run(subject, MIXED, [])
            assert error.value.code == code
            assert subject.is_state(now(subject), states, 0), at
            assert not log_of(subject).exists()
            run(subject, MIXED, [])
            assert subject.is_state(now(subject), states, 1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("from_end", [0, 1], ids=["sync", "unlink"])
def test_a_fault_while_the_log_is_taken_away_leaves_the_new_disk(kind: type[Subject], from_end: int) -> None:
    at = calls_of(kind, 1 << 20, MIXED) - from_end
    with fresh(kind, 1 << 20) as subject:
        with (
            running_on(Fault(at=at, code=errno.EIO)),
            pytest.raises(FilesystemError, match="can't be removed") as error,
        ):
            run(subject, MIXED, [])
        assert error.value.details == "the disk has all that is in it"
        assert through(subject) == now(subject) == states_of(MIXED)[1]
        assert recover(subject.path, "disk") is bool(from_end)
        assert now(subject) == states_of(MIXED)[1]


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_before_the_first_write_to_the_disk_is_told_with_its_reason(kind: type[Subject]) -> None:
    with fresh(kind, 1 << 20) as subject:
        with running_on(Fault(at=1, code=errno.ENOSPC)), pytest.raises(FilesystemError) as error:
            run(subject, MIXED, [])
        assert error.value.code == errno.ENOSPC
        assert (
            error.value.brief
            == f"the redo log '{subject.path.name}.redo' can't be made: No space left on device"
        )


class FullHost(Host):
    """Has no room for another block, but for what is allocated."""

    def posix_fallocate(self, *_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_host_without_room_for_holes_is_found_out_before_the_disk_is_written(subject: Subject) -> None:
    with running_on(FullHost()), pytest.raises(FilesystemError, match="there is no room for 'disk'"):
        run(subject, MIXED, [])
    assert now(subject) == OLD
    assert not log_of(subject).exists()


@dataclass
class BadDisk(Host):
    """One file can't be written any more once so many bytes of it were."""

    path: Path = Path()
    left_bytes: int = 0

    def pwrite(self, fd: int, data: bytes | memoryview, offset: int) -> int:
        if Path(f"/proc/self/fd/{fd}").readlink() == self.path:
            if not self.left_bytes:
                raise OSError(errno.EIO, "Input/output error")
            data = memoryview(data)[: self.left_bytes]
            self.left_bytes -= len(data)
        return super().pwrite(fd, data, offset)


@pytest.mark.parametrize("left_bytes", [512, CHUNK, 5 * CHUNK + 512])
def test_a_disk_that_fails_for_good_is_said_to_be_changed_by_half_and_finished_later(
    subject: Subject, left_bytes: int
) -> None:
    states = states_of(MIXED)
    with (
        running_on(BadDisk(path=subject.path, left_bytes=left_bytes)),
        pytest.raises(FilesystemError, match="'disk' is changed by half") as error,
    ):
        run(subject, MIXED, [])
    assert error.value.hint == "see to the disk of this host, then `bangerbuild apply`"
    assert error.value.code == errno.EIO
    assert through(subject) == states[1]
    assert recover(subject.path, "disk")
    assert now(subject) == states[1]


def test_a_recovery_that_fails_says_so_and_is_done_by_the_next(subject: Subject) -> None:
    with running_on(BadDisk(path=subject.path, left_bytes=CHUNK)), suppress(FilesystemError):
        run(subject, MIXED, [])
    with (
        running_on(BadDisk(path=subject.path, left_bytes=2 * CHUNK)),
        pytest.raises(FilesystemError, match="'disk' is changed by half"),
    ):
        recover(subject.path, "disk")
    assert recover(subject.path, "disk")
    assert now(subject) == states_of(MIXED)[1]


def test_where_too_much_was_there_to_be_kept_in_memory_it_is_not_put_back(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transaction, "RESTORE_LIMIT_BYTES", 0)
    written = (
        calls_of(type(subject), transaction.PENDING_LIMIT_BYTES, MIXED) - 3
    )  # then a sync, and the log goes
    with running_on(Fault(at=written, code=errno.EIO)), pytest.raises(FilesystemError, match="by half"):
        run(subject, MIXED, [])
    assert recover(subject.path, "disk")
    assert now(subject) == states_of(MIXED)[1]


# what is placed before the commit


@dataclass
class Watched(Host):
    """Notes the offsets at which a file is written, and how large its log became."""

    path: Path = Path()
    offsets: list[int] = field(default_factory=list)
    log_bytes: int = 0

    def written(self, fd: int, offset: int, length: int) -> None:
        if Path(f"/proc/self/fd/{fd}").readlink() == self.path:
            self.offsets.append(offset)
        else:
            self.log_bytes = max(self.log_bytes, offset + length)


def test_unused_chunks_are_placed_at_once_and_only_the_others_go_to_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transaction, "PENDING_LIMIT_BYTES", 2 * CHUNK)
    disk = Raw(tmp_path)
    with running_on(host := Watched(path=disk.path)), disk.changing() as blocks:
        blocks.write(3 * CHUNK, bytes(3 * CHUNK))
        assert host.offsets == [3 * CHUNK]  # neighbours together
        assert host.log_bytes == 0
        blocks.write(10 * CHUNK, bytes(3 * CHUNK))
        assert host.offsets == [3 * CHUNK]
        assert 3 * CHUNK < host.log_bytes < 3.2 * CHUNK
        assert (
            blocks.read(0, DISK_BYTES)
            == states_of([(3 * CHUNK, bytes(3 * CHUNK)), (10 * CHUNK, bytes(3 * CHUNK)), None])[1]
        )


def test_what_was_unused_at_first_is_in_use_after_a_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transaction, "PENDING_LIMIT_BYTES", 0)
    disk = Raw(tmp_path)
    with disk.changing() as blocks:
        blocks.write(3 * CHUNK, b"committed")
        blocks.flush()
        blocks.write(3 * CHUNK, b"dropped!!")
    assert now(disk)[3 * CHUNK :].startswith(b"committed")


def test_a_chunk_that_is_set_back_after_it_went_to_the_log_is_set_back(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transaction, "PENDING_LIMIT_BYTES", 0)
    monkeypatch.setattr(overlay, "PENDING_LIMIT_BYTES", 0)
    run(subject, [(0, b"new"), (0, OLD[:3]), None], [])
    assert now(subject) == OLD


def test_what_is_written_as_it_was_makes_no_log(tmp_path: Path) -> None:
    disk = Raw(tmp_path)
    with running_on(host := Host()):
        run(disk, [(0, OLD), None], [])
    assert host.calls == 0


# what a caller may do wrong


def test_a_write_beyond_the_end_is_refused_and_changes_nothing(subject: Subject) -> None:
    with pytest.raises(FilesystemError, match=f"ends before byte {DISK_BYTES + 1}"):
        run(subject, [(DISK_BYTES - 1, b"12"), None], [])
    assert now(subject) == OLD


def test_a_transaction_does_not_write_over_the_log_of_another(tmp_path: Path) -> None:
    disk = Raw(tmp_path)
    log_of(disk).write_bytes(b"somebody's")
    with pytest.raises(FilesystemError, match="can't be made: File exists"):
        run(disk, MIXED, [])
    assert log_of(disk).read_bytes() == b"somebody's"
    assert now(disk) == OLD


def test_a_disk_that_is_not_there_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(FilesystemError, match="No such file"):
        Transaction(tmp_path / "nowhere", "disk")
