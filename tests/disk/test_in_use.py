from __future__ import annotations

import errno
import fcntl
import itertools
import os
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk import in_use
from bangerbuild.errors import BusyError
from tests import PROJECT
from tests.need import need
from tests.stores import held, opened_by_another

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    path.write_bytes(bytes(1 << 20))
    return path


@pytest.fixture
def read_by_another(disk: Path) -> Iterator[int]:
    with opened_by_another(disk, "rb") as pid:
        yield pid


@pytest.fixture
def written_by_another(disk: Path) -> Iterator[int]:
    with opened_by_another(disk) as pid:
        yield pid


def test_a_disk_that_nobody_has_open_has_no_holder(disk: Path) -> None:
    assert in_use.holder(disk) is None
    assert in_use.writer(disk) is None


def test_a_reader_holds_a_disk_and_is_named(disk: Path, read_by_another: int) -> None:
    holder = in_use.holder(disk)
    assert holder is not None
    assert holder.endswith(f"(process {read_by_another})")


def test_a_reader_writes_nothing(disk: Path, read_by_another: int) -> None:
    assert in_use.writer(disk) is None


def test_a_writer_holds_a_disk_and_is_named(disk: Path, written_by_another: int) -> None:
    for found in (in_use.holder(disk), in_use.writer(disk)):
        assert found is not None
        assert found.endswith(f"(process {written_by_another})")


def test_a_disk_is_free_once_its_holder_is_gone(disk: Path) -> None:
    with held("r+b", disk) as program:
        program.communicate()
    assert in_use.holder(disk) is None


def test_asking_takes_nothing_from_the_one_that_opens_it_next(disk: Path) -> None:
    assert in_use.holder(disk) is None
    with held("r+b", disk) as program:
        program.communicate()
        assert program.returncode == 0


def no_lease(code: int) -> object:
    def refuse(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    return refuse


@pytest.mark.parametrize("code", [errno.EACCES, errno.EINVAL])
def test_where_the_kernel_cannot_say_the_processes_are_searched(
    disk: Path, written_by_another: int, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(fcntl, "fcntl", no_lease(code))
    holder = in_use.holder(disk)
    assert holder is not None
    assert holder.endswith(f"(process {written_by_another})")


@pytest.mark.parametrize("code", [errno.EACCES, errno.EINVAL])
def test_where_the_kernel_cannot_say_our_own_open_file_is_no_holder(
    disk: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(fcntl, "fcntl", no_lease(code))
    assert in_use.holder(disk) is None


def test_a_holder_that_cannot_be_found_is_one_all_the_same(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "fcntl", no_lease(errno.EAGAIN))
    assert in_use.holder(disk) == "another program"


@contextmanager
def loop_device(disk: Path) -> Iterator[str]:
    """A loop device on the disk."""
    losetup = need("losetup", "mount")
    if os.geteuid() != 0:
        pytest.skip("only root can set up a loop device")
    done = subprocess.run([losetup, "--find", "--show", disk], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("no loop device here")
    device = done.stdout.strip()
    try:
        yield device
    finally:
        subprocess.run([losetup, "--detach", device], check=True)


@pytest.mark.root
def test_a_loop_device_holds_a_disk_and_is_named(disk: Path) -> None:
    with loop_device(disk) as device:
        assert in_use.holder(disk) == device
        assert in_use.writer(disk) == device


def test_what_is_no_disk_has_no_holder_and_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert in_use.holder(tmp_path / "fifo") is None
    assert in_use.holder(Path("/dev/tty")) is None


def test_a_disk_that_is_not_there_is_the_callers_mistake(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        in_use.holder(Path(tmp_path / "nowhere"))


# a disk to oneself


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is waited for."""
    monkeypatch.setattr(in_use, "PATIENCE_SECONDS", 0)


def qemu_io(disk: Path) -> subprocess.CompletedProcess[str]:
    """QEMU opens the disk as it does for a VM, writable, and reads from it."""
    command = [need("qemu-io", "qemu-utils"), "-f", "raw", "-c", "read 0 512", str(disk)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@contextmanager
def open_in_qemu(disk: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """QEMU has the disk open."""
    command = [need("qemu-io", "qemu-utils"), "-f", "raw", *options, str(disk)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        program.stdin.write("read 0 512\n")
        program.stdin.flush()
        while "ops/sec" not in program.stdout.readline():
            pass
        yield program
        program.communicate("quit\n")


def test_a_disk_that_nobody_has_open_is_held_and_then_let_go(disk: Path) -> None:
    with in_use.held(disk, "disk"):
        pass
    with in_use.held(disk, "disk"):
        pass


def test_qemu_does_not_start_on_a_disk_that_is_held(disk: Path) -> None:
    with in_use.held(disk, "disk"):
        refused = qemu_io(disk)
    assert refused.returncode
    assert "lock" in refused.stderr
    assert qemu_io(disk).returncode == 0


def test_what_the_holder_itself_opens_and_closes_does_not_let_qemu_in(disk: Path) -> None:
    with in_use.held(disk, "disk"):
        disk.read_bytes()
        with disk.open("r+b") as file:
            file.write(b"ours")
        assert qemu_io(disk).returncode


@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize("options", [(), ("-r",)], ids=["to write", "to read"])
def test_a_disk_that_qemu_has_open_is_not_held(disk: Path, options: tuple[str, ...]) -> None:
    with (
        open_in_qemu(disk, *options) as program,
        pytest.raises(BusyError, match=rf"'disk' is in use by qemu-io \(process {program.pid}\) now"),
        in_use.held(disk, "disk"),
    ):
        pytest.fail("it was held")


@pytest.mark.usefixtures("patience")
def test_qemus_locks_are_respected_where_the_kernel_gives_no_lease(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_use, "_refusal", lambda *_: None)
    with open_in_qemu(disk), pytest.raises(BusyError), in_use.held(disk, "disk"):
        pytest.fail("it was held")


@pytest.mark.usefixtures("patience")
def test_two_of_us_do_not_hold_one_disk(disk: Path) -> None:
    with in_use.held(disk, "disk"), pytest.raises(BusyError), in_use.held(disk, "disk"):
        pytest.fail("it was held twice")


def test_one_who_only_looks_for_a_moment_is_waited_for(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with held("rb", disk) as program:
        monkeypatch.setattr(time, "sleep", lambda _: program.communicate())
        with in_use.held(disk, "disk"):
            assert program.returncode == 0


def test_who_asks_whether_a_disk_is_in_use_waits_for_one_who_only_looks_for_a_moment(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with held("rb", disk) as program:
        monkeypatch.setattr(time, "sleep", lambda _: program.communicate())
        assert in_use.holder(disk) is None
        assert program.returncode == 0


def test_who_asks_whether_a_disk_is_in_use_waits_for_no_writer(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("waited"))
    with held("r+b", disk) as program:
        assert str(program.pid) in str(in_use.holder(disk))


def test_a_reader_that_stays_is_not_waited_for_for_ever(
    disk: Path, read_by_another: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = itertools.count()
    monkeypatch.setattr(time, "monotonic", lambda: next(now) / 10)
    monkeypatch.setattr(time, "sleep", lambda _: None)
    with (
        pytest.raises(BusyError, match=rf"\(process {read_by_another}\) now") as error,
        in_use.held(disk, "disk"),
    ):
        pytest.fail("it was held")
    assert 10 * in_use.PATIENCE_SECONDS < next(now) < 10 * in_use.PATIENCE_SECONDS + 5
    assert error.value.hint == "shut the VM down first"


def test_who_opens_it_during_the_change_is_found_when_all_is_done(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as stack:
        stack.enter_context(
            pytest.raises(BusyError, match=r"was opened by python\S* \(process .* it was changed")
        )
        stack.enter_context(in_use.held(disk, "disk"))
        monkeypatch.setattr(in_use, "PATIENCE_SECONDS", 0)
        program = held("r+b", disk)
    program.communicate()


def test_an_error_inside_comes_out_as_it_is(disk: Path) -> None:
    with pytest.raises(ZeroDivisionError), in_use.held(disk, "disk"):
        raise ZeroDivisionError
    assert in_use.holder(disk) is None


@pytest.mark.usefixtures("patience")
@pytest.mark.root
def test_a_disk_of_a_loop_device_is_not_held(disk: Path) -> None:
    with loop_device(disk) as device, pytest.raises(BusyError, match=device), in_use.held(disk, "disk"):
        pytest.fail("it was held")


def test_a_disk_that_may_not_be_written_is_an_os_error(disk: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), in_use.held(tmp_path / "nowhere", "disk"):
        pytest.fail("it was held")
    with pytest.raises(IsADirectoryError), in_use.held(tmp_path, "disk"):
        pytest.fail("it was held")


OPENED_WHILE_ASKED = """\
import contextlib, fcntl, os, pathlib, sys
from bangerbuild.disk import in_use

real, opened = fcntl.fcntl, []

def slowly(fd, command, argument):
    result = real(fd, command, argument)
    if command == fcntl.F_SETLEASE and argument == fcntl.F_WRLCK:
        with contextlib.suppress(BlockingIOError):
            os.open(sys.argv[1], os.O_RDONLY | os.O_NONBLOCK)
        opened.append(fd)
    return result

fcntl.fcntl = slowly
in_use.holder(pathlib.Path(sys.argv[1]))
print(len(opened))
"""


def test_asking_does_not_end_us_when_somebody_opens_the_disk_at_that_moment(disk: Path) -> None:
    """The kernel tells the holder of a lease with a signal, which ends a program by default."""
    done = subprocess.run(
        [sys.executable, "-c", OPENED_WHILE_ASKED, disk],
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")


def test_a_lease_shows_who_waits_for_the_disk_and_lets_them_go_on(disk: Path) -> None:
    with in_use.Lease(os.open(disk, os.O_RDONLY)) as lease:
        assert lease.opener() is None
        program = subprocess.Popen([need("sh", "dash"), "-c", 'printf x 1<>"$0"', disk])
        while lease.opener() is None:
            assert program.poll() is None
            time.sleep(0.01)
    assert program.wait() == 0
    assert disk.read_bytes()[:1] == b"x"


def test_a_lease_on_a_disk_that_another_program_has_open_names_it(
    disk: Path, written_by_another: int
) -> None:
    with in_use.Lease(os.open(disk, os.O_RDONLY)) as lease:
        assert str(lease.opener()).endswith(f"(process {written_by_another})")
        assert lease.status.st_ino == disk.stat().st_ino
