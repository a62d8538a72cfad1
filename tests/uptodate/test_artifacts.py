"""The store's part of a record: stamps of artifacts, and places so marked that any later change shows."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bangerbuild import store
from bangerbuild.store.database import NAME
from bangerbuild.uptodate import artifacts
from tests.fakes import FakeDisk, FakeStep, planned
from tests.fakes import built as built_steps
from tests.uptodate.project import Project, remembered

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.model import Plan


def test_every_artifact_is_remembered(built: Project) -> None:
    files = {
        str(path.relative_to(built.store))
        for top in ("images", "vms")
        for path in (built.store / top).rglob("*")
        if path.is_file()
    }
    assert files <= set(remembered(built).marks[0])


DISK = FakeDisk("vm.web.root", outputs=("vms/web/root.ext4",))
IMAGE = FakeStep("image.a.rootfs", outputs=("images/a/{fingerprint}/rootfs.ext4",))


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[store.Store]:
    """A store with an image and a disk, as they were published."""
    built_steps([IMAGE, DISK], tmp_path / "build")
    with store.writing(tmp_path / "build", timeout_seconds=0) as opened:
        yield opened


def plan_of(opened: store.Store) -> Plan:
    return planned([IMAGE, DISK], opened.path)


def test_an_artifact_counts_by_its_size_its_time_and_its_inode(opened: store.Store) -> None:
    marks = artifacts.marks(plan_of(opened), opened)
    assert marks is not None
    names, numbers = marks
    assert names == [path for action in plan_of(opened).actions for path in action.artifacts]
    found = [(opened.path / name).stat() for name in names]
    assert numbers == [number for one in found for number in (one.st_size, one.st_mtime_ns, one.st_ino)]


@pytest.mark.parametrize("change", ["longer", "touched", "replaced"])
def test_an_artifact_that_is_not_as_it_was_published_makes_no_record(
    opened: store.Store, change: str
) -> None:
    plan = plan_of(opened)
    (path,) = opened.path.glob("images/a/*/rootfs.ext4")
    if change == "longer":
        path.write_text(path.read_text() + "more")
    elif change == "touched":
        os.utime(path, (1, 1))
    else:
        content = path.read_text()
        path.unlink()
        path.write_text(content)
    assert artifacts.marks(plan, opened) is None


def test_a_disk_that_its_guest_has_just_written_to_counts_as_it_was(opened: store.Store) -> None:
    """So it is looked at again, as often as it takes until it has a stamp."""
    before = artifacts.marks(plan_of(opened), opened)
    os.utime(opened.path / "vms/web/root.ext4", (1, 1))
    assert artifacts.marks(plan_of(opened), opened) == before


@pytest.mark.parametrize("name", artifacts.LEFTOVERS)
def test_a_change_of_a_disk_that_was_interrupted_makes_no_record(opened: store.Store, name: str) -> None:
    (opened.path / f"vms/web/root.ext4{name}").touch()
    assert artifacts.marks(plan_of(opened), opened) is None


def test_a_file_that_is_gone_is_an_error_and_no_record(opened: store.Store) -> None:
    plan = plan_of(opened)
    (opened.path / "vms/web/root.ext4").unlink()
    with pytest.raises(FileNotFoundError):
        artifacts.marks(plan, opened)


def test_the_database_and_the_directories_of_disks_get_a_time_that_no_clock_gives(
    opened: store.Store,
) -> None:
    paths = [artifacts.database(opened), *artifacts.places(plan_of(opened), opened)]
    assert paths == [str(opened.path / NAME), str(opened.path / "vms/web")]
    before = [Path(path).stat().st_mtime_ns for path in paths]
    for time_ns in before:
        assert time_ns % artifacts.MILLISECOND_NS == 0
        assert time_ns % artifacts.SECOND_NS
    assert [artifacts.database(opened), *artifacts.places(plan_of(opened), opened)] == paths
    assert [Path(path).stat().st_mtime_ns for path in paths] == before
    (opened.path / "vms/web/new").touch()
    assert Path(paths[1]).stat().st_mtime_ns != before[1]


def test_a_time_of_whole_seconds_is_no_mark(tmp_path: Path) -> None:
    os.utime(tmp_path, (5, 5))
    artifacts._tell_apart(tmp_path)
    assert tmp_path.stat().st_mtime_ns % artifacts.SECOND_NS


def test_where_times_are_too_coarse_there_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    utime = os.utime

    def coarse(path: Path, *, ns: tuple[int, int]) -> None:
        utime(path, (ns[0] // artifacts.SECOND_NS, ns[1] // artifacts.SECOND_NS))

    os.utime(tmp_path, (5, 5))
    monkeypatch.setattr(os, "utime", coarse)
    with pytest.raises(OSError, match="too coarse"):
        artifacts._tell_apart(tmp_path)
