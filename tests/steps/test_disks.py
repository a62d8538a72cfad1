"""Disks opened by what their records remember: their format, their base, and what keeps them from use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk import formats, snapshot_store
from bangerbuild.disk.formats.values import Base, StoredDisk
from bangerbuild.errors import StoreError
from bangerbuild.model import Reason, ReasonCode
from bangerbuild.steps import disks
from bangerbuild.tree import ALONE, DiskMount
from tests.disk.ext4_tools import change_superblock
from tests.steps.guest_disks import MIB, ext4_seed
from tests.steps.workspaces import OneStep

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RAW, SNAPSHOT = formats.FORMATS["raw"], formats.FORMATS["snapshot"]


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[OneStep]:
    """A raw disk `home`, and a snapshot root `root` over the image `base`."""
    ext4_seed(tmp_path / "home.ext4", {"/notes": b"home\n"}, size="16M")
    base = ext4_seed(tmp_path / "base.ext4", {"/etc/motd": b"base\n"}, size="16M")
    snapshot_store.make_file(
        tmp_path / "root.ext4", base.stat().st_size, capacity_bytes=None, base_name="base.ext4"
    )
    facts = {"home": {"format": "raw"}, "root": {"format": "snapshot", "base": "base.ext4"}}
    made = OneStep(tmp_path, known=dict(facts))
    with made.run:
        yield made


def test_the_format_is_the_recorded_one_whatever_the_file_is_called() -> None:
    assert disks.format_of({"format": "snapshot"}, "root.ext4") is SNAPSHOT
    assert disks.format_of({}, "root.cow") is SNAPSHOT
    assert disks.format_of({}, "work.ext4") is RAW


@pytest.mark.parametrize(("facts", "name"), [({"format": "toy"}, "root.ext4"), ({}, "root.toy")])
def test_a_format_that_nobody_knows_is_an_error(facts: dict[str, str], name: str) -> None:
    with pytest.raises(StoreError):
        disks.format_of(dict(facts), name)


def test_a_disk_is_told_with_its_base_where_it_stands_on_one(workspace: OneStep) -> None:
    path = workspace.staging
    assert disks.stored(workspace, "home") == (RAW, StoredDisk(path / "home.ext4", "home.ext4", None))
    base = Base(path / "base.ext4", "base.ext4")
    assert disks.stored(workspace, "root") == (SNAPSHOT, StoredDisk(path / "root.ext4", "root.ext4", base))


def test_paths_are_the_guests(workspace: OneStep) -> None:
    with disks.opened_to_read(workspace, "home", DiskMount("/root")) as disk:
        assert disk.read("/root/notes") == b"home\n"
    with disks.opened_to_read(workspace, "root", ALONE) as disk:
        assert disk.read("/etc/motd") == b"base\n"


def test_what_is_written_to_a_root_goes_to_its_store_and_not_to_its_image(workspace: OneStep) -> None:
    before = (workspace.staging / "base.ext4").read_bytes()
    with disks.opened_to_write(workspace, "root", ALONE) as disk:
        disk.write_file("/etc/motd", b"mine\n")
    with disks.opened_to_read(workspace, "root", ALONE) as disk:
        assert disk.read("/etc/motd") == b"mine\n"
    with disks.opened_image(workspace, "base.ext4") as image:
        assert image.read("/etc/motd") == b"base\n"
    assert (workspace.staging / "base.ext4").read_bytes() == before


def test_a_disk_in_order_has_nothing_to_be_said_of_it(workspace: OneStep) -> None:
    for step_id in ("home", "root"):
        assert disks.inspect(workspace, *disks.stored(workspace, step_id)) == ()


def test_a_disk_with_errors_is_told_with_the_way_out(workspace: OneStep) -> None:
    change_superblock(workspace.staging / "home.ext4", state=2)
    (reason,) = disks.inspect(workspace, *disks.stored(workspace, "home"))
    assert reason.code is ReasonCode.ARTIFACT_MODIFIED
    assert reason.facts["path"] == "home.ext4"
    assert reason.facts["error"] == "'home.ext4' is marked as having errors"
    assert reason.facts["hint"]


def test_a_root_made_on_another_image_is_told_with_both(workspace: OneStep) -> None:
    snapshot_store.make_file(
        workspace.staging / "other.ext4", 16 * MIB, capacity_bytes=None, base_name="images/other"
    )
    workspace.known["other"] = workspace.known["root"]
    assert disks.inspect(workspace, *disks.stored(workspace, "other")) == (
        Reason(ReasonCode.BASE_UNKNOWN, {"base": "images/other", "recorded": "base.ext4"}),
    )


def test_what_is_no_disk_is_told_and_left(workspace: OneStep) -> None:
    (workspace.staging / "home.ext4").write_bytes(b"notes")
    (reason,) = disks.inspect(workspace, *disks.stored(workspace, "home"))
    assert reason.code is ReasonCode.ARTIFACT_MODIFIED
    assert (workspace.staging / "home.ext4").read_bytes() == b"notes"
