"""What lies in a store: told by the filesystem alone, and links only where they are the user's own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import StoreError
from bangerbuild.store.directory import StoreDirectory

if TYPE_CHECKING:
    from pathlib import Path

DISK = "vms/web/work.ext4"


@pytest.fixture
def directory(tmp_path: Path) -> StoreDirectory:
    (tmp_path / "vms/web").mkdir(parents=True)
    return StoreDirectory(tmp_path)


def test_what_is_not_there_is_nothing_and_in_nobodys_way(directory: StoreDirectory) -> None:
    assert (directory.status(DISK), directory.size(DISK), directory.allocated(DISK)) == (
        None,
        None,
        None,
    )
    assert not directory.exists(DISK)
    assert directory.obstacle(DISK) is None
    assert not directory.lies_there("web")


def test_a_file_has_its_size_and_what_it_takes(directory: StoreDirectory) -> None:
    path = directory.path / DISK
    path.write_bytes(b"data")
    os.truncate(path, 1 << 20)
    assert (directory.exists(DISK), directory.size(DISK)) == (True, 1 << 20)
    assert directory.allocated(DISK) == path.stat().st_blocks * 512
    assert directory.lies_there("web")


@pytest.mark.parametrize(
    ("put", "told"),
    [
        (lambda path: path.mkdir(), "is a directory"),
        (os.mkfifo, "is no regular file"),
        (lambda path: path.symlink_to("absent"), "is a symlink to 'absent', which is not there"),
        (lambda path: path.symlink_to("/dev/null"), "is a symlink to '/dev/null', which is no file"),
    ],
    ids=["directory", "fifo", "dangling", "device"],
)
def test_what_is_no_file_is_told_as_an_obstacle(directory: StoreDirectory, put: object, told: str) -> None:
    assert callable(put)
    put(directory.path / DISK)
    assert directory.obstacle(DISK) == f"'{directory.path / DISK}' {told}"


def test_a_link_of_the_user_leads_to_the_disk(directory: StoreDirectory, tmp_path: Path) -> None:
    (tmp_path / "drive").write_bytes(b"data")
    (directory.path / DISK).symlink_to(tmp_path / "drive")
    assert directory.size(DISK) == 4
    assert directory.own_path(DISK) == directory.path / DISK


def test_a_file_on_the_way_is_as_if_nothing_were_there(directory: StoreDirectory) -> None:
    (directory.path / "vms/db").write_bytes(b"")
    assert directory.status("vms/db/work.ext4") is None


def test_what_can_not_be_looked_at_is_an_error_and_may_exist(
    directory: StoreDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(_path: object) -> os.stat_result:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "lstat", refused)
    with pytest.raises(StoreError, match=DISK):
        directory.exists(DISK)
    assert directory.may_exist(DISK)
