"""Opening a store: to be read, where nothing is made, and to be written, where it is."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from bangerbuild import store
from bangerbuild.errors import BusyError, StoreError
from bangerbuild.store.database import NAME
from bangerbuild.store.directories import LOCKS, STAGING
from tests.fakes import FakeStep, built

if TYPE_CHECKING:
    from pathlib import Path

STEP = FakeStep("image.a.rootfs", outputs=("images/a/f/x",))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep/build"


def test_reading_a_store_that_is_not_there_makes_nothing(path: Path) -> None:
    opened = store.read(path)
    assert (opened.records, opened.stamps, opened.is_writable) == ({}, {}, False)
    assert not path.parent.exists()


def test_an_empty_directory_is_an_empty_store_and_stays_empty(path: Path) -> None:
    path.mkdir(parents=True)
    assert store.read(path).records == {}
    assert list(path.iterdir()) == []


def test_writing_makes_a_store_for_its_owner_alone(path: Path) -> None:
    with store.writing(path, timeout_seconds=0) as opened:
        assert opened.is_writable
    assert path.stat().st_mode & 0o777 == 0o700
    assert {NAME, LOCKS, STAGING} <= {file.name for file in path.iterdir()}


def test_what_was_published_is_read_by_others(path: Path) -> None:
    built([STEP], path)
    opened = store.read(path)
    assert opened.records.keys() == {STEP.id}
    assert opened.stamps.keys() == {"images/a/f/x"}


def test_what_is_no_database_is_told_and_left(path: Path) -> None:
    path.mkdir(parents=True)
    (path / NAME).write_bytes(b"notes" * 1000)
    with pytest.raises(StoreError):
        store.read(path)
    with pytest.raises(StoreError), store.writing(path, timeout_seconds=0):
        pass
    assert (path / NAME).read_bytes() == b"notes" * 1000


def test_a_store_of_a_later_format_is_not_guessed_at(path: Path) -> None:
    built([STEP], path)
    with sqlite3.connect(path / NAME) as database:
        (version,) = database.execute("PRAGMA user_version").fetchone()
        database.execute(f"PRAGMA user_version = {version + 1}")
    database.close()
    for _ in range(2):
        with pytest.raises(StoreError), store.writing(path, timeout_seconds=0):
            pass
        with pytest.raises(StoreError):
            store.read(path)


def test_a_file_in_its_place_is_told(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    with pytest.raises(StoreError), store.writing(path, timeout_seconds=0):
        pass
    assert path.read_text() == "mine"


def test_two_may_write_and_nobody_is_alone_then(path: Path) -> None:
    with (
        store.writing(path, timeout_seconds=0),
        store.writing(path, timeout_seconds=0),
        pytest.raises(BusyError),
        store.writing(path, timeout_seconds=0, exclusive=True),
    ):
        pass


def test_one_who_is_alone_keeps_all_out_until_he_is_done(path: Path) -> None:
    with (
        store.writing(path, timeout_seconds=0, exclusive=True),
        pytest.raises(BusyError),
        store.writing(path, timeout_seconds=0),
    ):
        pass
    with store.writing(path, timeout_seconds=0):
        pass


def test_staging_of_somebody_elses_directory_is_left_alone(path: Path) -> None:
    (path / STAGING / "theirs").mkdir(parents=True)
    with store.writing(path, timeout_seconds=0):
        assert (path / STAGING / "theirs").is_dir()


def test_what_a_killed_session_staged_goes_with_the_next(path: Path) -> None:
    built([STEP], path)
    (path / STAGING / "left").mkdir()
    (path / STAGING / "left/file").touch()
    with store.writing(path, timeout_seconds=0):
        assert not (path / STAGING / "left").exists()


def test_an_error_in_the_block_comes_out_and_the_store_is_free_again(path: Path) -> None:
    with pytest.raises(ZeroDivisionError), store.writing(path, timeout_seconds=0):
        _ = 1 // 0
    with store.writing(path, timeout_seconds=0, exclusive=True):
        pass
