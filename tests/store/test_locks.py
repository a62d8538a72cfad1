"""Locks between processes: who waits, who is told, and what a kill leaves."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import BusyError
from bangerbuild.store import locks
from bangerbuild.store.locks import OwnerLocks, StoreLock, is_abandoned
from tests import PROJECT
from tests.need import need

if TYPE_CHECKING:
    from collections.abc import Iterator

HOLD = """\
import sys, pathlib
from bangerbuild.store.locks import StoreLock
with StoreLock(pathlib.Path(sys.argv[1]), 0, "it", shared=sys.argv[2] == "shared"):
    print(flush=True)
    sys.stdin.read()
"""


@contextmanager
def held_by_another(path: Path, *, shared: bool = False) -> Iterator[subprocess.Popen[bytes]]:
    """Another process has the lock until its input ends."""
    command = [sys.executable, "-c", HOLD, str(path), "shared" if shared else "alone"]
    with subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        program.stdout.readline()
        yield program
        program.communicate()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lock"


def test_a_free_lock_is_had_at_once_and_its_file_says_by_whom(path: Path) -> None:
    with StoreLock(path, 0, "it") as lock:
        assert not lock.waited
        assert path.read_text().strip() == str(os.getpid())
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_held_lock_is_refused_with_its_holder(path: Path) -> None:
    with held_by_another(path) as program, pytest.raises(BusyError) as error:
        StoreLock(path, 0, "'vm.web'")
    assert error.value.brief == f"'vm.web' is locked by process {program.pid}"
    assert error.value.hint == "wait for it to end, or wait longer: --lock-timeout SECONDS"


def test_a_refused_lock_leaves_no_descriptor_behind(path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with StoreLock(path, 0, "it"), pytest.raises(BusyError):
        StoreLock(path, 0, "it")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_lock_is_waited_for_as_long_as_is_wanted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: now.append(now.pop() + seconds))
    with StoreLock(path, 0, "it"), pytest.raises(BusyError):
        StoreLock(path, 7, "it")
    assert 7 <= now[0] < 7 + 2 * locks.POLL_SECONDS


def test_who_waited_knows_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with held_by_another(path) as program:
        monkeypatch.setattr(time, "sleep", lambda _: program.communicate())
        with StoreLock(path, 60, "it") as lock:
            assert lock.waited
            assert path.read_text().strip() == str(os.getpid())


def test_a_lock_dies_with_its_holder(path: Path) -> None:
    with held_by_another(path) as program:
        program.send_signal(signal.SIGKILL)
        program.wait()
        with StoreLock(path, 0, "it"):
            pass


def test_a_lock_is_not_inherited_by_programs_that_are_started(path: Path) -> None:
    with StoreLock(path, 0, "it"):
        program = subprocess.Popen([need("sleep", "coreutils"), "60"])
    try:
        with StoreLock(path, 0, "it"):
            pass
    finally:
        program.kill()
        program.wait()


def test_a_shared_lock_is_shared_but_keeps_others_out(path: Path) -> None:
    with held_by_another(path, shared=True), StoreLock(path, 0, "it", shared=True), pytest.raises(BusyError):
        StoreLock(path, 0, "it")
    with StoreLock(path, 0, "it"), pytest.raises(BusyError):
        StoreLock(path, 0, "it", shared=True)


def test_a_directory_can_be_locked_and_nothing_is_written_into_it(tmp_path: Path) -> None:
    with StoreLock(tmp_path, 0, "it"), pytest.raises(BusyError, match="is locked by another process"):
        StoreLock(tmp_path, 0, "it")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_names_nobody_is_locked_by_another_process(path: Path) -> None:
    path.write_text("what is this?\n")
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(BusyError, match="'x' is locked by another process"):
            StoreLock(path, 0, "'x'")


def test_a_lock_that_can_not_be_opened_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        StoreLock(tmp_path / "nowhere" / "lock", 0, "it")


def test_what_nobody_holds_is_abandoned_and_stays_so(tmp_path: Path) -> None:
    assert is_abandoned(tmp_path)
    assert is_abandoned(tmp_path)
    with held_by_another(tmp_path):
        assert not is_abandoned(tmp_path)
    assert is_abandoned(tmp_path)


# owners


def test_owners_are_held_together_and_let_go_together(tmp_path: Path) -> None:
    owners = OwnerLocks(tmp_path, 0)
    assert not owners.take(["vm.web", "image.debian"])
    assert owners.names == {"vm.web", "image.debian"}
    for name in owners.names:
        with pytest.raises(BusyError, match=f"'{name}' is locked by process {os.getpid()}"):
            OwnerLocks(tmp_path, 0).take([name])
    owners.close()
    assert owners.names == frozenset()
    assert not OwnerLocks(tmp_path, 0).take(["vm.web", "image.debian"])


def test_taking_more_keeps_what_is_held(tmp_path: Path) -> None:
    owners = OwnerLocks(tmp_path, 0)
    owners.take(["vm.b"])
    owners.take(["vm.a"])
    owners.take([])
    assert owners.names == {"vm.a", "vm.b"}


def test_where_one_is_not_free_none_is_held(tmp_path: Path) -> None:
    owners, other = OwnerLocks(tmp_path, 0), OwnerLocks(tmp_path, 0)
    owners.take(["vm.a"])
    other.take(["vm.b"])
    with pytest.raises(BusyError, match=r"'vm\.b'"):
        owners.take(["vm.b", "vm.c"])
    assert owners.names == frozenset()
    assert not OwnerLocks(tmp_path, 0).take(["vm.a", "vm.c"])


def test_the_time_to_wait_is_for_all_of_them_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    first, second = OwnerLocks(tmp_path, 0), OwnerLocks(tmp_path, 0)
    first.take(["vm.a"])
    second.take(["vm.b"])

    def sleep(seconds: float) -> None:
        now[0] += seconds
        if now[0] > 6:
            first.close()

    monkeypatch.setattr(time, "sleep", sleep)
    with pytest.raises(BusyError, match=r"'vm\.b'"):
        OwnerLocks(tmp_path, 10).take(["vm.a", "vm.b"])
    assert 10 <= now[0] < 11


def test_who_had_to_wait_for_any_of_them_knows_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = OwnerLocks(tmp_path, 0)
    other.take(["vm.b"])
    monkeypatch.setattr(time, "sleep", lambda _: other.close())
    assert OwnerLocks(tmp_path, 60).take(["vm.a", "vm.b", "vm.c"])


def test_two_that_want_what_the_other_has_do_not_wait_for_each_other_for_ever(tmp_path: Path) -> None:
    """Each lets go before it takes more, and all take in one order."""
    met, got = threading.Barrier(2), list[frozenset[str]]()

    def work(first: str, second: str) -> None:
        owners = OwnerLocks(tmp_path, 60)
        owners.take([first])
        met.wait()
        owners.take([second])
        got.append(owners.names)
        owners.close()

    threads = [threading.Thread(target=work, args=names) for names in (("vm.a", "vm.b"), ("vm.b", "vm.a"))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [{"vm.a", "vm.b"}] * 2


def test_who_shares_a_lock_with_nobody_may_keep_it_alone(path: Path) -> None:
    with StoreLock(path, 0, "it", shared=True) as lock:
        assert lock.try_exclusive()
        with pytest.raises(BusyError):
            StoreLock(path, 0, "it", shared=True)


def test_who_shares_it_with_another_may_not(path: Path) -> None:
    with held_by_another(path, shared=True), StoreLock(path, 0, "it", shared=True) as lock:
        assert not lock.try_exclusive()
