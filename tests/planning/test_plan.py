"""Plans as values: fake steps over a real store, and the verdicts of each kind as tables."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pytest

from bangerbuild import graph, store
from bangerbuild.epoch import Epoch
from bangerbuild.errors import FilesystemError, StoreError
from bangerbuild.model import (
    Action,
    FileDiff,
    Plan,
    Preview,
    Reason,
    ReasonCode,
    Recipe,
    Situation,
    Source,
    Verb,
    Verdict,
)
from bangerbuild.model.fingerprint import fingerprint, step_fields
from bangerbuild.model.image_cache import Answer, ImageCache, Offer, Wanted
from bangerbuild.planning import plan
from bangerbuild.planning.plan_view import KeptOpen, PlanView
from tests.fakes import FakeDisk, FakeHost, FakeStep, built, planned
from tests.stores import lose_records

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bangerbuild.model import Json, Step, View

SEED = Source("tar", Path("/seed.tar"), "seed.tar")
BASE = FakeStep(
    "image.deb.rootfs",
    outputs=("images/deb/{fingerprint}/rootfs.ext4",),
    text="deb",
    sources=(SEED,),
    tools=("mke2fs",),
)
ROOT = FakeDisk("vm.web.root", inputs=("image.deb.rootfs",), outputs=("vms/web/root.cow",), text="root")
PATCH = FakeDisk("vm.web.root.patch", inputs=("vm.web.root",), changes="vm.web.root", text="patch")
STEPS = (BASE, ROOT, PATCH)

Shape = dict[str, tuple[str, list[dict[str, "Json"]]]]


def shape(made: Plan) -> Shape:
    """Each step's verb and reasons, as a program sees them."""
    return {
        action.id: (action.verb.value, [reason.to_json() for reason in action.reasons])
        for action in made.actions
    }


def of(made: Plan, step_id: str) -> Action:
    return next(action for action in made.actions if action.id == step_id)


def recipe(
    step: Step,
    inputs: dict[str, str] | None = None,
    sources: dict[str, str] | None = None,
    tools: dict[str, str] | None = None,
) -> Recipe:
    return Recipe(
        "fake", step_fields(step), inputs or {}, sources or {}, {"bangerbuild fake": "1"} | (tools or {})
    )


MISSING = (Reason(ReasonCode.MISSING),)
KEPT: tuple[str, list[dict[str, Json]]] = ("keep", [])


def test_the_plan_of_an_empty_store_is_to_create_everything(tmp_path: Path) -> None:
    base = recipe(BASE, sources={"tar": "digest of tar"}, tools={"mke2fs": "1"})
    root = recipe(ROOT, inputs={"image.deb.rootfs": fingerprint(base)})
    patch = recipe(PATCH, inputs={"vm.web.root": fingerprint(root)})
    image = f"images/deb/{fingerprint(base)}/rootfs.ext4"
    assert planned(STEPS, tmp_path / "build") == Plan(
        store=tmp_path / "build",
        actions=(
            Action(BASE, Verb.CREATE, MISSING, base, fingerprint(base), (image,)),
            Action(ROOT, Verb.CREATE, MISSING, root, fingerprint(root), ("vms/web/root.cow",)),
            Action(PATCH, Verb.CREATE, MISSING, patch, fingerprint(patch), ("vms/web/root.cow",)),
        ),
    )


def test_what_was_built_is_kept_with_the_fingerprint_it_was_recorded_with(tmp_path: Path) -> None:
    first = planned(STEPS, tmp_path)
    built(STEPS, tmp_path)
    again = planned(STEPS, tmp_path)
    assert shape(again) == dict.fromkeys([step.id for step in STEPS], KEPT)
    assert [action.fingerprint for action in again.actions] == [
        action.fingerprint for action in first.actions
    ]


def test_a_tool_s_new_version_alone_is_said_and_moves_nothing(tmp_path: Path) -> None:
    built(STEPS, tmp_path)
    before = planned(STEPS, tmp_path)
    after = planned(STEPS, tmp_path, FakeHost(versions={"mke2fs": "2"}))
    assert shape(after) == {
        "image.deb.rootfs": (
            "keep",
            [{"code": "tool-changed", "tool": "mke2fs", "old": "1", "new": "2"}],
        ),
        "vm.web.root": KEPT,
        "vm.web.root.patch": KEPT,
    }
    assert [action.fingerprint for action in after.actions] == [
        action.fingerprint for action in before.actions
    ]


def test_a_changed_source_changes_all_that_is_built_on_it(tmp_path: Path) -> None:
    built(STEPS, tmp_path)
    assert shape(planned(STEPS, tmp_path, FakeHost(digests={"tar": "other"}))) == {
        "image.deb.rootfs": ("replace", [{"code": "source-changed", "path": "seed.tar"}]),
        "vm.web.root": ("replace", [{"code": "input-changed", "id": "image.deb.rootfs"}]),
        "vm.web.root.patch": ("update", [{"code": "input-changed", "id": "vm.web.root"}]),
    }


def test_an_artifact_that_went_away_is_made_again_with_its_fingerprint(tmp_path: Path) -> None:
    built(STEPS, tmp_path)
    made = planned(STEPS, tmp_path)
    (tmp_path / of(made, "image.deb.rootfs").artifacts[0]).unlink()
    again = planned(STEPS, tmp_path)
    assert shape(again)["image.deb.rootfs"] == ("create", [{"code": "missing"}])
    assert shape(again)["vm.web.root"] == KEPT
    assert of(again, "image.deb.rootfs").fingerprint == of(made, "image.deb.rootfs").fingerprint


def test_an_older_recipe_whose_artifact_is_still_there_holds_again(tmp_path: Path) -> None:
    built([BASE], tmp_path)
    newer = FakeHost(digests={"tar": "newer"})
    built([BASE], tmp_path, newer)
    back = planned([BASE], tmp_path)
    assert shape(back) == {"image.deb.rootfs": KEPT}
    assert of(back, "image.deb.rootfs").artifacts != of(planned([BASE], tmp_path, newer), BASE.id).artifacts


def test_without_the_old_artifact_an_older_recipe_is_made_again(tmp_path: Path) -> None:
    built([BASE], tmp_path)
    old = of(planned([BASE], tmp_path), BASE.id).artifacts[0]
    built([BASE], tmp_path, FakeHost(digests={"tar": "newer"}))
    (tmp_path / old).unlink()
    assert shape(planned([BASE], tmp_path)) == {"image.deb.rootfs": ("create", [{"code": "missing"}])}


class TestInUse:
    """A disk that somebody holds open matters only if something must be done to it."""

    HELD = FakeHost(holders={"root.cow": "qemu (process 7)"})
    IN_USE: ClassVar[dict[str, Json]] = {"code": "in-use", "holder": "qemu (process 7)"}

    def test_a_held_disk_with_nothing_to_do_is_plainly_kept(self, tmp_path: Path) -> None:
        built(STEPS, tmp_path)
        assert shape(planned(STEPS, tmp_path, self.HELD)) == dict.fromkeys([s.id for s in STEPS], KEPT)

    def test_a_held_disk_with_a_new_tool_is_kept_and_not_in_use(self, tmp_path: Path) -> None:
        patch = replace(PATCH, tools=("libext2fs",))
        built((BASE, ROOT, patch), tmp_path)
        host = replace(self.HELD, versions={"libext2fs": "2"})
        made = planned((BASE, ROOT, patch), tmp_path, host)
        assert [action.in_use for action in made.actions] == [False] * 3

    def test_a_changed_step_on_a_held_disk_carries_its_holder_and_is_not_run(self, tmp_path: Path) -> None:
        built(STEPS, tmp_path)
        made = planned((BASE, ROOT, replace(PATCH, text="new")), tmp_path, self.HELD)
        assert shape(made) == {
            "image.deb.rootfs": KEPT,
            "vm.web.root": KEPT,
            "vm.web.root.patch": (
                "update",
                [{"code": "recipe-changed", "key": "text", "old": "patch", "new": "new"}, self.IN_USE],
            ),
        }
        assert [action.pending for action in made.actions] == [False] * 3

    def test_a_held_disk_is_never_previewed(self, tmp_path: Path) -> None:
        patch = replace(PATCH, diffs=(FileDiff("/etc/hostname", "text"),))
        built((BASE, ROOT, patch), tmp_path)
        made = planned((BASE, ROOT, replace(patch, text="new")), tmp_path, self.HELD)
        assert of(made, PATCH.id).diffs == ()

    def test_a_held_disk_is_not_replaced_and_neither_is_its_patch_run(self, tmp_path: Path) -> None:
        built(STEPS, tmp_path)
        made = planned((BASE, replace(ROOT, text="new"), PATCH), tmp_path, self.HELD)
        assert [(action.verb, action.in_use) for action in made.actions] == [
            (Verb.KEEP, False),
            (Verb.REPLACE, True),
            (Verb.KEEP, False),
        ]

    def test_replace_does_not_touch_a_held_disk_either(self, tmp_path: Path) -> None:
        built(STEPS, tmp_path)
        made = planned(STEPS, tmp_path, self.HELD, forced=["vm.web.root", "vm.web.root.patch"])
        assert not any(action.pending for action in made.actions)

    def test_the_patch_of_a_disk_that_is_replaced_by_force_is_held_up_with_it(self, tmp_path: Path) -> None:
        built(STEPS, tmp_path)
        made = planned(STEPS, tmp_path, self.HELD, forced=["vm.web.root"])
        assert not any(action.pending for action in made.actions)

    def test_who_holds_an_artifact_that_nobody_writes_does_not_matter(self, tmp_path: Path) -> None:
        built(STEPS, tmp_path)
        host = FakeHost(digests={"tar": "new"}, holders={"rootfs.ext4": "qemu (process 7)"})
        assert not any(action.in_use for action in planned(STEPS, tmp_path, host).actions)


class TestForced:
    """`--replace`."""

    FORCED: ClassVar[dict[str, Json]] = {"code": "forced"}

    def test_a_forced_step_is_made_anew_though_nothing_changed(self, tmp_path: Path) -> None:
        built(STEPS, tmp_path)
        made = planned(STEPS, tmp_path, forced=["vm.web.root", "vm.web.root.patch"])
        assert shape(made) == {
            "image.deb.rootfs": KEPT,
            "vm.web.root": ("replace", [self.FORCED]),
            "vm.web.root.patch": ("update", [self.FORCED]),
        }

    def test_a_forced_step_that_changed_says_both(self, tmp_path: Path) -> None:
        built(STEPS, tmp_path)
        made = planned((BASE, replace(ROOT, text="new"), PATCH), tmp_path, forced=["vm.web.root"])
        assert shape(made)["vm.web.root"] == (
            "replace",
            [{"code": "recipe-changed", "key": "text", "old": "root", "new": "new"}, self.FORCED],
        )

    def test_a_forced_step_that_is_missing_is_simply_created(self, tmp_path: Path) -> None:
        assert shape(planned(STEPS, tmp_path, forced=[step.id for step in STEPS])) == {
            step.id: ("create", [{"code": "missing"}]) for step in STEPS
        }


class TestBlocked:
    """Nothing of a guest's is lost, and nobody else waits for it."""

    class Written(FakeDisk):
        """A disk that a guest has written to: it stays."""

        def judge(self, situation: Situation) -> Verdict:
            if situation.record is None or not situation.changes:
                return super().judge(situation)
            return Verdict(Verb.BLOCKED, (*situation.changes, Reason(ReasonCode.GUEST_WROTE)))

    def test_the_patch_of_a_blocked_disk_is_updated_and_stands_on_the_disk_as_recorded(
        self, tmp_path: Path
    ) -> None:
        root = self.Written(ROOT.id, ROOT.inputs, ROOT.outputs)
        built((BASE, root, PATCH), tmp_path)
        before = planned((BASE, root, PATCH), tmp_path)
        changed = (replace(BASE, text="new"), root, replace(PATCH, text="new"))
        made = planned(changed, tmp_path)
        assert shape(made)["vm.web.root"] == (
            "blocked",
            [{"code": "input-changed", "id": "image.deb.rootfs"}, {"code": "guest-wrote"}],
        )
        assert shape(made)["vm.web.root.patch"] == (
            "update",
            [{"code": "recipe-changed", "key": "text", "old": "patch", "new": "new"}],
        )
        assert of(made, "vm.web.root").fingerprint == of(before, "vm.web.root").fingerprint
        assert of(made, "vm.web.root.patch").pending

    class Unknown(FakeDisk):
        """A disk whose base only its record can tell."""

        def judge(self, situation: Situation) -> Verdict:
            if situation.missing or situation.record:
                return super().judge(situation)
            return Verdict(Verb.BLOCKED, (Reason(ReasonCode.BASE_UNKNOWN),))

    @pytest.fixture
    def unknown(self, tmp_path: Path) -> Unknown:
        """Such a disk, and no record of it."""
        with store.writing(tmp_path, timeout_seconds=0):
            pass
        lose_records(tmp_path)
        (tmp_path / "vms/web").mkdir(parents=True)
        (tmp_path / "vms/web/root.cow").touch()
        return self.Unknown(ROOT.id, ROOT.inputs, ROOT.outputs)

    @pytest.mark.parametrize("forced", [[], ["vm.web.root.patch"]])
    def test_what_changes_or_reads_a_disk_of_which_nothing_is_known_is_held_up_with_it(
        self, tmp_path: Path, unknown: Unknown, forced: list[str]
    ) -> None:
        script = FakeStep("vm.web.launch", inputs=("vm.web.root",), outputs=("vms/web/qemu.sh",))
        made = planned((BASE, unknown, PATCH, script), tmp_path, forced=forced)
        assert shape(made) == {
            "image.deb.rootfs": ("create", [{"code": "missing"}]),
            "vm.web.root": ("blocked", [{"code": "base-unknown"}]),
            "vm.web.root.patch": ("blocked", [{"code": "base-unknown"}]),
            "vm.web.launch": ("blocked", [{"code": "base-unknown"}]),
        }

    def test_replacing_a_disk_of_which_nothing_is_known_patches_it_as_a_new_one(
        self, tmp_path: Path, unknown: Unknown
    ) -> None:
        made = shape(planned((BASE, unknown, PATCH), tmp_path, forced=["vm.web.root", "vm.web.root.patch"]))
        assert made["vm.web.root"] == ("replace", [{"code": "forced"}])
        assert made["vm.web.root.patch"] == ("create", [{"code": "missing"}])


class TestADiskThatIsGone:
    """One that holds what a guest wrote, as a record of this store says."""

    WORK = FakeDisk("vm.web.work", outputs=("vms/web/work.ext4",), text="work", is_guests=True)
    WORK_PATCH = FakeDisk("vm.web.work.patch", inputs=(WORK.id,), changes=WORK.id, text="patch")
    LAUNCH = FakeStep("vm.web.launch", inputs=(WORK.id,), outputs=("vms/web/launch",))
    ALL = (WORK, WORK_PATCH, LAUNCH)

    def test_it_is_blocked_with_its_patch_and_files_that_are_away_too(self, tmp_path: Path) -> None:
        built(self.ALL, tmp_path)
        (tmp_path / "vms").rename(tmp_path / "unmounted")
        made = planned(self.ALL, tmp_path)
        assert {(action.verb, action.reasons[0].code) for action in made.actions} == {
            (Verb.BLOCKED, ReasonCode.DISK_GONE)
        }
        assert of(made, self.WORK.id).reasons[0].facts["path"] == "vms/web/work.ext4"
        (tmp_path / "unmounted").rename(tmp_path / "vms")
        assert {action.verb for action in planned(self.ALL, tmp_path).actions} == {Verb.KEEP}

    def test_replacing_it_makes_a_new_one(self, tmp_path: Path) -> None:
        built(self.ALL, tmp_path)
        (tmp_path / "vms/web/work.ext4").unlink()
        forced = [self.WORK.id, self.WORK_PATCH.id]
        made = shape(planned(self.ALL, tmp_path, forced=forced))
        assert made[self.WORK.id] == ("create", [{"code": "missing"}, {"code": "forced"}])
        built(self.ALL, tmp_path, forced=forced)
        assert (tmp_path / "vms/web/work.ext4").exists()

    def test_without_a_record_it_is_made(self, tmp_path: Path) -> None:
        assert {action.verb for action in planned(self.ALL, tmp_path).actions} == {Verb.CREATE}

    def test_one_that_was_to_be_destroyed_is_made(self, tmp_path: Path) -> None:
        built(self.ALL, tmp_path)
        with store.writing(tmp_path, timeout_seconds=0) as opened:
            opened.mark([self.WORK.id], destroyed=True)
        (tmp_path / "vms/web/work.ext4").unlink()
        assert of(planned(self.ALL, tmp_path), self.WORK.id).verb is Verb.CREATE

    def test_a_root_that_is_ours_is_made_again(self, tmp_path: Path) -> None:
        built(STEPS, tmp_path)
        (tmp_path / "vms/web/root.cow").unlink()
        assert of(planned(STEPS, tmp_path), ROOT.id).verb is Verb.CREATE


def test_an_artifact_that_can_t_be_looked_at_is_said_and_left(tmp_path: Path) -> None:
    class Denied(FakeHost):
        def holder(self, path: Path) -> str | None:
            if path.name == "root.cow":
                raise StoreError(f"'{path.name}': permission denied") from PermissionError()
            return None

    other = FakeStep("vm.db.launch", outputs=("vms/db/launch",), text="db")
    built(STEPS, tmp_path)
    changed = (BASE, replace(ROOT, text="new"), PATCH, other)
    made = planned(changed, tmp_path, Denied())
    for step_id in (ROOT.id, PATCH.id):
        (reason,) = of(made, step_id).reasons
        assert (of(made, step_id).verb, reason.code) == (Verb.BLOCKED, ReasonCode.WOULD_FAIL)
        assert reason.facts["message"] == "'root.cow': permission denied"
    assert of(made, other.id).verb is Verb.CREATE


class TestPreview:
    DIFF = FileDiff("/etc/hostname", note="changes")

    def test_an_update_of_a_kept_disk_carries_what_it_would_change(self, tmp_path: Path) -> None:
        built(STEPS, tmp_path)
        patch = replace(PATCH, text="new", diffs=(self.DIFF,))
        assert of(planned((BASE, ROOT, patch), tmp_path), PATCH.id).diffs == (self.DIFF,)

    def test_what_is_made_anew_is_not_previewed(self, tmp_path: Path) -> None:
        patch = replace(PATCH, diffs=(self.DIFF,))
        assert of(planned((BASE, ROOT, patch), tmp_path), PATCH.id).diffs == ()
        built((BASE, ROOT, patch), tmp_path)
        made = planned((BASE, replace(ROOT, text="new"), patch), tmp_path)
        assert of(made, PATCH.id).diffs == ()

    def test_a_guest_that_can_t_be_read_is_blocked_and_leaves_the_plan_of_the_others(
        self, tmp_path: Path
    ) -> None:
        class Unreadable(FakeDisk):
            def preview(  # it fails whatever it sees
                self,
                view: View,  # noqa: ARG002
                *,
                is_untouched: bool,  # noqa: ARG002
                remakes_disk: bool,  # noqa: ARG002
                in_full: bool = True,  # noqa: ARG002
            ) -> Preview:
                raise FilesystemError("'root.cow' has errors", hint="e2fsck")

        built(STEPS, tmp_path)
        patch = Unreadable(PATCH.id, PATCH.inputs, text="new", changes=PATCH.changes)
        made = planned((BASE, ROOT, patch), tmp_path)
        reason = {"code": "would-fail", "message": "'root.cow' has errors", "hint": "e2fsck"}
        assert shape(made)[PATCH.id] == ("blocked", [reason])

    def test_a_patch_that_would_fail_keeps_its_new_disk_from_being_made(self, tmp_path: Path) -> None:
        would_fail = Reason(ReasonCode.WOULD_FAIL, {"message": "no"})
        built((BASE,), tmp_path)
        made = shape(planned((BASE, ROOT, replace(PATCH, obstacle=(would_fail,))), tmp_path))
        assert made[ROOT.id] == made[PATCH.id] == ("blocked", [{"code": "would-fail", "message": "no"}])

    def test_a_preview_sees_published_artifacts_and_recorded_facts(self, tmp_path: Path) -> None:
        built(STEPS, tmp_path)
        opened = store.read(tmp_path)
        actions = {action.id: action for action in planned(STEPS, tmp_path).actions}
        with ExitStack() as stack:
            view = PlanView(opened, actions, Epoch(7), FakeHost(), KeptOpen(stack))
        assert view.path(view.artifact("vm.web.root")) == tmp_path / "vms/web/root.cow"
        assert view.facts("vm.web.root") == {"text": "root"}
        assert view.epoch == 7


class TestRemakesDisk:
    """Whether the plan has a disk made anew by its patch."""

    CHANGED = (BASE, ROOT, replace(PATCH, text="new"))

    def test_a_disk_as_it_was_published_is_made_anew(self, tmp_path: Path) -> None:
        built(STEPS, tmp_path)
        assert of(planned(self.CHANGED, tmp_path), PATCH.id).remakes_disk

    def test_a_disk_that_a_guest_wrote_to_is_not(self, tmp_path: Path) -> None:
        built(STEPS, tmp_path)
        (tmp_path / "vms/web/root.cow").write_text("a guest's")
        assert not of(planned(self.CHANGED, tmp_path), PATCH.id).remakes_disk

    def test_a_disk_whose_stat_differs_but_not_its_bytes_is_made_anew(self, tmp_path: Path) -> None:
        built(STEPS, tmp_path)
        os.utime(tmp_path / "vms/web/root.cow", (1, 1))
        assert of(planned(self.CHANGED, tmp_path), PATCH.id).remakes_disk

    def test_a_disk_that_was_patched_after_a_guest_wrote_to_it_stays_the_guest_s(
        self, tmp_path: Path
    ) -> None:
        built(STEPS, tmp_path)
        (tmp_path / "vms/web/root.cow").write_text("a guest's")
        built(self.CHANGED, tmp_path)
        again = (BASE, ROOT, replace(PATCH, text="newer"))
        assert not of(planned(again, tmp_path), PATCH.id).remakes_disk

    def test_a_disk_that_was_made_anew_is_ours_again(self, tmp_path: Path) -> None:
        built(STEPS, tmp_path)
        (tmp_path / "vms/web/root.cow").write_text("a guest's")
        built(self.CHANGED, tmp_path)
        built(self.CHANGED, tmp_path, forced=["vm.web.root", "vm.web.root.patch"])
        again = (BASE, ROOT, replace(PATCH, text="newer"))
        assert of(planned(again, tmp_path), PATCH.id).remakes_disk


def everything(top: Path) -> dict[str, tuple[int, ...]]:
    """All below a directory, with what stat says but for the time of last access."""
    return {
        str(path.relative_to(top)): (
            *((found := path.lstat()).st_mode, found.st_ino, found.st_size, found.st_mtime_ns),
            found.st_ctime_ns,
        )
        for path in (top, *sorted(top.rglob("*")))
    }


def test_planning_for_a_store_that_is_not_there_makes_nothing(tmp_path: Path) -> None:
    before = everything(tmp_path)
    planned(STEPS, tmp_path / "build")
    assert everything(tmp_path) == before


def test_planning_writes_nothing_into_a_store(tmp_path: Path) -> None:
    built(STEPS, tmp_path)
    (tmp_path / "vms/web/root.cow").write_text("a guest's")
    before = everything(tmp_path)
    planned((BASE, ROOT, replace(PATCH, text="new")), tmp_path, FakeHost(digests={"tar": "new"}))
    assert everything(tmp_path) == before


class FakeCache(ImageCache):
    """Has what a test put into it, and remembers what it was asked for."""

    def __init__(self, *offers: Offer, warning: str | None = None) -> None:
        self.offers = offers
        self.warnings = (warning,) if warning else ()
        self.asked: list[str] = []

    def ask(self, wanted: Sequence[Wanted]) -> None:
        self.asked += [one.step_id for one in wanted]

    def find(self, wanted: Wanted) -> Answer:  # noqa: ARG002
        """What is there, whatever the fingerprint: that of what other tools made is another one."""
        return Answer(self.offers[0] if self.offers else None, self.warnings)


def offer(of_tool: str) -> Offer:
    made = recipe(BASE, sources={"tar": "digest of tar"}, tools={"mke2fs": of_tool})
    return Offer("docker://r/team/deb@sha256:0", "docker://r/team/deb:1", made, fingerprint(made), 3 << 20)


def planned_with(cache: FakeCache, path: Path, *forced: str) -> Plan:
    ids = frozenset(forced)
    return plan.make(graph.build(STEPS), store.read(path), FakeHost(), epoch=Epoch(), cache=cache, forced=ids)


@pytest.mark.parametrize("tool", ["1", "2"])
def test_an_image_that_a_cache_has_is_fetched_as_whoever_made_it_has_it(tmp_path: Path, tool: str) -> None:
    cache, there = FakeCache(offer(tool)), offer(tool)
    made = planned_with(cache, tmp_path)
    assert {step_id: verb for step_id, (verb, _) in shape(made).items()} == {
        "image.deb.rootfs": "fetch",
        "vm.web.root": "create",
        "vm.web.root.patch": "create",
    }
    action = of(made, "image.deb.rootfs")
    assert (action.recipe, action.fingerprint, action.reasons) == (there.recipe, there.fingerprint, MISSING)
    assert action.artifacts == (f"images/deb/{there.fingerprint}/rootfs.ext4",)
    assert action.notes == ("from docker://r/team/deb:1, 3 MiB",)
    assert of(made, "vm.web.root").recipe.inputs == {"image.deb.rootfs": there.fingerprint}
    assert cache.asked == ["image.deb.rootfs"]


def test_of_what_is_there_no_cache_is_asked(tmp_path: Path) -> None:
    built(STEPS, tmp_path)
    cache = FakeCache(offer("1"))
    assert {verb for verb, _ in shape(planned_with(cache, tmp_path)).values()} == {"keep"}
    assert cache.asked == []


def test_what_shall_be_made_anew_is_not_fetched(tmp_path: Path) -> None:
    built(STEPS, tmp_path)
    made = planned_with(FakeCache(offer("1")), tmp_path, "image.deb.rootfs")
    assert of(made, "image.deb.rootfs").verb is Verb.REPLACE


def test_why_a_cache_has_nothing_is_a_warning_of_the_image(tmp_path: Path) -> None:
    made = planned_with(FakeCache(warning="it is away"), tmp_path)
    assert of(made, "image.deb.rootfs").verb is Verb.CREATE
    assert of(made, "image.deb.rootfs").warnings == ("it is away",)
    assert of(made, "vm.web.root").warnings == ()
