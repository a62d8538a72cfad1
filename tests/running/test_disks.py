from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import BusyError, StoreError
from bangerbuild.running import disks
from tests.launch.samples import WEB, WEB_BOOT

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A VM's, with all that it needs."""
    own = tmp_path / "vms" / "web"
    own.mkdir(parents=True)
    for name in (WEB_BOOT.kernel, WEB_BOOT.initrd or "", *(drive.path for drive in WEB.drives)):
        (own / name).parent.mkdir(parents=True, exist_ok=True)
        (own / name).touch()
    return own


def test_where_all_is_there_nothing_is_said(directory: Path) -> None:
    disks.check(WEB, WEB_BOOT, directory)


def test_a_disk_that_is_not_there_or_changed_by_half_is_named(directory: Path) -> None:
    log = directory / "work.ext4.redo"
    log.touch()
    with pytest.raises(StoreError, match=r"a change of '.*work\.ext4' was interrupted"):
        disks.check(WEB, WEB_BOOT, directory)
    log.unlink()
    (directory / "work.ext4").unlink()
    with pytest.raises(StoreError, match=r"work\.ext4' is not there"):
        disks.check(WEB, WEB_BOOT, directory)


def test_a_disk_that_somebody_writes_to_is_in_use(directory: Path) -> None:
    with (directory / "work.ext4").open("r+b"), pytest.raises(BusyError, match=r"work\.ext4' is in use by"):
        disks.check(WEB, WEB_BOOT, directory)


def test_an_attachment_of_before_the_host_was_restarted_is_none(directory: Path) -> None:
    (directory / "root.dev").unlink()
    (directory / "root.dev").symlink_to("/dev/mapper/bangerbuild-gone")
    with pytest.raises(StoreError, match="the root of 'web' is not attached"):
        disks.check(WEB, WEB_BOOT, directory)
