from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk import clone, making
from bangerbuild.disk.tools import Geometry
from tests.disk.desk import Desk
from tests.disk.ext4_tools import assert_clean, make_ext4
from tests.fakes import EPOCH
from tests.steps.guest_disks import (
    GIB,
    MIB,
    allocated_bytes,
    filesystem_bytes,
    label,
    precious,
    write_precious,
)

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.mark.parametrize("size_bytes", [MIB, 64 * MIB, 5 * GIB])
def test_an_empty_disk_has_its_size_and_takes_next_to_nothing(desk: Desk, size_bytes: int) -> None:
    path = desk.staging / "new.ext4"
    making.make_empty(path, Geometry(size_bytes, label="a-label-of-16-ch"), desk)
    assert_clean(path)
    assert filesystem_bytes(path) == path.stat().st_size == size_bytes
    assert label(path) == "a-label-of-16-ch"
    assert allocated_bytes(path) < 3 * MIB
    assert list(desk.staging.iterdir()) == [path]


def test_a_disk_has_its_size_though_its_filesystem_leaves_out_a_last_group_of_one_block(desk: Desk) -> None:
    path = desk.staging / "new.ext4"
    making.make_empty(path, Geometry(5 * GIB + 4096), desk)
    assert_clean(path)
    assert (filesystem_bytes(path), path.stat().st_size) == (5 * GIB, 5 * GIB + 4096)


@pytest.mark.parametrize("size_bytes", [96 * MIB, GIB, 20 * GIB])
def test_a_disk_grows_with_all_that_is_in_it(desk: Desk, size_bytes: int) -> None:
    path = make_ext4(desk.staging / "disk.ext4")
    before = write_precious(path)
    making.grow(path, size_bytes, EPOCH)
    assert filesystem_bytes(path) == path.stat().st_size == size_bytes
    assert precious(path) == before


def test_a_clone_keeps_its_holes_and_shares_or_says_that_it_cannot(desk: Desk) -> None:
    source = make_ext4(desk.staging / "seed.ext4", size="1G")
    write_precious(source)
    target = desk.staging / "clone.ext4"
    making.make_clone(source, target, desk)
    assert target.read_bytes() == source.read_bytes()
    assert allocated_bytes(target) <= 2 * allocated_bytes(source)
    assert target.stat().st_mode & 0o777 == 0o600
    assert desk.warnings in ([], [making.NO_REFLINK])


def test_a_filesystem_that_keeps_no_holes_is_warned_of(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clone, "keeps_holes", lambda _directory: False)
    making.make_empty(desk.staging / "new.ext4", Geometry(64 * MIB), desk)
    assert desk.warnings == [making.NO_HOLES]


def test_the_tests_own_filesystem_keeps_holes(tmp_path: Path) -> None:
    assert clone.keeps_holes(tmp_path)
    assert list(tmp_path.iterdir()) == []
