"""Waiting until somebody can log in to a VM: its sshd answers, or its console shows that it has come up."""

from __future__ import annotations

import contextlib
import re
import socket
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    Check = Callable[[], bool]

CONNECT_SECONDS = 2.0
POLL_SECONDS = 0.1
PIECE_BYTES = 1 << 16
KEPT_BYTES = 1 << 12
"""Of the console: no line that counts is longer."""
PROMPT = re.compile(rb"(?:^|\n)[^\n]{0,200}login: *$|(?:^|\n)[^\n]{0,200}[#$] $", re.MULTILINE)
"""getty's, or a shell's."""
INIT_PRINTS = re.compile(
    rb"Welcome to .|OpenRC \S+ is starting|init started: BusyBox|INIT: version |"
    rb"Please press Enter to activate this console|runit: \$Id"
)
"""What systemd, OpenRC, busybox, sysvinit and runit print first."""
KERNEL_STARTS_INIT = re.compile(rb"Run (\S+) as init process[^\n]*\n")
KERNEL_LINE = re.compile(rb"\[ *\d+\.\d+\]")
"""What begins a line of the kernel's."""
INITRD_INIT = b"/init"


def answers(host: str, port: int) -> bool:
    """Whether an SSH server introduces itself: QEMU takes a connection before the guest does."""
    with (
        contextlib.suppress(OSError),
        socket.create_connection((host, port), timeout=CONNECT_SECONDS) as one,
    ):
        return one.recv(4) == b"SSH-"
    return False


class ConsoleWatch:
    """Tells from a console's log whether the guest has come up.

    Args:
        path: of the log.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._offset = 0
        self._kept = b""
        self._runs_init = False

    def is_up(self) -> bool:
        """Whether it shows a login prompt, or what its init prints first."""
        while data := self._more():
            self._kept = (self._kept + data)[-KEPT_BYTES - len(data) :]
            if self._shows_init():
                return True
            self._kept = self._kept[-KEPT_BYTES:]
        return bool(PROMPT.search(self._kept))

    def _more(self) -> bytes:
        try:
            with open(self._path, "rb") as file:  # noqa: PTH123  # read again and again
                file.seek(self._offset)
                data = file.read(PIECE_BYTES)
        except OSError:
            return b""
        self._offset += len(data)
        return data.replace(b"\r", b"")

    def _shows_init(self) -> bool:
        if INIT_PRINTS.search(self._kept):
            return True
        started = [found for found in KERNEL_STARTS_INIT.finditer(self._kept) if found[1] != INITRD_INIT]
        if started:
            self._kept, self._runs_init = self._kept[started[-1].end() :], True
        lines = self._kept.split(b"\n")[:-1] if self._runs_init else []
        return any(line.strip() and not KERNEL_LINE.match(line) for line in lines)


def wait(
    is_up: Callable[[], bool], has_ended: Callable[[], bool], seconds: float, *, poll: float = POLL_SECONDS
) -> bool | None:
    """Wait for a VM.

    Returns:
        True: it is up. False: it has ended. None: the time is over.
    """
    deadline = time.monotonic() + seconds
    while not is_up():
        if has_ended():
            return False
        if time.monotonic() >= deadline:
            return None
        time.sleep(poll)
    return True
