"""Locks between processes, made with flock(2): the kernel releases them when their holder ends.

A lock file holds the process id of its holder, for messages. A directory can be locked too.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from typing_extensions import override

from bangerbuild.errors import BusyError, StoreError
from bangerbuild.host.closing import Closing

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

POLL_SECONDS = 0.05
_FLAGS = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
"""A symlink in the place of a lock is not followed, and nothing waits for the other end of a FIFO."""


class StoreLock(Closing):
    """One lock, held until it is closed.

    Args:
        path: a file, which is made if it is missing, or an existing directory.
        timeout_seconds: how long to wait for the lock.
        what: what is locked, for a message.
        shared: whether other processes may hold it, shared, at the same time.
        dir_fd: an open directory, in which the last part of the path is looked for; None: the path is used.

    Raises:
        BusyError: it was not free in time.
        StoreError: something else lies in its place.
        OSError: it can't be opened.
    """

    def __init__(
        self,
        path: Path,
        timeout_seconds: float,
        what: str,
        *,
        shared: bool = False,
        dir_fd: int | None = None,
    ) -> None:
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        self.waited = False
        """Whether another process held it first."""
        self._fd, self._is_file = _opened(path, dir_fd)
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


def _opened(path: Path, dir_fd: int | None) -> tuple[int, bool]:
    """The lock, open, and whether it is a file."""
    name = path if dir_fd is None else path.name
    try:
        fd = os.open(name, os.O_RDWR | os.O_CREAT | _FLAGS, 0o600, dir_fd=dir_fd)
    except IsADirectoryError:
        return os.open(name, os.O_RDONLY | os.O_DIRECTORY | _FLAGS, dir_fd=dir_fd), False
    except OSError as err:
        if path.is_symlink():
            raise _no_lock(path, f"is a symlink to '{path.readlink()}'") from err
        if err.errno != errno.ENXIO:  # what `open` says of a socket
            raise
        raise _no_lock(path, "is no regular file") from err
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise _no_lock(path, "is no regular file")
    return fd, True


def _no_lock(path: Path, what: str) -> StoreError:
    return StoreError(f"'{path}' {what}, and no lock that was made here", hint=f"rm '{path}'")


def _try_lock(fd: int, kind: int) -> bool:
    try:
        fcntl.flock(fd, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def is_abandoned(path: Path | str, *, dir_fd: int | None = None) -> bool:
    """Whether no process holds the lock on an existing file or directory, which is no symlink."""
    fd = os.open(path, os.O_RDONLY | _FLAGS, dir_fd=dir_fd)
    try:
        return _try_lock(fd, fcntl.LOCK_EX)
    finally:
        os.close(fd)


class OwnerLocks:
    """Locks of owners of artifacts, by name: VMs and images. They are always taken in the same order.

    Args:
        directory: where the lock files are.
        timeout_seconds: how long to wait, for each call of `take`.
        dir_fd: the directory, open as long as this is used; None: its path is used.
    """

    def __init__(self, directory: Path, timeout_seconds: float, *, dir_fd: int | None = None) -> None:
        self._directory = directory
        self._dir_fd = dir_fd
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
                path = self._directory / name.replace("/", "%")
                lock = self._held.enter_context(StoreLock(path, left, f"'{name}'", dir_fd=self._dir_fd))
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
