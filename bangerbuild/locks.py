"""Locks that die with their holder: flock(2) on a file that says who has it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING

from bangerbuild.errors import BusyError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

POLL_SECONDS = 0.05


@contextlib.contextmanager
def held(path: Path, timeout_seconds: float) -> Iterator[None]:
    """Hold the lock; its file names the holder for those who wait."""
    deadline = time.monotonic() + timeout_seconds
    with path.open("a+") as file:
        while not _try_lock(file.fileno()):
            if time.monotonic() >= deadline:
                file.seek(0)
                holder = file.read().strip() or "another process"
                raise BusyError(
                    f"the store '{path.parent.parent}' is locked by {holder}",
                    hint="wait for it to end, or wait longer: --lock-timeout SECONDS",
                )
            time.sleep(POLL_SECONDS)
        file.truncate(0)
        file.write(f"process {os.getpid()}\n")
        file.flush()
        yield


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
