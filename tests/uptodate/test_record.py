"""Records: whole or none, the user's own, and not without end."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bangerbuild.uptodate import basis, check, record

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.uptodate.project import Project

HOME = "/home/me"


def sample(key: str = "vm.toml") -> record.RunRecord:
    return record.RunRecord(
        key=("/here", (key,), None, (), False, False, (), (), None),
        circumstances=["3.11", "odd \udcff"],
        store="/here/build",
        lock="/here/build/.locks/store",
        empty="/here/build/.staging",
        followed=(["/here/vm.toml", "/nowhere"], [1, 2, 3, 4, 5, 6, 7, 8, *check.ABSENT]),
        beside=(["/here/build/vms/web"], [1, 2, 3, 4, 5, 6, 7, 8]),
        leftovers=[".redo"],
        links=([], []),
        marks=(["vms/web/root.cow"], [1 << 40, 1 << 62, 3]),
        kept=4,
        warnings=["vm.web: odd"],
        startable=7,
        secrets_key="/here/build/.secrets-key",
        variables=[("TOKEN", "0c")],
        notices=["vm.old is no longer declared"],
    )


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/bangerbuild/current"


def test_a_record_is_read_as_it_was_written() -> None:
    found = record.loaded(record.dumped(sample()))
    assert found is not None
    assert vars(found) == vars(sample())


def test_one_that_was_cut_off_is_none() -> None:
    data = record.dumped(sample())
    assert [length for length in range(len(data)) if record.loaded(data[:length])] == []


def test_one_with_a_wrong_bit_is_none() -> None:
    data = record.dumped(sample())
    for place in range(len(data)):
        assert record.loaded(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]) is None


def test_one_of_a_version_with_other_fields_is_none() -> None:
    other = sample()
    other.mood = "fine"  # type: ignore[attr-defined]  # as another version may have it
    assert record.loaded(record.dumped(other)) is None


def test_it_is_found_by_its_key_alone() -> None:
    basis._save(sample(), b"")
    assert record.found(sample().key) is not None
    assert record.found(sample("other.toml").key) is None


def test_two_keys_of_one_name_are_not_taken_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "name", lambda _key: "same")
    basis._save(sample(), b"")
    assert record.found(sample("other.toml").key) is None


def test_only_the_users_own_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    basis._save(sample(), b"")
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    assert record.found(sample().key) is None


def test_the_oldest_go(cache: Path) -> None:
    for number in range(basis.MOST_FILES // 2 + 3):
        basis._save(sample(f"{number}.toml"), b"")
    assert len(list(cache.iterdir())) == basis.MOST_FILES
    assert record.found(sample(f"{basis.MOST_FILES // 2 + 2}.toml").key) is not None
    assert record.found(sample("0.toml").key) is None


def test_nobody_else_may_read_them(cache: Path) -> None:
    basis._save(sample(), b"")
    assert cache.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("cache", "home", "where"),
    [
        ("/c", HOME, "/c/bangerbuild/current"),
        ("relative", HOME, f"{HOME}/.cache/bangerbuild/current"),
        ("", HOME, f"{HOME}/.cache/bangerbuild/current"),
        ("", "", None),
    ],
)
def test_they_lie_in_the_users_cache(
    monkeypatch: pytest.MonkeyPatch, cache: str, home: str, where: str | None
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", cache)
    monkeypatch.setenv("HOME", home)
    assert record.directory() == where


@pytest.mark.parametrize("place", ["/proc/nowhere", "/dev/null"])
def test_where_none_can_be_written_none_is_and_nothing_is_said(
    project: Project, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", place)
    project.apply()
    assert not project.is_current()
    assert project.is_to_be_kept()


def test_without_a_place_for_them_there_are_none(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setattr(record, "directory", lambda: None)
    basis._save(sample(), b"")
    assert record.found(sample().key) is None
    assert not cache.exists()


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, lambda path: path.symlink_to(path)])
def test_what_is_no_file_is_no_record(cache: Path, make: Callable[[Path], object]) -> None:
    basis._save(sample(), b"")
    place = cache / record.name(sample().key)
    place.unlink()
    make(place)
    assert record.found(sample().key) is None
