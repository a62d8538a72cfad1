"""Run a program, and end everything that it started as soon as it ends or its caller does.

    python -I -S supervisor.py PID PROGRAM ARGUMENTS...

A program by itself. PID is the caller's. The kernel tells it that the caller has ended, also by `kill -9`,
and makes it the parent of processes whose own parent has ended, such as what a build left in the background.
So what was started is found whatever group or session it has made for itself.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_IGNORED_HERE = (signal.SIGPIPE, signal.SIGXFSZ)
"""By Python itself."""
_WAITED_FOR = (signal.SIGTERM, signal.SIGCHLD)
"""The first means: end everything."""


def supervise(caller: int, argv: list[str]) -> int:
    """Run a program to its end; its wait status, which is that of SIGTERM if it was ended before.

    Args:
        caller: the process that started this one.
        argv: the program, by its path, and its arguments.
    """
    prctl = ctypes.CDLL(None).prctl
    prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    prctl(_PR_SET_CHILD_SUBREAPER, 1)
    signal.pthread_sigmask(signal.SIG_BLOCK, _WAITED_FOR)
    if os.getppid() != caller:
        return signal.SIGTERM  # it ended before the kernel was asked to tell
    child = os.posix_spawn(argv[0], argv, os.environ, setsigmask=(), setsigdef=_IGNORED_HERE)
    try:
        return _status_of(child)
    finally:
        end_children()


def _status_of(child: int) -> int:
    while signal.sigwait(_WAITED_FOR) != signal.SIGTERM:
        with suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == child:
                    return ended[1]
    return signal.SIGTERM


def end_children() -> None:
    """End all children, and their children, which become ours when their parents end."""
    with suppress(ChildProcessError):
        while True:
            for pid in _children():
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            os.waitpid(-1, 0)
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _children() -> Iterator[int]:
    """Until they are waited for, nobody else gets their numbers."""
    for name in os.listdir("/proc"):
        with suppress(OSError, ValueError, IndexError), open(f"/proc/{int(name)}/stat", "rb") as file:
            if int(file.read().rpartition(b")")[2].split()[1]) == os.getpid():
                yield int(name)


def main() -> None:
    """End as the program did."""
    code = os.waitstatus_to_exitcode(supervise(int(sys.argv[1]), sys.argv[2:]))
    if code < 0:
        with suppress(OSError):  # SIGKILL has nothing but its default
            signal.signal(-code, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _WAITED_FOR)
        os.kill(os.getpid(), -code)
    os._exit(code)


if __name__ == "__main__":
    main()
