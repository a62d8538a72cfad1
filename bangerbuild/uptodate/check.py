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
MARKS = 3
"""How many numbers `marks` has of each artifact."""
OF_VMS = "vms/"
"""What the names of artifacts of VMs begin with."""


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


def variables(key_file: str, names: Iterable[str]) -> list[tuple[str, str]]:
    """Variables of the environment, each with a keyed digest of its value; of one that is not set, nothing.

    Raises:
        OSError: the key can't be read.
    """
    found: list[tuple[str, str]] = []
    for name in names:
        from bangerbuild import keyed  # noqa: PLC0415  # most manifests have no secret

        value = os.environb.get(os.fsencode(name))
        if value is not None:
            with open(key_file, "rb") as file:
                found.append((name, keyed.digest(file.read(keyed.KEY_BYTES), "up to date", value)))
    return found


def stands(remembered: RunRecord) -> bool:
    """Whether nothing has changed since a record was written."""
    return touched(remembered) == []


def touched(remembered: RunRecord, apart: str | None = None) -> list[str] | None:
    """The artifacts that differ from a record; None if anything else has changed, or one is not there.

    What changes most often is looked at first.

    Args:
        remembered: the record.
        apart: the directory of a VM in the store, `vms/web`, if nothing of other VMs counts, which may run.
    """
    names = [name for name, _ in remembered.variables]
    try:
        lock = os.open(remembered.lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            is_settled = (
                remembered.circumstances == circumstances()
                and stats(remembered.followed[0]) == remembered.followed[1]
                and stats(remembered.links[0], follow=False) == remembered.links[1]
                and _are_settled(remembered, apart)
                and not os.listdir(remembered.empty)
                and variables(remembered.secrets_key, names) == remembered.variables
            )
            return _differing(remembered, apart) if is_settled else None
        finally:
            os.close(lock)
    except OSError:  # the plan that is made now says what is wrong
        return None


def _differing(remembered: RunRecord, apart: str | None) -> list[str]:
    names, numbers = remembered.marks
    if apart is None and marks(names, remembered.store) == numbers:
        return []
    places = [place for place, name in enumerate(names) if apart is None or _counts(name, apart)]
    counted = [names[place] for place in places]
    now = marks(counted, remembered.store)
    return [
        name
        for number, (name, place) in enumerate(zip(counted, places, strict=True))
        if now[number * MARKS : (number + 1) * MARKS] != numbers[place * MARKS : (place + 1) * MARKS]
    ]


def _counts(name: str, apart: str) -> bool:
    """Whether an artifact is none of another VM's."""
    return not name.startswith(OF_VMS) or name.startswith(f"{apart}/")


def _are_settled(remembered: RunRecord, apart: str | None) -> bool:
    """Whether no change of a disk was interrupted. A directory with another stat is looked into.

    The start of a VM makes a directory for what is there while it runs, which is no change.
    """
    paths, numbers = remembered.beside
    if apart is not None:
        own = f"{remembered.store}/{apart}"
        return own not in paths or _has_no(remembered.leftovers, own)
    if stats(paths) == numbers:
        return True
    return all(
        stats([path]) == numbers[place * NUMBERS : (place + 1) * NUMBERS]
        or _has_no(remembered.leftovers, path)
        for place, path in enumerate(paths)
    )


def _has_no(leftovers: list[str], directory: str) -> bool:
    ends = tuple(leftovers)
    return not any(name.endswith(ends) for name in os.listdir(directory))


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
