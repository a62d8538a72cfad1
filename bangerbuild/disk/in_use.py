"""Detect whether another program on this host has a disk open: a running VM, a loop device, any process.

The kernel grants a write lease (fcntl(2), F_SETLEASE) only if a file has no other opener, and a read lease
only if nothing has it open for writing. Loop devices count, and the check has no race. The lease is released
at once. Where leases are not available (a file of another user, a network filesystem), loop devices and the
visible processes are searched.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import stat
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import override

from bangerbuild.errors import BusyError
from bangerbuild.host.closing import Closing

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE_SECONDS = 3.0
"""How long to wait for a program that only reads briefly, such as `bangerbuild plan`."""
POLL_SECONDS = 0.02
_FLOCK = struct.Struct("hhqqi4x")
"""`struct flock` of 64-bit Linux: l_type, l_whence, l_start, l_len, l_pid."""


def holder(path: Path, patience_seconds: float = PATIENCE_SECONDS) -> str | None:
    """The program that has a file open, as text for a message; None if none has.

    A program that only reads is waited for a moment: it is not a VM.
    """
    deadline = time.monotonic() + patience_seconds
    while who := _refused(path, fcntl.F_WRLCK):
        if time.monotonic() >= deadline or writer(path):
            return who
        time.sleep(POLL_SECONDS)
    return None


def writer(path: Path) -> str | None:
    """The program that has a file open for writing, as text for a message; None if none has."""
    return _refused(path, fcntl.F_RDLCK)


@contextlib.contextmanager
def held(path: Path, name: str) -> Iterator[None]:
    """Lock a disk for a change; QEMU, which takes OFD locks itself, can't start on it before the block ends.

    Raises:
        BusyError: another program has it open; or, at the end of the block, opened it during the block.
        OSError: it can't be opened.
    """
    with path.open("r+b") as file:
        if who := _waited_for(file.fileno(), path):
            raise BusyError(f"'{name}' is in use by {who} now", hint="shut the VM down first")
        yield
        if who := _waited_for(file.fileno(), path):
            raise BusyError(
                f"'{name}' was opened by {who} while it was changed",
                hint=f"shut the VM down, check the disk with e2fsck -f '{path}', then `bangerbuild apply`",
            )


class Lease(Closing):
    """A disk that is about to lose its name, so held that whoever opens it is seen, and waits until `close`.

    Who opens the disk while it is held waits in open(2), for at most /proc/sys/fs/lease-break-time. Where
    leases are not available, nobody waits: `opener` looks for programs that have the disk open, and whether
    it was changed.

    Args:
        fd: the disk, open for reading; it is closed with this.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._seen = _state(fd)
        self._is_refused = False
        try:
            fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
            fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
            self._is_held = True
        except OSError as err:
            self._is_held = False
            self._is_refused = isinstance(err, BlockingIOError)

    @property
    def status(self) -> os.stat_result:
        """What `stat` says of the disk now, under whatever name."""
        return os.fstat(self._fd)

    def opener(self) -> str | None:
        """Who has opened the disk, or waits for it, as text for a message; None: nobody."""
        path = Path(f"/proc/self/fd/{self._fd}")
        if self._is_held:
            is_wanted = fcntl.fcntl(self._fd, fcntl.F_GETLEASE) != fcntl.F_WRLCK
            return "another program" if is_wanted else None
        if self._is_refused:
            return _anyone(path)
        who = _loop_device(path) or _process(path)
        return who or (None if _state(self._fd) == self._seen else "another program")

    @override
    def close(self) -> None:
        """Let those go on who wait for the disk."""
        os.close(self._fd)


def _state(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_size, status.st_mtime_ns


def _waited_for(fd: int, path: Path) -> str | None:
    """Wait for others to close the disk and lock it; the program that still has it open, or None."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not _is_locked(fd) or _refusal(fd, path, fcntl.F_WRLCK):
        if time.monotonic() >= deadline:
            return _anyone(path)
        time.sleep(POLL_SECONDS)
    return None


def _is_locked(fd: int) -> bool:
    """Take an OFD lock on the file, which ends with the descriptor; True also where OFD locks are missing."""
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    except OSError as err:
        return err.errno not in {errno.EAGAIN, errno.EACCES}
    return True


def _refused(path: Path, lease: int) -> str | None:
    """The program that prevents a lease; None if it is granted.

    What is neither a file nor a block device is no disk and is not opened, as a FIFO would wait for a writer.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISBLK(mode):
        return None
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _refusal(fd, path, lease)
    finally:
        os.close(fd)


def _refusal(fd: int, path: Path, lease: int) -> str | None:
    try:
        fcntl.fcntl(
            fd, fcntl.F_SETSIG, signal.SIGURG
        )  # else an open() of the file ends this program by SIGIO
        fcntl.fcntl(fd, fcntl.F_SETLEASE, lease)
    except BlockingIOError:
        return _anyone(path)
    except OSError:
        return _loop_device(path) or _process(path)
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return None


@contextlib.contextmanager
def _passing_over() -> Iterator[None]:
    """Ignore what is gone or hidden from this user, but not that this process can't look at all."""
    try:
        yield
    except OSError as err:
        if err.errno in {errno.EMFILE, errno.ENFILE, errno.ENOMEM}:
            raise


def _anyone(path: Path) -> str:
    return _loop_device(path) or _process(path) or "another program"


def _loop_device(path: Path) -> str | None:
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        with _passing_over():
            if Path(backing.read_text().rstrip("\n")).samefile(path):
                return f"/dev/{backing.parent.parent.name}"
    return None


def _process(path: Path) -> str | None:
    wanted = path.stat()
    for directory in Path("/proc").glob("[0-9]*"):
        if int(directory.name) == os.getpid():
            continue
        with _passing_over():
            for link in (directory / "fd").iterdir():
                with _passing_over():
                    if os.path.samestat(link.stat(), wanted):
                        return f"{(directory / 'comm').read_text().strip()} (process {directory.name})"
    return None
