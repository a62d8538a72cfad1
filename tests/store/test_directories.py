"""Directories of a store are opened step by step. tests/hostile has whole stores that somebody else made."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import StoreError
from bangerbuild.store import directories

if TYPE_CHECKING:
    from pathlib import Path


def names_below(root: Path, directory: str, *, follow: bool, made: set[str] | None = None) -> list[str]:
    with directories.OpenDirectories(root, follow=follow, made=made) as opened:
        return os.listdir(opened.descriptor(directory))  # noqa: PTH208 - a descriptor has no path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "store/vms/web").mkdir(parents=True)
    (tmp_path / "store/vms/web/disk").touch()
    return tmp_path / "store"


def test_a_directory_below_is_opened(root: Path) -> None:
    assert names_below(root, "vms/web", follow=False) == ["disk"]
    assert names_below(root, "", follow=False) == ["vms"]


def test_missing_directories_are_made_where_that_is_asked_for(root: Path) -> None:
    made: set[str] = set()
    assert names_below(root, "images/a/b", follow=True, made=made) == []
    assert made == {f"{root}/images", f"{root}/images/a", f"{root}/images/a/b"}
    with pytest.raises(FileNotFoundError):
        names_below(root, "nowhere", follow=True)


def test_a_symlink_is_followed_only_where_that_is_asked_for(root: Path) -> None:
    (root / "vms/link").symlink_to("web")
    assert names_below(root, "vms/link", follow=True) == ["disk"]
    with pytest.raises(StoreError, match="nothing is removed outside the store"):
        names_below(root, "vms/link", follow=False)


def test_a_file_is_no_directory(root: Path) -> None:
    with pytest.raises(NotADirectoryError):
        names_below(root, "vms/web/disk", follow=True)
    with pytest.raises(StoreError, match="not a directory"):
        directories.opened(root / "vms/web/disk")


def test_empty_directories_are_removed_and_others_stay(root: Path) -> None:
    (root / "vms/empty").mkdir()
    (root / "vms/link").symlink_to("empty")
    directories.remove_empty(root, ["vms/empty", "vms/web", "vms/link", "vms/nowhere", "vms"])
    assert sorted(path.name for path in (root / "vms").iterdir()) == ["link", "web"]


def test_an_ordinary_store_is_fine(root: Path) -> None:
    (root / "state.db").touch()
    (root / ".locks").mkdir()
    directories.check(root)
    directories.check(root / "nowhere")


def test_an_images_directory_that_nobody_may_enter_ends_no_command_for_others(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed, listed = f"{root}/images/closed", os.scandir
    (root / "images/closed").mkdir(parents=True)

    def scandir(path: str) -> object:
        if path == closed:  # as it is for a user without rights; these tests may run as root
            raise PermissionError
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(PermissionError):
        directories.check(root)  # what is in it may be reached by its name
    monkeypatch.setattr(os, "access", lambda path, _mode: path != closed)
    directories.check(root)
