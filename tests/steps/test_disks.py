from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar, cast

import pytest

from bangerbuild.disk import clone
from bangerbuild.disk.tools import Geometry
from bangerbuild.errors import FilesystemError
from bangerbuild.model import Reason, ReasonCode, Recipe, Record, Situation, Verb, Verdict
from bangerbuild.steps import disks, in_place
from bangerbuild.steps.data_disk import DataDisk
from bangerbuild.steps.work_disk import WorkDisk
from bangerbuild.steps.work_patch import WorkPatch
from bangerbuild.tree import DiskMount
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
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from bangerbuild.model import Workspace

T = TypeVar("T")
ID = "vm.web.work"
RECORD = Record(
    ID, Recipe("work-disk", {}, {}, {}, {}), "f", ("vms/web/work.ext4",), {"file_bytes": 64 * MIB}
)
MISSING = Reason(ReasonCode.MISSING)
UNKNOWN = Reason(ReasonCode.MISSING, {"record": True})
NEW_SEED = Reason(ReasonCode.INPUT_CHANGED, {"id": "image.debian.work_seed"})
GROW = Reason(ReasonCode.SIZE_GROW, {"old": 64 * MIB, "new": 128 * MIB})
SHRINK = Reason(ReasonCode.SIZE_SHRINK, {"old": 64 * MIB, "new": 32 * MIB})


def situation(
    *changes: Reason,
    record: Record | None = RECORD,
    missing: bool = False,
    disk_verb: Verb | None = None,
) -> Situation:
    def never_asked() -> bool:
        raise AssertionError("a guest's disk is never read to see whether it was changed")

    return Situation(record, changes, missing, never_asked, disk_verb)


# verdicts


@pytest.mark.parametrize(
    ("given", "size_bytes", "verdict"),
    [
        (situation(), 64 * MIB, Verdict(Verb.KEEP)),
        (situation(), None, Verdict(Verb.KEEP)),
        (situation(NEW_SEED), 64 * MIB, Verdict(Verb.KEEP)),
        (situation(record=None, missing=True), 64 * MIB, Verdict(Verb.CREATE, (MISSING,))),
        (situation(missing=True), 128 * MIB, Verdict(Verb.CREATE, (MISSING,))),
        (situation(record=None), 64 * MIB, Verdict(Verb.ADOPT, (UNKNOWN,))),
        (situation(), 128 * MIB, Verdict(Verb.GROW, (GROW,))),
        (situation(NEW_SEED), 128 * MIB, Verdict(Verb.GROW, (GROW,))),
        (situation(), 32 * MIB, Verdict(Verb.BLOCKED, (SHRINK,))),
        (situation(NEW_SEED), 32 * MIB, Verdict(Verb.BLOCKED, (SHRINK,))),
    ],
)
def test_a_disk_that_is_a_guests_is_made_once_and_then_only_kept_or_grown(
    given: Situation, size_bytes: int | None, verdict: Verdict
) -> None:
    assert WorkDisk("web", size_bytes, "/root", ()).judge(given) == verdict
    if size_bytes is not None:
        assert DataDisk("web", "data", size_bytes).judge(given) == verdict


DISK_CHANGED = Reason(ReasonCode.INPUT_CHANGED, {"id": ID})
NEW_FILE = Reason(ReasonCode.RECIPE_CHANGED, {"key": "file[/root/a]"})
BASE_UNKNOWN = Reason(ReasonCode.BASE_UNKNOWN)


@pytest.mark.parametrize(
    ("given", "verdict"),
    [
        (situation(disk_verb=Verb.KEEP), Verdict(Verb.KEEP)),
        (situation(NEW_FILE, disk_verb=Verb.KEEP), Verdict(Verb.UPDATE, (NEW_FILE,))),
        (situation(record=None, disk_verb=Verb.KEEP), Verdict(Verb.UPDATE, (MISSING,))),
        (situation(disk_verb=Verb.CREATE), Verdict(Verb.CREATE, (MISSING,))),
        (situation(record=None, disk_verb=Verb.CREATE), Verdict(Verb.CREATE, (MISSING,))),
        (situation(record=None, disk_verb=Verb.ADOPT), Verdict(Verb.UPDATE, (MISSING,))),
        (situation(disk_verb=Verb.ADOPT), Verdict(Verb.UPDATE, (MISSING,))),
        (situation(DISK_CHANGED, disk_verb=Verb.GROW), Verdict(Verb.KEEP)),
        (situation(DISK_CHANGED, NEW_FILE, disk_verb=Verb.GROW), Verdict(Verb.UPDATE, (NEW_FILE,))),
        (situation(disk_verb=Verb.BLOCKED), Verdict(Verb.KEEP)),
        (situation(NEW_FILE, disk_verb=Verb.BLOCKED), Verdict(Verb.UPDATE, (NEW_FILE,))),
        (situation(record=None, disk_verb=Verb.BLOCKED), Verdict(Verb.BLOCKED, (BASE_UNKNOWN,))),
        (situation(disk_verb=Verb.REPLACE), Verdict(Verb.UPDATE, (DISK_CHANGED,))),
        (situation(NEW_FILE, disk_verb=Verb.REPLACE), Verdict(Verb.UPDATE, (DISK_CHANGED, NEW_FILE))),
    ],
)
def test_a_patch_is_due_where_its_disk_is_new_or_what_it_writes_has_changed(
    given: Situation, verdict: Verdict
) -> None:
    assert WorkPatch(name="web", image="debian", place=DiskMount("/root")).judge(given) == verdict


# mechanisms


@dataclass
class Desk:
    """As much of a workspace as it takes to make or change one disk: the directory it lies in."""

    staging: Path
    warnings: list[str] = field(default_factory=list)
    fingerprint: str = "f"
    epoch: int = EPOCH

    def warn(self, message: str) -> None:
        self.warnings.append(message)

    def shared(self, _key: object, make: Callable[[], AbstractContextManager[T]]) -> T:
        with make() as made:
            return made

    def artifact(self, step_id: str) -> str:
        return step_id

    def path(self, artifact: str) -> Path:
        return self.staging / artifact

    def copy(self, artifact: str, *, sharing: bool) -> Path | None:
        """The disk lies in staging already."""
        return None if sharing else self.staging / artifact

    @contextmanager
    def in_place(self, artifact: str) -> Iterator[Path]:
        yield self.staging / artifact


def workspace(desk: Desk) -> Workspace:
    return cast("Workspace", desk)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.mark.parametrize("size_bytes", [MIB, 64 * MIB, 5 * GIB])
def test_an_empty_disk_has_its_size_and_takes_next_to_nothing(desk: Desk, size_bytes: int) -> None:
    path = desk.staging / "new.ext4"
    disks.make_empty(path, Geometry(size_bytes, label="a-label-of-16-ch"), workspace(desk))
    assert_clean(path)
    assert filesystem_bytes(path) == path.stat().st_size == size_bytes
    assert label(path) == "a-label-of-16-ch"
    assert allocated_bytes(path) < 3 * MIB
    assert list(desk.staging.iterdir()) == [path]


def test_a_disk_has_its_size_though_its_filesystem_leaves_out_a_last_group_of_one_block(desk: Desk) -> None:
    path = desk.staging / "new.ext4"
    disks.make_empty(path, Geometry(5 * GIB + 4096), workspace(desk))
    assert_clean(path)
    assert (filesystem_bytes(path), path.stat().st_size) == (5 * GIB, 5 * GIB + 4096)


@pytest.mark.parametrize("size_bytes", [96 * MIB, GIB, 20 * GIB])
def test_a_disk_grows_with_all_that_is_in_it(desk: Desk, size_bytes: int) -> None:
    path = make_ext4(desk.staging / "disk.ext4")
    before = write_precious(path)
    disks.grow(path, size_bytes, EPOCH)
    assert filesystem_bytes(path) == path.stat().st_size == size_bytes
    assert precious(path) == before


@pytest.mark.parametrize("options", [("-t", "ext2"), ("-t", "ext3"), ("-O", "^resize_inode"), ("-b", "1024")])
def test_disks_of_other_makers_grow_too(desk: Desk, options: tuple[str, ...]) -> None:
    path = make_ext4(desk.staging / "disk.ext4", *options)
    before = write_precious(path)
    in_place.change(workspace(desk), path.name, 256 * MIB)
    assert filesystem_bytes(path) == 256 * MIB
    assert precious(path) == before


def test_a_clone_keeps_its_holes_and_shares_or_says_that_it_cannot(desk: Desk) -> None:
    source = make_ext4(desk.staging / "seed.ext4", size="1G")
    write_precious(source)
    target = desk.staging / "clone.ext4"
    disks.make_clone(source, target, workspace(desk))
    assert target.read_bytes() == source.read_bytes()
    assert allocated_bytes(target) <= 2 * allocated_bytes(source)
    assert target.stat().st_mode & 0o777 == 0o600
    assert desk.warnings in ([], [disks.NO_REFLINK])


def test_a_disk_is_taken_over_as_it_is_where_size_and_label_are_right(desk: Desk) -> None:
    path = make_ext4(desk.staging / "disk.ext4", "-L", "work")
    before = path.read_bytes()
    in_place.change(workspace(desk), path.name, 64 * MIB, label="work")
    assert path.read_bytes() == before


def test_a_disk_of_any_size_and_label_is_taken_where_none_are_declared(desk: Desk) -> None:
    path = make_ext4(desk.staging / "disk.ext4", "-L", "mine")
    before = path.read_bytes()
    in_place.change(workspace(desk), path.name, None)
    assert path.read_bytes() == before


def test_a_label_is_all_that_changes_of_a_disk_taken_over(desk: Desk) -> None:
    path = make_ext4(desk.staging / "disk.ext4", "-L", "mine")
    before = write_precious(path)
    in_place.change(workspace(desk), path.name, 64 * MIB, label="data")
    assert label(path) == "data"
    assert precious(path) == before


def test_a_disk_that_would_have_to_shrink_is_refused_untouched(desk: Desk) -> None:
    path = make_ext4(desk.staging / "disk.ext4")
    before = path.read_bytes()
    with pytest.raises(FilesystemError, match="a disk can't shrink") as caught:
        in_place.change(workspace(desk), path.name, 32 * MIB, label="data")
    assert caught.value.hint == "give it at least that size in the manifest, or move the file away"
    assert path.read_bytes() == before


def test_a_disk_cut_short_is_refused(desk: Desk) -> None:
    path = make_ext4(desk.staging / "disk.ext4")
    with path.open("r+b") as file:
        file.truncate(32 * MIB)
    with pytest.raises(FilesystemError, match=r"'disk\.ext4' is cut short"):
        in_place.change(workspace(desk), path.name, 64 * MIB)


def test_a_filesystem_that_keeps_no_holes_is_warned_of(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clone, "keeps_holes", lambda _directory: False)
    disks.make_empty(desk.staging / "new.ext4", Geometry(64 * MIB), workspace(desk))
    assert desk.warnings == [disks.NO_HOLES]


def test_the_tests_own_filesystem_keeps_holes(tmp_path: Path) -> None:
    assert clone.keeps_holes(tmp_path)
    assert list(tmp_path.iterdir()) == []
