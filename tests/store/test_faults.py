"""Errors of the system and of SQLite are told as the store's, with a way out where there is one."""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path

import pytest

from bangerbuild.errors import FULL_HINT
from bangerbuild.store.faults import ELSEWHERE_HINT, store_error

STORE = Path("/a/store")


@pytest.mark.parametrize(
    ("number", "brief", "hint"),
    [
        (errno.ENOSPC, "'/a/store/file': no space left on device", FULL_HINT),
        (errno.EDQUOT, "'/a/store/file': disk quota exceeded", FULL_HINT),
        (errno.EACCES, "'/a/store/file': permission denied", ELSEWHERE_HINT),
        (errno.EROFS, "'/a/store/file': read-only file system", ELSEWHERE_HINT),
        (errno.EIO, "'/a/store/file': input/output error", None),
    ],
)
def test_an_error_of_the_system_names_the_file(number: int, brief: str, hint: str | None) -> None:
    error = store_error(OSError(number, os.strerror(number), "/a/store/file"), STORE)
    assert (error.brief, error.hint) == (brief, hint)


def test_an_error_without_a_file_names_the_store() -> None:
    assert store_error(OSError(errno.EIO, os.strerror(errno.EIO)), STORE).brief.startswith("'/a/store': ")


def test_an_error_of_sqlite_names_the_database_and_says_what_to_do() -> None:
    error = store_error(sqlite3.DatabaseError("file is not a database"), STORE)
    assert error.brief == "the store '/a/store' can't be used: state.db: file is not a database"
    assert str(error.hint).startswith("`bangerbuild recover` sets state.db aside")


def test_an_error_of_sqlite_that_is_no_damage_has_nothing_to_recover() -> None:
    error = store_error(sqlite3.OperationalError("unable to open database file"), STORE)
    assert error.hint == "check that it can be written and has room"


def test_an_error_of_sqlite_on_a_full_disk_is_that_there_is_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    full = os.statvfs_result((4096, 4096, 1000, 10, 10, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: full)
    error = store_error(sqlite3.OperationalError("disk I/O error"), STORE)
    assert (error.brief, error.hint) == ("'/a/store': no space left on device", FULL_HINT)
