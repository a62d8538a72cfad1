"""Locks between processes, made with flock(2): the kernel releases them when their holder ends.

A lock file holds the process id of its holder, for messages. A directory can be locked too.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from typing_extensions import override

from bangerbuild.errors import BusyError
from bangerbuild.host.closing import Closing

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

POLL_SECONDS = 0.05


class StoreLock(Closing):
    """One lock, held until it is closed.

    Args:
        path: a file, which is made if it is missing, or an existing directory.
        timeout_seconds: how long to wait for the lock.
        what: what is locked, for a message.
        shared: whether other processes may hold it, shared, at the same time.

    Raises:
        BusyError: it was not free in time.
        OSError: it can't be opened.
    """

    def __init__(self, path: Path, timeout_seconds: float, what: str, *, shared: bool = False) -> None:
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        self.waited = False
        """Whether another process held it first."""
        self._is_file = not path.is_dir()
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT if self._is_file else os.O_RDONLY, 0o600)
        try:
            self._wait(kind, time.monotonic() + timeout_seconds, what)
        except BaseException:
            self.close()
            raise

    def _wait(self, kind: int, deadline: float, what: str) -> None:
        while not _try_lock(self._fd, kind):
            self.waited = True
            if time.monotonic() >= deadline:
                raise BusyError(
                    f"{what} is locked by {self._holder()}",
                    hint="wait for it to end, or wait longer: --lock-timeout SECONDS",
                )
            time.sleep(POLL_SECONDS)
        if self._is_file:
            os.pwrite(self._fd, f"{os.getpid():<10}\n".encode(), 0)

    def _holder(self) -> str:
        written = os.pread(self._fd, 16, 0).strip() if self._is_file else b""
        return f"process {written.decode()}" if written.isdigit() else "another process"

    def try_exclusive(self) -> bool:
        """Make a shared lock exclusive, without waiting. False: others share it, and the lock may be lost."""
        return _try_lock(self._fd, fcntl.LOCK_EX)

    @override
    def close(self) -> None:
        """Release the lock."""
        os.close(self._fd)


def _try_lock(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_abandoned(path: Path) -> bool:
    """Whether no process holds the lock on an existing file or directory."""
    fd = os.open(path, os.O_RDONLY)
    try:
        return _try_lock(fd, fcntl.LOCK_EX)
    finally:
        os.close(fd)


class OwnerLocks:
    """Locks of owners of artifacts, by name: VMs and images. They are always taken in the same order.

    Args:
        directory: where the lock files are.
        timeout_seconds: how long to wait, for each call of `take`.
    """

    def __init__(self, directory: Path, timeout_seconds: float) -> None:
        self._directory = directory
        self._timeout_seconds = timeout_seconds
        self._held = ExitStack()
        self.names: frozenset[str] = frozenset()

    def take(self, names: Iterable[str]) -> bool:
        """Lock these names too; whether another process held one of them first.

        Locks that are held are released first and taken again: otherwise two processes could wait for each
        other for ever.

        Raises:
            BusyError: one was not free in time; then none is held.
        """
        wanted = self.names.union(names)
        if wanted == self.names:
            return False
        self.close()
        deadline = time.monotonic() + self._timeout_seconds
        waited = False
        try:
            for name in sorted(wanted):
                left = max(0.0, deadline - time.monotonic())
                lock = self._held.enter_context(StoreLock(self._directory / name, left, f"'{name}'"))
                waited |= lock.waited
        except BaseException:
            self.close()
            raise
        self.names = wanted
        return waited

    def close(self) -> None:
        """Release all locks."""
        self._held.close()
        self.names = frozenset()
