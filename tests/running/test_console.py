"""The relay between a console and a terminal, each of which is a pseudo-terminal or a pipe of the test's."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import termios
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from bangerbuild.running import console
from bangerbuild.running.console import Keys, Left, LoggedConsole, Relay, TerminalConsole
from tests.need import need
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.mark.parametrize(
    ("typed", "sent", "asked"),
    [
        (b"ls\r", b"ls\r", None),
        (b"a\x01xb", b"a", Left.QUIT),
        (b"\x01X", b"", Left.QUIT),
        (b"\x01d", b"", Left.DETACHED),
        (b"\x01\x01", b"\x01", None),
        (b"\x01c", b"\x01c", None),
        (b"\x03\x1a", b"\x03\x1a", None),
    ],
)
def test_ctrl_a_begins_a_command_and_all_else_is_the_guests(
    typed: bytes, sent: bytes, asked: Left | None
) -> None:
    keys = Keys()
    assert (keys.typed(typed), keys.asked) == (sent, asked)


def test_a_command_may_come_in_two_pieces() -> None:
    keys = Keys()
    assert keys.typed(b"a\x01") == b"a"
    assert keys.typed(b"x") == b""
    assert keys.asked is Left.QUIT


def test_a_vm_that_needs_us_can_not_be_left() -> None:
    keys = Keys(can_detach=False)
    assert (keys.typed(b"\x01d"), keys.asked) == (b"\x01d", None)


@dataclass
class Machine:
    """A process in the place of a VMM, and a relay in a thread."""

    process: subprocess.Popen[bytes]
    relay: Relay
    left: list[Left] = field(default_factory=list)
    input_fds: tuple[int, int] = field(default_factory=os.pipe)
    output_fds: tuple[int, int] = field(default_factory=os.pipe)

    def run(self) -> threading.Thread:
        thread = threading.Thread(
            target=lambda: self.left.append(self.relay.run(self.input_fds[0], self.output_fds[1]))
        )
        thread.start()
        return thread

    def type(self, data: bytes) -> None:
        os.write(self.input_fds[1], data)

    def printed(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            data += os.read(self.output_fds[0], count - len(data))
        return data


@pytest.fixture
def logged(tmp_path: Path) -> Iterator[Machine]:
    """A VMM with files for a console, that prints what is typed."""
    os.mkfifo(tmp_path / "in")
    typed = os.open(tmp_path / "in", os.O_RDWR)
    log = os.open(tmp_path / "log", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    process = subprocess.Popen([need("cat")], stdin=typed, stdout=log)
    relay = Relay(
        LoggedConsole(os.open(tmp_path / "in", os.O_WRONLY), os.open(tmp_path / "log", os.O_RDONLY)),
        os.pidfd_open(process.pid),
    )
    yield Machine(process, relay)
    process.kill()
    process.wait()


def test_what_is_typed_comes_to_the_guest_and_what_it_prints_to_us(logged: Machine) -> None:
    thread = logged.run()
    logged.type(b"hello\n")
    assert logged.printed(6) == b"hello\n"
    logged.type(b"\x01d")
    thread.join()
    assert logged.left == [Left.DETACHED]
    assert logged.process.poll() is None


def test_all_that_was_printed_is_shown_before_the_end(logged: Machine, tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"x" * 50_000)
    logged.process.kill()
    logged.process.wait()
    thread = logged.run()
    assert logged.printed(50_000) == b"x" * 50_000
    thread.join()
    assert logged.left == [Left.ENDED]


def test_the_end_of_what_is_typed_is_not_the_end(logged: Machine) -> None:
    thread = logged.run()
    os.close(logged.input_fds[1])
    logged.process.kill()
    logged.process.wait()
    thread.join()
    assert logged.left == [Left.ENDED]


def test_a_reader_that_is_gone_does_not_end_the_vm(logged: Machine) -> None:
    thread = logged.run()
    os.close(logged.output_fds[0])
    logged.type(b"nobody reads this\n")
    logged.type(b"\x01x")
    thread.join()
    assert logged.left == [Left.QUIT]


def test_a_guest_that_does_not_read_keeps_nobody_from_leaving(logged: Machine) -> None:
    os.kill(logged.process.pid, signal.SIGSTOP)
    thread = logged.run()
    logged.type(b"y" * 50_000)  # less than is kept for it, and as much as it takes a while to read
    logged.type(b"\x01d")
    thread.join()
    assert logged.left == [Left.DETACHED]


def test_a_terminal_of_ours_is_logged_by_us(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    log = os.open(tmp_path / "log", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    process = subprocess.Popen([need("sh"), "-c", "echo begun; read x"], stdin=theirs, stdout=theirs)
    os.close(theirs)
    machine = Machine(
        process, Relay(TerminalConsole(ours, log), os.pidfd_open(process.pid), can_detach=False)
    )
    thread = machine.run()
    assert machine.printed(7) == b"begun\r\n"
    machine.type(b"\n")
    process.wait()
    thread.join()
    assert machine.left == [Left.ENDED]
    assert (tmp_path / "log").read_bytes().startswith(b"begun\r\n")


SCRIPT = """
import os, sys, time
from bangerbuild.running.console import raw_terminal
with raw_terminal(0) as has_input:
    print("raw" if has_input else "none", flush=True)
    os.read(0, 1)
    {last}
"""


@pytest.mark.parametrize("last", ["pass", "raise KeyboardInterrupt", "raise SystemExit(3)"])
def test_the_terminal_is_as_before_whatever_happened(last: str) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-c", SCRIPT.format(last=last)])  # noqa: S606  # no shell is wanted
    before = termios.tcgetattr(terminal)
    said = b""
    while b"raw" not in said:
        said += os.read(terminal, 100)
    assert not termios.tcgetattr(terminal)[3] & termios.ICANON
    os.write(terminal, b"\x03")  # a byte for the guest now, and no signal
    eventually(lambda: termios.tcgetattr(terminal)[3] & termios.ICANON)
    assert termios.tcgetattr(terminal) == before
    os.close(terminal)
    os.waitpid(pid, 0)


def test_what_is_no_terminal_is_read_as_it_is() -> None:
    reading, writing = os.pipe()
    with console.raw_terminal(reading) as has_input:
        assert has_input
    os.close(reading)
    os.close(writing)


def test_the_end_of_a_log_controls_no_terminal(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"old\r\n" * 10_000 + b"\x1b[2Jnew\xff\r\n\r\n")
    lines = console.tail(str(log))
    assert len(lines) == console.TAIL_LINES
    assert lines[-1] == "\\x1b[2Jnew\ufffd"
    assert console.tail(str(tmp_path / "none")) == ()


def test_a_panic_is_found_though_much_follows_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"[ 1.0] Kernel panic - not syncing: no init\r\n" + b"[ 1.0] trace\r\n" * 100)
    assert console.has_panicked(str(log))
    log.write_bytes(b"all is well\n")
    assert not console.has_panicked(str(log))
    assert not console.has_panicked(str(tmp_path / "none"))
