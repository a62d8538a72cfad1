from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from bangerbuild.running import power, run_directory, stopping
from bangerbuild.running.run_directory import RunDirectory
from bangerbuild.running.stopping import Stopping
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

VMM = """
import json, os, signal, socket, sys
obeys, = sys.argv[1:]
if obeys not in ("SIGTERM", "power-down"):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
one = socket.socket(socket.AF_UNIX)
one.bind("run/api.sock")
one.listen(4)
open("run/ready", "w").close()
while True:
    with one.accept()[0] as caller, caller.makefile("rwb") as lines:
        def say(document):
            lines.write(json.dumps(document).encode() + b"\\n")
            lines.flush()
        say({"QMP": {}})
        for line in lines:
            say({"return": {}})
            if b"system_powerdown" in line:
                open("run/pressed", "a").write("once\\n")
                if obeys == "power-down":
                    sys.exit(0)
"""


@pytest.fixture
def vms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Starter]:
    monkeypatch.setattr(stopping, "TERM_SECONDS", 0.3)
    starter = Starter(tmp_path)
    yield starter
    for process in starter.processes:
        process.kill()
        process.wait()


class Starter:
    """Starts processes that behave like a VMM."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, obeys: str) -> Stopping:
        directory = self.top / name
        directory.mkdir()
        run = RunDirectory(str(directory))
        lock = run.lock()
        assert lock is not None
        command = [sys.executable, "-c", VMM, obeys]
        process = subprocess.Popen(command, cwd=directory, pass_fds=[lock])
        os.close(lock)
        self.processes.append(process)
        values = {
            "vm": name,
            "vmm": "qemu",
            "pid": process.pid,
            "ticks": run_directory.started_ticks(process.pid),
            "boot": run_directory.boot_id(),
        }
        run.write("state", run_directory.state_text(values.items()))
        run.close()
        eventually((directory / "run" / "ready").exists)
        found = run_directory.running(str(directory))
        assert found is not None
        return Stopping(str(directory), found)


def test_a_guest_that_powers_down_needs_no_more(vms: Starter) -> None:
    vm = vms.start("web", "power-down")
    stopping.stop([vm], 60)
    assert vm.has_ended
    assert vm.tried == ["power-down"]
    assert vms.processes[0].wait() == 0


def test_what_does_not_power_down_is_asked_to_end(vms: Starter) -> None:
    vm = vms.start("web", "SIGTERM")
    stopping.stop([vm], 0.2)
    assert vm.tried == ["power-down", "SIGTERM"]
    assert vms.processes[0].wait() == -signal.SIGTERM


def test_what_does_not_end_is_killed(vms: Starter) -> None:
    vm = vms.start("web", "nothing")
    stopping.stop([vm], 0.2)
    assert vm.tried == ["power-down", "SIGTERM", "SIGKILL"]
    assert vms.processes[0].wait() == -signal.SIGKILL


def test_a_vmm_that_hangs_is_killed_too(vms: Starter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(power, "SECONDS", 0.1)
    vm = vms.start("web", "power-down")
    os.kill(vm.running.pid, signal.SIGSTOP)
    stopping.stop([vm], 60)
    assert vm.tried == ["SIGTERM", "SIGKILL"]
    assert "takes no power-down" in vm.notes[0]


def test_killing_asks_nobody(vms: Starter) -> None:
    vm = vms.start("web", "power-down")
    stopping.stop([vm], 60, at_once=True)
    assert vm.tried == ["SIGKILL"]
    assert not (vms.top / "web" / "run" / "pressed").exists()


def test_several_are_stopped_at_the_same_time_each_by_what_it_takes(vms: Starter) -> None:
    each = [
        vms.start(name, obeys) for name, obeys in (("a", "power-down"), ("b", "SIGTERM"), ("c", "nothing"))
    ]
    stopping.stop(each, 0.5)
    assert [vm.tried[-1] for vm in each] == ["power-down", "SIGTERM", "SIGKILL"]


def test_the_button_is_pressed_again_for_a_guest_that_was_still_starting(
    vms: Starter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stopping, "AGAIN_SECONDS", 0.05)
    vm = vms.start("web", "SIGTERM")
    stopping.stop([vm], 1.0)
    assert len((vms.top / "web" / "run" / "pressed").read_text().splitlines()) > 1


def test_a_process_that_only_has_the_number_is_left_alone(vms: Starter) -> None:
    vm = vms.start("web", "power-down")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as innocent:
        vm.running.pid = innocent.pid
        vm.signal(signal.SIGKILL)
        assert innocent.poll() is None
        innocent.communicate(b"\n")
        assert innocent.returncode == 0
    assert vm.tried == ["SIGKILL"]
