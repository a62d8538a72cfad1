"""Errors of the operating system and of SQLite in a store, translated to StoreError."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import sqlite3
from typing import TYPE_CHECKING

from bangerbuild import shortages
from bangerbuild.errors import FULL, FULL_HINT, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LEAST_BYTES = 256 << 10
"""With less free space than this SQLite fails: it writes and maps several pages at a time."""
DATABASE_FILES = 4
"""How many files SQLite opens for one connection: the database, its log, the log's index, its directory."""
ELSEWHERE_HINT = "choose another place: --store DIR, or `path` under [store]"
OWNER_HINT = "run it as the user whose file it is, or give that to the user who runs it"
DAMAGED_HINT = "`bangerbuild recover` sets state.db aside, and makes records of what lies in the store"
HINTS = {errno.EACCES: ELSEWHERE_HINT, errno.EROFS: ELSEWHERE_HINT, **dict.fromkeys(FULL, FULL_HINT)}


def store_error(err: OSError | sqlite3.Error, path: Path) -> StoreError:
    """The StoreError for an error of the store's directory or database."""
    if isinstance(err, sqlite3.Error) and _is_full(path):  # SQLite reports a full disk as "disk I/O error"
        err = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    if isinstance(err, sqlite3.Error) and (code := _shortage()):
        err = OSError(code, os.strerror(code), str(path))
    if isinstance(err, sqlite3.Error):
        return StoreError(
            f"the store '{path}' can't be used: state.db: {err}",
            hint=DAMAGED_HINT if _is_damage(err) else "check that it can be written and has room",
        )
    place = err.filename or path
    shortage = shortages.find(err)
    hint = shortage.hint if shortage else HINTS.get(err.errno or 0)
    return StoreError(f"'{place}': {(err.strerror or str(err)).lower()}", hint=hint)


@contextlib.contextmanager
def nothing_new() -> Iterator[None]:
    """What is done here makes nothing, so that another place is no way out of what is forbidden."""
    try:
        yield
    except StoreError as err:
        if err.hint == ELSEWHERE_HINT and isinstance(err.__cause__, PermissionError):
            err.hint = OWNER_HINT
        raise


def _is_damage(err: sqlite3.Error) -> bool:
    """Whether the database itself is at fault, and no lock, no disk and no right to write."""
    if isinstance(err, sqlite3.OperationalError):
        return str(err).startswith(("no such ", "Could not decode"))
    return isinstance(err, sqlite3.DatabaseError)


def is_out_of_space(err: OSError | sqlite3.Error, path: Path) -> bool:
    """Whether the error means that the disk with the store is full."""
    if isinstance(err, sqlite3.Error):
        return getattr(err, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL or _is_full(path)
    return err.errno in FULL


def _shortage() -> int:
    """The errno of a shortage that SQLite reports as a disk at fault; 0 if there is none."""
    file_bytes, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if file_bytes != resource.RLIM_INFINITY and file_bytes < LEAST_BYTES:
        return errno.EFBIG
    opened: list[int] = []
    try:
        opened.extend(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC) for _ in range(DATABASE_FILES))
    except OSError as err:
        return err.errno or 0
    finally:
        for fd in opened:
            os.close(fd)
    return 0


def _is_full(path: Path) -> bool:
    try:
        room = os.statvfs(path)
    except OSError:
        return False
    return room.f_bavail * room.f_frsize < LEAST_BYTES
