"""A guest's console on our terminal, and the end of what was printed on it."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
import tty
from abc import ABC, abstractmethod
from enum import Enum
from typing import TYPE_CHECKING

from typing_extensions import override

from bangerbuild.errors import printable

if TYPE_CHECKING:
    from collections.abc import Iterator

ESCAPE = 0x01
"""Ctrl-A."""
PIECE_BYTES = 1 << 16
MOST_PENDING_BYTES = 1 << 16
"""How much of what is typed is kept for a guest that does not read."""
TAIL_BYTES = 1 << 14
TAIL_LINES = 12
POLL_SECONDS = 0.02
"""How often a log is looked into."""
PANIC = b"Kernel panic - not syncing"
HELP = (
    "Ctrl-A X ends the VM, Ctrl-A D leaves it running in the background (under QEMU), "
    "Ctrl-A Ctrl-A is Ctrl-A, Ctrl-A H shows this"
)


class Left(Enum):
    """Why a console is no longer on our terminal."""

    ENDED = "the VM has ended"
    QUIT = "the user ends it"
    DETACHED = "the user leaves it running"


class Keys:
    """What is typed, with the commands taken out."""

    def __init__(self, *, can_detach: bool = True) -> None:
        self._can_detach = can_detach
        self._is_escaped = False
        self.asked: Left | None = None
        self.wants_help = False

    def typed(self, data: bytes) -> bytes:
        """What of it goes to the guest; nothing after a command that leaves the console."""
        sent = bytearray()
        for byte in data:
            if self._is_escaped:
                self._is_escaped = False
                self._command(byte, sent)
                if self.asked:
                    break
            elif byte == ESCAPE:
                self._is_escaped = True
            else:
                sent.append(byte)
        return bytes(sent)

    def _command(self, byte: int, sent: bytearray) -> None:
        match chr(byte).lower():
            case "x":
                self.asked = Left.QUIT
            case "d" if self._can_detach:
                self.asked = Left.DETACHED
            case "h" | "?":
                self.wants_help = True
            case "\x01":
                sent.append(ESCAPE)
            case _:
                sent += bytes((ESCAPE, byte))


@contextlib.contextmanager
def raw_terminal(fd: int) -> Iterator[bool]:
    """Have every key go to the guest, if this is a terminal that is ours to read; whether there is input.

    The terminal's state is as before at the end, whatever happened.
    """
    if not os.isatty(fd):
        yield True
        return
    if os.tcgetpgrp(fd) != os.getpgrp():  # in the background, a read would stop us
        yield False
        return
    before = termios.tcgetattr(fd)
    try:
        tty.setraw(fd)
        yield True
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, before)


class Console(ABC):
    """A guest's console: what it prints can be read, and what is typed be written.

    Args:
        typed_fd: what is typed goes there.
        log_fd: the log of what is printed.
    """

    source_fd: int | None
    """What can be waited for; None: what is printed has to be looked for from time to time."""

    def __init__(self, typed_fd: int, log_fd: int) -> None:
        self.typed_fd = typed_fd
        self._log_fd = log_fd
        os.set_blocking(typed_fd, False)

    @abstractmethod
    def read(self) -> bytes:
        """What was printed since the last time; empty: nothing yet, or nothing any more."""


class LoggedConsole(Console):
    """One that the VMM logs: what is printed is read from the log."""

    source_fd = None

    @override
    def read(self) -> bytes:
        return os.read(self._log_fd, PIECE_BYTES)


class TerminalConsole(Console):
    """One at the other end of a terminal of ours: the log is ours to write."""

    def __init__(self, typed_fd: int, log_fd: int) -> None:
        super().__init__(typed_fd, log_fd)
        self.source_fd = typed_fd

    @override
    def read(self) -> bytes:
        try:
            data = os.read(self.typed_fd, PIECE_BYTES)
        except BlockingIOError:
            return b""
        except OSError:  # nobody has the other end
            self.source_fd = None
            return b""
        os.write(self._log_fd, data)
        return data


class Relay:
    """Passes bytes between a guest's console and our standard streams.

    Args:
        console: the guest's.
        process_fd: a pidfd of the VMM.
        can_detach: whether the VM can do without us.
    """

    def __init__(self, console: Console, process_fd: int, *, can_detach: bool = True) -> None:
        self._console = console
        self._process_fd = process_fd
        self._keys = Keys(can_detach=can_detach)
        self._pending = b""
        self._can_print = True

    def run(self, input_fd: int | None, output_fd: int) -> Left:
        """Until the VM ends, or the user wants to leave it."""
        while True:
            ready = self._waited(input_fd)
            self._print(self._console.read(), output_fd)
            self._send()
            if input_fd in ready and input_fd is not None and not self._typed(input_fd, output_fd):
                input_fd = None
            if self._keys.asked:
                return self._keys.asked
            if self._process_fd in ready:
                while data := self._console.read():
                    self._print(data, output_fd)
                return Left.ENDED

    def _waited(self, input_fd: int | None) -> list[int]:
        """Wait until there is something to do; the descriptors that have something to be read."""
        source = self._console.source_fd
        reading = [self._process_fd, *([] if source is None else [source])]
        if input_fd is not None and len(self._pending) < MOST_PENDING_BYTES:
            reading.append(input_fd)
        writing = [self._console.typed_fd] if self._pending else []
        return select.select(reading, writing, [], POLL_SECONDS if source is None else None)[0]

    def _print(self, data: bytes, output_fd: int) -> None:
        while data and self._can_print:
            try:
                data = data[os.write(output_fd, data) :]
            except OSError:  # nobody reads it any more; the VM goes on
                self._can_print = False

    def _typed(self, input_fd: int, output_fd: int) -> bool:
        """Take what is typed; False once there is no more of it."""
        try:
            data = os.read(input_fd, 4096)
        except OSError:
            return False
        self._pending += self._keys.typed(data)
        if self._keys.wants_help:
            self._keys.wants_help = False
            self._print(f"\r\n{HELP}\r\n".encode(), output_fd)
        return bool(data)

    def _send(self) -> None:
        try:
            if self._pending:
                self._pending = self._pending[os.write(self._console.typed_fd, self._pending) :]
        except BlockingIOError:
            return
        except OSError:
            self._pending = b""


def shown(console: Console, process_fd: int, *, can_detach: bool) -> Left:
    """Put a console on our standard streams."""
    sys.stdout.flush()
    with raw_terminal(0) as has_input:
        return Relay(console, process_fd, can_detach=can_detach).run(0 if has_input else None, 1)


def has_panicked(path: str) -> bool:
    """Whether a log ends in a guest's kernel that has given up."""
    return PANIC in _end(path)


def _end(path: str) -> bytes:
    try:
        with open(path, "rb") as file:  # noqa: PTH123  # beside the descriptors of this module
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            return file.read(TAIL_BYTES)
    except OSError:
        return b""


def tail(path: str) -> tuple[str, ...]:
    """The last lines of a log, without what would control a terminal; none where there is no log."""
    text = _end(path).decode("utf-8", "replace")
    lines = (printable(line.rstrip("\r")) for line in text.split("\n"))
    return tuple([line for line in lines if line.strip()][-TAIL_LINES:])
