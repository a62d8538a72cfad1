from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from bangerbuild.running import run_directory, spawning
from bangerbuild.running.run_directory import RunDirectory
from bangerbuild.running.spawning import FREE_PORT, Spawned, Start
from tests.need import need
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def start(
    program: str, *arguments: str, console: str = "files", attached: bool = False, **more: str
) -> Start:
    return Start(
        vm="web",
        vmm="qemu",
        program=program,
        argv=[program, *arguments],
        files={"note": "first\n"},
        console=console,
        attached=attached,
        ssh=more.get("ssh", ""),
        ports=[8080],
        root="root.ext4",
    )


@pytest.fixture
def vm(tmp_path: Path) -> Path:
    directory = tmp_path / ("a long name" * 20) / "web"
    directory.mkdir(parents=True)
    (directory / "root.ext4").touch()
    return directory


@pytest.fixture
def spawned_vms() -> Iterator[list[Spawned]]:
    each: list[Spawned] = []
    yield each
    for one in each:
        if one.code() is None:
            os.kill(one.running.pid, 9)
            eventually(lambda one=one: one.code() is not None)  # type: ignore[misc]


def spawn(vm: Path, what: Start, each: list[Spawned]) -> Spawned:
    run = RunDirectory(str(vm))
    lock = run.lock()
    assert lock is not None
    try:
        each.append(spawning.spawn(what, run, str(vm), lock))
    finally:
        os.close(lock)
        run.close()
    return each[-1]


def test_it_runs_in_its_directory_in_a_session_of_its_own(vm: Path, spawned_vms: list[Spawned]) -> None:
    script = "pwd -P; cat run/note; echo trouble >&2; read line; echo got $line; sleep 3600"
    one = spawn(vm, start(need("sh"), "-c", script), spawned_vms)
    log = vm / "run" / "console.log"
    eventually(lambda: log.read_text() == f"{vm}\nfirst\n")
    assert os.getsid(one.running.pid) == one.running.pid
    with (vm / "run" / "console.in").open("w") as typed:
        typed.write("this\n")
    eventually(lambda: log.read_text().endswith("got this\n"))
    assert (vm / "run" / "vmm.log").read_text() == "trouble\n"


def test_it_holds_the_run_lock_and_has_said_who_it_is(vm: Path, spawned_vms: list[Spawned]) -> None:
    one = spawn(vm, start(need("sleep"), "3600", ssh=f"127.0.0.1:{FREE_PORT}"), spawned_vms)
    found = run_directory.running(str(vm))
    assert found is not None
    assert found.is_itself
    assert (found.pid, found.vm, found.vmm, found.ports) == (one.running.pid, "web", "qemu", (8080,))
    os.kill(found.pid, 9)
    eventually(lambda: one.code() == -9)
    assert run_directory.running(str(vm)) is None


def test_the_free_port_is_put_into_every_argument_that_asks_for_it(
    vm: Path, spawned_vms: list[Spawned]
) -> None:
    script = 'echo "$1"; sleep 3600'
    what = start(need("sh"), "-c", script, "sh", f"fwd={FREE_PORT}-22", ssh=f"127.0.0.1:{FREE_PORT}")
    one = spawn(vm, what, spawned_vms)
    port = one.running.ssh.rpartition(":")[2]
    log = vm / "run" / "console.log"
    eventually(lambda: log.read_text() == f"fwd={port}-22\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", int(port)))
    assert int(port) in one.running.ports


def test_a_terminal_is_its_console_where_it_needs_one(vm: Path, spawned_vms: list[Spawned]) -> None:
    script = 'test -t 0 && test -t 1 && echo "a terminal"; read line; echo "got $line"'
    one = spawn(vm, start(need("sh"), "-c", script, console="terminal", attached=True), spawned_vms)
    assert one.console_fd is not None
    assert os.read(one.console_fd, 100) == b"a terminal\n"
    os.write(one.console_fd, b"this\n")
    assert os.read(one.console_fd, 100) == b"got this\n"
    os.close(one.console_fd)


def test_what_can_not_be_executed_is_told(vm: Path, spawned_vms: list[Spawned]) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        spawn(vm, start("/nowhere/qemu"), spawned_vms)
    assert caught.value.filename == "/nowhere/qemu"
    assert run_directory.running(str(vm)) is None


def test_the_next_start_begins_with_an_empty_log(vm: Path, spawned_vms: list[Spawned]) -> None:
    for _ in range(2):
        one = spawn(vm, start(need("sh"), "-c", "echo once"), spawned_vms)
        eventually(lambda one=one: one.code() == 0)  # type: ignore[misc]
    assert (vm / "run" / "console.log").read_text() == "once\n"
