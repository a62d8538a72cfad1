"""Whether anyone else on this host holds a disk open: a running VM, a loop device, another program.

A write lease (fcntl(2), F_SETLEASE) is granted only to the one opener of a file, a read lease only where
nobody has it open for writing; loop devices count, and asking is free of races. It is given back at once.
Where the kernel can't say (another user's file, a network filesystem), the loop devices and the processes we
may look at are searched.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING

from bangerbuild.errors import BusyError

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE_SECONDS = 3.0
"""How long to wait for one who only looks, as `bangerbuild plan` does."""
POLL_SECONDS = 0.02
_FLOCK = struct.Struct("hhqqi4x")
"""`struct flock` of 64-bit Linux: l_type, l_whence, l_start, l_len, l_pid."""


def holder(path: Path, patience_seconds: float = PATIENCE_SECONDS) -> str | None:
    """Who has the file open, as text for a message; None if nobody has.

    Who only reads is waited for, a moment: that is somebody who looks, and no VM.
    """
    deadline = time.monotonic() + patience_seconds
    while who := _refused(path, fcntl.F_WRLCK):
        if time.monotonic() >= deadline or writer(path):
            return who
        time.sleep(POLL_SECONDS)
    return None


def writer(path: Path) -> str | None:
    """Who may be writing to the file, as text for a message; None if nobody may."""
    return _refused(path, fcntl.F_RDLCK)


@contextlib.contextmanager
def held(path: Path, name: str) -> Iterator[None]:
    """Have a disk to oneself: QEMU, which asks for locks of its own (OFD), does not start on it meanwhile.

    Raises:
        BusyError: somebody has it open; or, when all is done, opened it meanwhile all the same.
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


def _waited_for(fd: int, path: Path) -> str | None:
    """Who still has the disk open after a while; None once we have it to ourselves."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not _is_locked(fd) or _refusal(fd, path, fcntl.F_WRLCK):
        if time.monotonic() >= deadline:
            return _anyone(path)
        time.sleep(POLL_SECONDS)
    return None


def _is_locked(fd: int) -> bool:
    """Take an OFD lock on the whole file; it ends with the descriptor. Where there are none, go without."""
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    except OSError as err:
        return err.errno not in {errno.EAGAIN, errno.EACCES}
    return True


def _refused(path: Path, lease: int) -> str | None:
    """Who stands in the way of a lease."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _refusal(fd, path, lease)
    finally:
        os.close(fd)


def _refusal(fd: int, path: Path, lease: int) -> str | None:
    try:
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)  # whoever opens the file now would end us with SIGIO
        fcntl.fcntl(fd, fcntl.F_SETLEASE, lease)
    except BlockingIOError:
        return _anyone(path)
    except OSError:
        return _loop_device(path) or _process(path)
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return None


def _anyone(path: Path) -> str:
    return _loop_device(path) or _process(path) or "another program"


def _loop_device(path: Path) -> str | None:
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(OSError):
            if Path(backing.read_text().rstrip("\n")).samefile(path):
                return f"/dev/{backing.parent.parent.name}"
    return None


def _process(path: Path) -> str | None:
    wanted = path.stat()
    for directory in Path("/proc").glob("[0-9]*"):
        if int(directory.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            for link in (directory / "fd").iterdir():
                with contextlib.suppress(OSError):
                    if os.path.samestat(link.stat(), wanted):
                        return f"{(directory / 'comm').read_text().strip()} (process {directory.name})"
    return None
