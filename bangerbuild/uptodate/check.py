"""Whether all is as a record says: one pass of stats, and the answer."""

from __future__ import annotations

import fcntl
import os
import sys
import time

from bangerbuild.uptodate import command, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from bangerbuild.uptodate.record import RunRecord

VARIABLES = (
    "HOME",  # `~` in a manifest
    "LD_LIBRARY_PATH",  # where libext2fs is found
    "LD_PRELOAD",  # fakeroot shows other owners
    "PATH",  # where programs are found
    "PYTHONPATH",
    "SOURCE_DATE_EPOCH",
)
"""Of the environment, what a plan may depend on."""
PACKAGE = os.path.dirname(os.path.dirname(__file__))
BEGUN_NS = time.time_ns()
"""When this program was loaded."""
NUMBERS = 8
ABSENT = (-1,) * NUMBERS


def circumstances() -> list[str]:
    """What a plan depends on that is no file."""
    return [
        PACKAGE,
        sys.version,
        sys.getfilesystemencoding(),
        os.uname().machine,
        repr((os.geteuid(), os.getegid(), sorted(os.getgroups()))),
        *(repr(os.environ.get(variable)) for variable in VARIABLES),
    ]


def stats(paths: Iterable[str], *, follow: bool = True) -> list[int]:
    """What tells that a file or directory was changed in any way; so many numbers for each, absent or not.

    Raises:
        OSError: one can't be looked at.
    """
    look = os.stat if follow else os.lstat
    found: list[int] = []
    for path in paths:
        try:
            found += numbers(look(path))
        except (FileNotFoundError, NotADirectoryError):
            found += ABSENT
    return found


def numbers(one: os.stat_result) -> tuple[int, int, int, int, int, int, int, int]:
    """What of a stat changes with whatever is done to a file or directory, but for reading it.

    Owner and mode too: under fakeroot, or in another user namespace, they are others with the same times.
    """
    return (
        one.st_dev,
        one.st_ino,
        one.st_size,
        one.st_mtime_ns,
        one.st_ctime_ns,
        one.st_mode,
        one.st_uid,
        one.st_gid,
    )


def marks(names: Iterable[str], store: str) -> list[int]:
    """What the store goes by to tell that nobody has touched an artifact; three numbers for each.

    Raises:
        OSError: one is not there.
    """
    fd = os.open(store, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    found: list[int] = []
    look = os.stat
    try:
        for name in names:
            one = look(name, dir_fd=fd)
            found += (one.st_size, one.st_mtime_ns, one.st_ino)
    finally:
        os.close(fd)
    return found


def stands(remembered: RunRecord) -> bool:
    """Whether nothing has changed. What costs least, and changes most often, is looked at first."""
    try:
        lock = os.open(remembered.lock, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return (
                remembered.circumstances == circumstances()
                and stats(remembered.followed[0]) == remembered.followed[1]
                and stats(remembered.links[0], follow=False) == remembered.links[1]
                and marks(remembered.marks[0], remembered.store) == remembered.marks[1]
                and not os.listdir(remembered.empty)
            )
        finally:
            os.close(lock)
    except OSError:  # a plan tells what is wrong
        return False


def answer(arguments: list[str]) -> bool:
    """Print what `apply` prints where there is nothing to do, if that is sure; whether it was."""
    begun = time.monotonic()
    asked = command.asked(arguments)
    if asked is None or None in (sys.stdin, sys.stdout, sys.stderr):  # a closed stream needs care
        return False
    remembered = record.found(asked.key)
    if remembered is None or not stands(remembered):
        return False
    sum_up = f"{remembered.kept} kept" if remembered.kept else "nothing to do"
    try:
        for warning in remembered.warnings:
            sys.stderr.write(f"warning: {warning}\n")
    except OSError:  # what is no result may be lost
        pass
    try:
        if not asked.quiet:
            sys.stdout.write(f"{sum_up} in {time.monotonic() - begun:.1f} s\n")
        sys.stdout.flush()
    except BrokenPipeError:  # nobody reads it, which is no error
        return True
    except OSError:  # it is told as it always is
        return False
    return True
