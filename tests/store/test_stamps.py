"""Stamps tell an artifact that was touched from one that was not."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk import clone
from bangerbuild.store import stamps

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "file").write_text("content")
    return tmp_path / "file"


def test_a_stamped_file_fits_its_stamp_and_has_a_time_of_whole_milliseconds(file: Path) -> None:
    stamp = stamps.stamped(file, guest=False)
    assert stamp.fits(file.stat())
    assert file.stat().st_mtime_ns % 1_000_000 == 0
    assert stamp.digest == clone.digest(file)


def test_a_guests_file_has_no_digest_and_a_known_digest_is_not_computed(file: Path) -> None:
    assert stamps.stamped(file, guest=True).digest == ""
    assert stamps.stamped(file, guest=False, digest="known").digest == "known"


def grow(file: Path) -> None:
    before = file.stat().st_mtime_ns
    file.write_text("content and more")
    os.utime(file, ns=(0, before))


def replace(file: Path) -> None:
    file.with_name("other").write_text("content")
    os.utime(file.with_name("other"), ns=(0, file.stat().st_mtime_ns))
    file.with_name("other").rename(file)


CHANGES: dict[str, Callable[[Path], object]] = {
    "written in the same tick": lambda file: file.write_text("CONTENT"),
    "grown, with its time put back": grow,
    "another file of that size and time": replace,
}


@pytest.mark.parametrize("change", CHANGES)
def test_no_change_of_a_file_fits_its_stamp(file: Path, change: str) -> None:
    stamp = stamps.stamped(file, guest=False)
    CHANGES[change](file)
    assert not stamp.fits(file.stat())


def test_an_outdated_stamp_fits_no_more_and_keeps_the_digest(file: Path) -> None:
    stamp = stamps.stamped(file, guest=False)
    assert not stamp.outdated().fits(file.stat())
    assert stamp.outdated().digest == stamp.digest


@pytest.mark.parametrize("guest", [False, True])
def test_a_stamp_comes_back_from_json(file: Path, *, guest: bool) -> None:
    stamp = stamps.stamped(file, guest=guest)
    assert stamps.Stamp.from_json(stamp.to_json()) == stamp
    assert stamps.of(file.stat(), stamp.digest, guest=guest) == stamp


@pytest.mark.parametrize(("age_seconds", "settled"), [(-1, False), (0, False), (2, False), (3, True)])
def test_a_file_is_settled_once_its_next_change_would_show(
    file: Path, monkeypatch: pytest.MonkeyPatch, age_seconds: int, *, settled: bool
) -> None:
    changed_ns = file.stat().st_mtime_ns
    monkeypatch.setattr(time, "time_ns", lambda: changed_ns + age_seconds * 1_000_000_000)
    assert stamps.is_settled(file.stat()) is settled
