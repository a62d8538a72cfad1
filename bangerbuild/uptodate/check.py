"""Compares the host and the store with a record, in one pass of stats, and prints the answer."""

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
"""The environment variables that a plan may depend on."""
PACKAGE = os.path.dirname(os.path.dirname(__file__))
BEGUN_NS = time.time_ns()
"""When this program was loaded, in nanoseconds since 1970."""
NUMBERS = 8
ABSENT = (-1,) * NUMBERS


def circumstances() -> list[str]:
    """What a plan depends on besides files: program, interpreter, machine, user, variables."""
    return [
        PACKAGE,
        sys.version,
        sys.getfilesystemencoding(),
        os.uname().machine,
        repr((os.geteuid(), os.getegid(), sorted(os.getgroups()))),
        *(repr(os.environ.get(variable)) for variable in VARIABLES),
    ]


def stats(paths: Iterable[str], *, follow: bool = True) -> list[int]:
    """`NUMBERS` numbers for each path, see `numbers`; for one where nothing is, those of `ABSENT`.

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
    """The parts of a stat that tell one state of a file or directory from another; reading changes none.

    Owner and mode are among them because fakeroot and user namespaces show others with the same times.
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
    """Size, mtime and inode of each artifact, by which the store tells that nobody has touched it.

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
    """Whether nothing has changed since a record was written. What changes most often is looked at first."""
    try:
        lock = os.open(remembered.lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
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
    except OSError:  # the plan that is made now says what is wrong
        return False


def answer(arguments: list[str]) -> bool:
    """Print what `apply` prints where there is nothing to do, if a record shows that; whether it did."""
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
        for notice in () if asked.quiet else remembered.notices:
            sys.stderr.write(f"{notice}\n")
    except OSError:  # a warning is no result, and may be lost
        pass
    try:
        if not asked.quiet:
            sys.stdout.write(f"{sum_up} in {time.monotonic() - begun:.1f} s\n")
        sys.stdout.flush()
    except BrokenPipeError:  # nobody reads the output, which is no error
        return True
    except OSError:  # the usual way reports it
        return False
    return True
