"""What a program has started ends with it and with its caller, also what has left its group and session."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import ToolError
from bangerbuild.host import process, supervisor
from bangerbuild.host.process import Command, run
from tests import PROJECT
from tests.waiting import assert_ends

if TYPE_CHECKING:
    from pathlib import Path

FOREVER = "100000"
DAEMON = "setsid sh -c 'echo $$ >{fifo}; exec sleep 100000' >/dev/null 2>&1 &"
"""A process in a session of its own, whose parent ends at once."""


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "fifo")
    return tmp_path / "fifo"


def supervised(script: str) -> Command:
    return Command(("sh", "-c", script), runs_others=True)


def test_output_and_exit_code_are_the_programs() -> None:
    assert run(supervised("echo a; echo b >&2")).output == "a\nb\n"
    with pytest.raises(ToolError, match="failed with exit code 3"):
        run(supervised("exit 3"))


@pytest.mark.parametrize("name", ["SEGV", "KILL", "TERM", "PIPE"])
def test_a_signal_that_ends_the_program_is_told(name: str) -> None:
    with pytest.raises(ToolError, match=f"was ended by SIG{name}"):
        run(supervised(f"kill -{name} $$"))


def test_nothing_is_added_to_the_programs_environment() -> None:
    printed = run(Command(("env",), env={"A": "1"}, runs_others=True)).output
    assert sorted(printed.splitlines()) == ["A=1", "LC_ALL=C", f"PATH={process.SEARCH_PATH}"]


def test_no_signal_stays_blocked_in_the_program() -> None:
    assert "SigBlk:\t0000000000000000" in run(supervised("cat /proc/self/status")).output


def test_what_is_left_in_the_background_ends_with_the_program(fifo: Path) -> None:
    pid = int(run(supervised(f"{DAEMON.format(fifo=fifo)} cat {fifo}")).output)
    assert_ends(pid)


def test_what_holds_the_output_open_ends_too() -> None:
    assert run(supervised(f"setsid sleep {FOREVER} & echo begun")).output == "begun\n"


def test_a_program_that_takes_too_long_ends_with_all_that_it_started(fifo: Path) -> None:
    script = f"{DAEMON.format(fifo=fifo)} cat {fifo}; exec sleep {FOREVER}"
    with pytest.raises(ToolError, match="printed more than 1 byte"):
        run(Command(("sh", "-c", script), runs_others=True, output_bytes=1))
    assert not process.RUNNING


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_all_of_it_ends_with_the_caller(fifo: Path, number: signal.Signals) -> None:
    script = f"{DAEMON.format(fifo=fifo)} exec sleep {FOREVER}"
    code = (
        "from bangerbuild.host.process import Command, run\n"
        f"run(Command(('sh', '-c', {script!r}), runs_others=True))"
    )
    caller = subprocess.Popen(
        [sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(PROJECT)}, stderr=subprocess.DEVNULL
    )
    pid = int(fifo.read_text())
    caller.send_signal(number)
    caller.wait()
    assert_ends(pid)


def test_without_its_caller_nothing_is_started(tmp_path: Path) -> None:
    argv = [
        sys.executable,
        "-I",
        "-S",
        supervisor.__file__,
        str(os.getpid() + 1),
        "/usr/bin/touch",
        str(tmp_path / "a"),
    ]
    done = subprocess.run(argv, check=False)
    assert done.returncode == -signal.SIGTERM
    assert not (tmp_path / "a").exists()
