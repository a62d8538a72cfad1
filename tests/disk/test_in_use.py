from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk import in_use
from tests.need import need

if TYPE_CHECKING:
    from collections.abc import Iterator

HOLD = "import sys\nfile = open(sys.argv[1], sys.argv[2])\nprint(flush=True)\nsys.stdin.read()"


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    path = tmp_path / "disk"
    path.write_bytes(bytes(1 << 20))
    return path


def held(disk: Path, mode: str) -> subprocess.Popen[bytes]:
    """Another program that has the disk open from now on, until its input ends."""
    program = subprocess.Popen(
        [sys.executable, "-c", HOLD, disk, mode], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert program.stdout is not None
    program.stdout.readline()
    return program


@pytest.fixture
def read_by_another(disk: Path) -> Iterator[int]:
    with held(disk, "rb") as program:
        yield program.pid
        program.communicate()


@pytest.fixture
def written_by_another(disk: Path) -> Iterator[int]:
    with held(disk, "r+b") as program:
        yield program.pid
        program.communicate()


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
    with held(disk, "r+b") as program:
        program.communicate()
    assert in_use.holder(disk) is None


def test_asking_takes_nothing_from_the_one_that_opens_it_next(disk: Path) -> None:
    assert in_use.holder(disk) is None
    with held(disk, "r+b") as program:
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


@pytest.mark.root
def test_a_loop_device_holds_a_disk_and_is_named(disk: Path) -> None:
    losetup = need("losetup", "mount")
    if os.geteuid() != 0:
        pytest.skip("only root can set up a loop device")
    done = subprocess.run([losetup, "--find", "--show", disk], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("no loop device here")
    device = done.stdout.strip()
    try:
        assert in_use.holder(disk) == device
        assert in_use.writer(disk) == device
    finally:
        subprocess.run([losetup, "--detach", device], check=True)


def test_a_disk_that_is_not_there_is_the_callers_mistake(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        in_use.holder(Path(tmp_path / "nowhere"))
