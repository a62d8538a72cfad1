from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from bangerbuild.host import remembered

if TYPE_CHECKING:
    from pathlib import Path

HEAD = b"values 1 "
VALUES = {"a": [1, 2], "b": ("x", None)}


@pytest.fixture
def where(tmp_path: Path) -> Path:
    return tmp_path / "cache/values"


def test_what_is_kept_is_read_again(where: Path) -> None:
    remembered.keep(str(where), "one", remembered.dumped(HEAD, VALUES), most=2)
    data = remembered.read(str(where / "one"))
    assert data is not None
    assert remembered.loaded(HEAD, data) == VALUES
    assert where.stat().st_mode & 0o777 == 0o700
    assert (where / "one").stat().st_mode & 0o777 == 0o600


def test_the_oldest_files_make_room(where: Path) -> None:
    for number in range(5):
        remembered.keep(str(where), f"{number}", remembered.dumped(HEAD, number), most=2)
        os.utime(where / f"{number}", (number, number))
    assert sorted(path.name for path in where.iterdir()) == ["3", "4"]


def test_a_file_that_is_not_whole_or_of_another_kind_holds_nothing() -> None:
    data = remembered.dumped(HEAD, VALUES)
    for other in (b"", HEAD, data[:-1], data + b"x", data.replace(b"a", b"c"), data[: data.index(b"\n")]):
        assert remembered.loaded(HEAD, other) is None
    assert remembered.loaded(b"values 2 ", data) is None


def test_where_no_file_is_there_is_nothing(where: Path) -> None:
    where.mkdir(parents=True)
    assert remembered.read(str(where)) is None
    assert remembered.read(str(where / "none")) is None
    os.mkfifo(where / "fifo")
    assert not remembered.read(str(where / "fifo"))


@pytest.mark.root
def test_a_file_of_somebody_else_is_not_believed(where: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a file away")
    remembered.keep(str(where), "theirs", remembered.dumped(HEAD, VALUES), most=2)
    os.chown(where / "theirs", 65534, 65534)
    assert remembered.read(str(where / "theirs")) is None


def test_a_draft_that_a_killed_run_left_is_no_obstacle(where: Path) -> None:
    where.mkdir(parents=True)
    (where / f"one.{os.getpid()}").symlink_to("/nowhere")
    remembered.keep(str(where), "one", b"data", most=2)
    assert [path.name for path in where.iterdir()] == ["one"]


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({"XDG_CACHE_HOME": "/c", "HOME": "/h"}, "/c/bangerbuild/x"),
        ({"XDG_CACHE_HOME": "relative", "HOME": "/h"}, "/h/.cache/bangerbuild/x"),
        ({"HOME": "/h"}, "/h/.cache/bangerbuild/x"),
        ({"HOME": ""}, None),
    ],
)
def test_it_lies_in_the_users_cache_if_there_is_one(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], found: str | None
) -> None:
    for name in ("XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert remembered.directory("x") == found
