from __future__ import annotations

import pytest

from bangerbuild.model import Reason, ReasonCode, Recipe, Record, Situation, Verb, Verdict
from bangerbuild.steps.data_disk import DataDisk
from bangerbuild.steps.work_disk import WorkDisk
from bangerbuild.steps.work_patch import WorkPatch
from bangerbuild.tree import DiskMount
from tests.steps.guest_disks import MIB

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
