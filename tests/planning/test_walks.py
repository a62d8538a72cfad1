"""Large trees are remembered from run to run, each by its own rules, and a damaged file costs only time."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from bangerbuild.formats.hostentry import TreeRules
from bangerbuild.formats.survey import survey
from bangerbuild.host import remembered
from bangerbuild.planning import walks

if TYPE_CHECKING:
    from pathlib import Path

RULES = TreeRules()


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(walks, "LEAST_ENTRIES", 3)
    return tmp_path / "cache/bangerbuild/walks"


@pytest.fixture
def top(tmp_path: Path) -> Path:
    (tmp_path / "top").mkdir()
    for name in ("a", "b\udcff", "c"):
        (tmp_path / "top" / name).write_text(name.encode("utf-8", "surrogateescape").hex())
    return tmp_path / "top"


def test_what_was_found_comes_back_for_the_same_place_and_rules(top: Path) -> None:
    found = survey(top, RULES)
    walks.remember(top, RULES, found)
    assert walks.remembered(top, RULES) == found.walked()
    assert walks.remembered(top / "a", RULES) is None
    assert walks.remembered(top, TreeRules(exclude=("a",))) is None


def test_small_trees_and_what_is_known_already_are_not_written(top: Path, kept: Path) -> None:
    small = survey(top / "a", RULES)
    walks.remember(top / "a", RULES, small)
    assert not kept.exists()


def test_two_trees_of_one_file_name_are_not_taken_for_each_other(
    top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remembered, "name", lambda _key: "same")
    walks.remember(top, RULES, survey(top, RULES))
    assert walks.remembered(top, TreeRules(exclude=("a",))) is None


def test_a_damaged_file_and_another_users_are_none(
    top: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    walks.remember(top, RULES, survey(top, RULES))
    (file,) = kept.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    data = file.read_bytes()
    file.write_bytes(data[:-1])
    assert walks.remembered(top, RULES) is None
    file.write_bytes(data)
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    assert walks.remembered(top, RULES) is None


def test_the_oldest_go(top: Path, kept: Path) -> None:
    for number in range(walks.MOST_WALKS + 2):
        rules = TreeRules(exclude=(f"{number}",))
        walks.remember(top, rules, survey(top, rules))
    assert len(list(kept.iterdir())) == walks.MOST_WALKS


def test_where_nothing_can_be_kept_nothing_is(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for place in ("/proc/nowhere", "/dev/null"):
        monkeypatch.setenv("XDG_CACHE_HOME", place)
        walks.remember(top, RULES, survey(top, RULES))
        assert walks.remembered(top, RULES) is None
