from __future__ import annotations

import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from bangerbuild.running import run_directory
from bangerbuild.running.run_directory import RunDirectory, Running, UnusableError
from tests.need import need
from tests.waiting import eventually

if TYPE_CHECKING:
    from pathlib import Path


def opened(directory: Path) -> RunDirectory:
    return RunDirectory(str(directory))


def sleeping_with(fd: int) -> subprocess.Popen[bytes]:
    """A process that has inherited a descriptor, and outlives its maker's."""
    return subprocess.Popen([need("sleep"), "3600"], pass_fds=[fd])


def state_of(process: subprocess.Popen[bytes], **more: str) -> str:
    ticks = run_directory.started_ticks(process.pid)
    values = {"pid": process.pid, "ticks": ticks, "boot": run_directory.boot_id(), **more}
    return run_directory.state_text(values.items())


def test_it_is_the_users_alone(tmp_path: Path) -> None:
    run = opened(tmp_path)
    assert run.is_new
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700
    run.close()
    (tmp_path / "run").chmod(0o755)
    run = opened(tmp_path)
    assert not run.is_new
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o700
    run.close()


@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_lies_in_its_place_is_named_and_kept(tmp_path: Path, kind: str) -> None:
    (tmp_path / "elsewhere").mkdir()
    if kind == "file":
        (tmp_path / "run").write_text("mine")
    else:
        (tmp_path / "run").symlink_to("elsewhere")
    with pytest.raises(UnusableError) as caught:
        opened(tmp_path)
    assert caught.value.brief == f"'{tmp_path}/run' is no directory, and was not made here"
    assert os.path.lexists(tmp_path / "run")


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="gives a directory to another user")
def test_somebody_elses_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir(0o777)
    os.chown(tmp_path / "run", 65534, 65534)
    with pytest.raises(UnusableError, match="belongs to another user"):
        opened(tmp_path)


def test_the_lock_is_its_holders_alone_and_ends_with_the_last_of_them(tmp_path: Path) -> None:
    run, other = opened(tmp_path), opened(tmp_path)
    lock = run.lock()
    assert lock is not None
    assert other.lock() is None
    process = sleeping_with(lock)
    os.close(lock)
    assert other.lock() is None
    assert run_directory.is_held(str(tmp_path))
    process.kill()
    process.wait()
    assert not run_directory.is_held(str(tmp_path))
    again = other.lock()
    assert again is not None
    os.close(again)


def test_who_asks_takes_no_lock(tmp_path: Path) -> None:
    run = opened(tmp_path)
    lock = run.lock()
    assert lock is not None
    os.close(lock)
    for _ in range(3):
        assert run_directory.running(str(tmp_path)) is None
    again = run.lock()
    assert again is not None
    os.close(again)


def test_a_vm_runs_as_long_as_its_process_holds_the_lock(tmp_path: Path) -> None:
    run = opened(tmp_path)
    lock = run.lock()
    assert lock is not None
    process = sleeping_with(lock)
    os.close(lock)
    run.write("state", state_of(process, vm="web", vmm="qemu", ssh="127.0.0.1:22000", ports="22000 8080"))
    found = run_directory.running(str(tmp_path))
    assert found is not None
    assert (found.vm, found.vmm, found.pid, found.ssh) == ("web", "qemu", process.pid, "127.0.0.1:22000")
    assert found.ports == (22000, 8080)
    process.kill()
    process.wait()
    assert run_directory.running(str(tmp_path)) is None
    assert (tmp_path / "run" / "state").exists()


def test_a_process_that_only_has_the_number_is_not_taken_for_it(tmp_path: Path) -> None:
    """The VMM's own child may have the lock still: it is found by that."""
    run = opened(tmp_path)
    lock = run.lock()
    assert lock is not None
    holder = sleeping_with(lock)
    os.close(lock)
    innocent = subprocess.Popen([need("sleep"), "3600"])
    values = {"pid": innocent.pid, "ticks": 1, "boot": run_directory.boot_id(), "vm": "web"}
    run.write("state", run_directory.state_text(values.items()))
    found = run_directory.running(str(tmp_path))
    assert found is not None
    assert found.pid == holder.pid
    assert found.is_itself
    for process in (innocent, holder):
        process.kill()
        process.wait()


def test_a_state_of_before_the_host_was_restarted_names_nobody() -> None:
    ticks = run_directory.started_ticks(os.getpid())
    values = {"pid": str(os.getpid()), "ticks": str(ticks), "boot": "another"}
    assert not Running(values).is_itself
    assert Running(values | {"boot": run_directory.boot_id()}).is_itself


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "pid\n",
        "pid x\nticks y\nsince z\n",
        "pid 99999999999999999999\n",
        "\xff\x00 a\n",
        "a" * 99999,
        f"ports {'9' * 5000} \u00b2\n",
    ],
)
def test_a_damaged_state_is_a_vm_of_which_nothing_is_known(tmp_path: Path, text: str) -> None:
    run = opened(tmp_path)
    lock = run.lock()
    assert lock is not None
    run.write("state", text)
    found = run_directory.running(str(tmp_path))
    assert found is not None
    assert not found.is_itself
    os.close(lock)
    assert run_directory.running(str(tmp_path)) is None


def test_what_the_last_start_left_goes_but_for_the_lock(tmp_path: Path) -> None:
    run = opened(tmp_path)
    lock = run.lock()
    assert lock is not None
    for name in ("console.log", "api.sock", "known_hosts"):
        run.write(name, "old")
    run.write("state", "root 1:2\n")
    run.clear("1:2")
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["known_hosts", "lock"]
    run.write("state", "root 1:2\n")
    run.clear("1:3")
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["lock"]
    os.close(lock)


def test_a_zombie_does_not_run(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    eventually(lambda: not run_directory.started_ticks(process.pid))
    process.wait()
    assert run_directory.started_ticks(os.getpid())


def test_no_directory_is_no_vm_that_runs(tmp_path: Path) -> None:
    assert run_directory.running(str(tmp_path)) is None
    assert run_directory.running(str(tmp_path / "gone")) is None
    assert not run_directory.is_held(str(tmp_path))
