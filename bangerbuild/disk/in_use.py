"""Whether anyone else on this host holds a disk open: a running VM, a loop device, another program."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path


def holder(path: Path) -> str | None:
    """Who has the file open, as text for a message; None if nobody has."""
    return _refused(path, fcntl.F_WRLCK)


def writer(path: Path) -> str | None:
    """Who may be writing to the file, as text for a message; None if nobody may."""
    return _refused(path, fcntl.F_RDLCK)


def _refused(path: Path, lease: int) -> str | None:
    """Who stands in the way of a lease.

    A write lease (fcntl(2), F_SETLEASE) is granted only to the one opener of a file, a read lease only where
    nobody has it open for writing; loop devices count, and asking is free of races. It is given back at once.
    Where the kernel can't say (another user's file, a network filesystem), the loop devices and the processes
    we may look at are searched.
    """
    with path.open("rb") as file:
        try:
            fcntl.fcntl(file, fcntl.F_SETLEASE, lease)
        except BlockingIOError:
            return _loop_device(path) or _process(path) or "another program"
        except OSError:
            return _loop_device(path) or _process(path)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        return None


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
