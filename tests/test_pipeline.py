"""The whole flow on a small real image: load, graph, plan, execute."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bangerbuild import pipeline, store
from bangerbuild.errors import BusyError, ManifestError, UsageError
from bangerbuild.model import Outcome, Plan
from bangerbuild.model.request import Request, RunOptions
from tests.fakes import RecordingReporter
from tests.projects import write_small

if TYPE_CHECKING:
    from pathlib import Path

MANIFEST = """\
[image.small]
rootfs = { directory = "tree", size = "16MiB" }

[vm.web]
image = "small"

[vm.db]
image = "small"
"""
STEPS = ["image.small.rootfs", "vm.web.root", "vm.web.root.patch", "vm.db.root", "vm.db.root.patch"]
LONG_NAME = "n" * 63
AT_ONCE = RunOptions(jobs=2, lock_seconds=0)


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return write_small(tmp_path, MANIFEST)


def ignore(_message: str) -> None:
    pass


def verbs(plan: Plan) -> dict[str, str]:
    """By step, but for launch configs, which these tests are not about."""
    return {action.id: action.verb.value for action in plan.actions if not action.id.endswith(".launch")}


def made_plan(manifest: Path, *, targets: tuple[str, ...] = (), forced: tuple[str, ...] = ()) -> Plan:
    return pipeline.plan(pipeline.load_request(Request((manifest,), None, targets, forced), ignore))


def applied(manifest: Path) -> tuple[Plan, list[Outcome]]:
    plan, results = pipeline.apply(
        pipeline.load_request(Request((manifest,)), ignore), options=AT_ONCE, reporter=RecordingReporter()
    )
    assert [action.id for action in plan.actions] == [result.id for result in results]
    return plan, [result.outcome for result in results]


def test_a_first_run_creates_everything_and_a_second_keeps_it(manifest: Path) -> None:
    plan, outcomes = applied(manifest)
    assert verbs(plan) == dict.fromkeys(STEPS, "create")
    assert set(outcomes) == {Outcome.DONE}
    plan, outcomes = applied(manifest)
    assert verbs(plan) == dict.fromkeys(STEPS, "keep")
    assert set(outcomes) == {Outcome.SKIPPED}


def test_the_artifacts_lie_beside_the_manifest(manifest: Path) -> None:
    applied(manifest)
    assert (manifest.parent / "build/vms/web/root.cow").is_file()


def test_a_plan_is_what_apply_then_does(manifest: Path) -> None:
    planned = made_plan(manifest)
    done, _ = applied(manifest)
    assert done == planned


def test_planning_makes_no_store(manifest: Path) -> None:
    made_plan(manifest)
    assert not (manifest.parent / "build").exists()


def test_a_target_brings_only_what_it_needs(manifest: Path) -> None:
    plan = made_plan(manifest, targets=("vm.db.root",))
    assert verbs(plan) == dict.fromkeys(["image.small.rootfs", "vm.db.root", "vm.db.root.patch"], "create")


def test_what_is_to_be_replaced_may_be_named_by_all_above_it(manifest: Path) -> None:
    applied(manifest)
    plan = made_plan(manifest, forced=("vm.db",))
    assert verbs(plan) == {
        "image.small.rootfs": "keep",
        "vm.web.root": "keep",
        "vm.web.root.patch": "keep",
        "vm.db.root": "replace",
        "vm.db.root.patch": "update",
    }


def test_the_reporter_is_shown_the_plan_before_the_first_step_runs(manifest: Path) -> None:
    reporter = RecordingReporter()
    pipeline.apply(pipeline.load_request(Request((manifest,)), ignore), options=AT_ONCE, reporter=reporter)
    assert reporter.events[:2] == [("planned", ""), ("started", "image.small.rootfs")]


@pytest.mark.parametrize("wanted", [Request((), targets=("vm.wbe",)), Request((), replace=("vm.wbe",))])
def test_a_name_that_stands_for_nothing_is_refused_and_nothing_is_touched(
    manifest: Path, wanted: Request
) -> None:
    with pytest.raises(UsageError, match=r"no step is called 'vm\.wbe'"):
        pipeline.apply(
            pipeline.load_request(replace(wanted, manifests=(manifest,)), ignore),
            options=AT_ONCE,
            reporter=RecordingReporter(),
        )
    assert not (manifest.parent / "build").exists()


def test_a_wrong_manifest_touches_nothing(manifest: Path) -> None:
    manifest.write_text(MANIFEST.replace("image = ", "imgae = "))
    with pytest.raises(ManifestError):
        pipeline.apply(
            pipeline.load_request(Request((manifest,)), ignore), options=AT_ONCE, reporter=RecordingReporter()
        )
    assert not (manifest.parent / "build").exists()


def test_a_store_that_another_writer_holds_is_waited_for_and_then_refused(manifest: Path) -> None:
    with store.writing(manifest.parent / "build", timeout_seconds=0) as other:
        other.lock(["image.small"])
        with pytest.raises(BusyError, match=r"'image\.small' is locked by process \d+"):
            pipeline.apply(
                pipeline.load_request(Request((manifest,)), ignore),
                options=AT_ONCE,
                reporter=RecordingReporter(),
            )


def test_what_is_odd_about_a_manifest_is_said_whatever_is_done_with_it(manifest: Path) -> None:
    manifest.write_text(MANIFEST + f'[vm.{LONG_NAME}]\nimage = "small"\nhostname = "{LONG_NAME}.x"\n')
    said: list[str] = []
    pipeline.load_request(Request((manifest,)), said.append)
    pipeline.plan(pipeline.load_request(Request((manifest,)), said.append))
    pipeline.apply(
        pipeline.load_request(Request((manifest,)), said.append),
        options=AT_ONCE,
        reporter=RecordingReporter(),
    )
    assert said == [
        f"vm.{LONG_NAME}: its host name is 65 characters long, and Linux takes no more than 64"
    ] * 3  # fmt: skip


def test_another_time_is_another_tool_and_changes_nothing_that_is_built(
    manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    applied(manifest)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    plan = made_plan(manifest)
    assert verbs(plan) == dict.fromkeys(STEPS, "keep")
    assert {reason.code.value for action in plan.actions for reason in action.reasons} == {"tool-changed"}


def test_an_image_whose_recipe_comes_back_is_kept_beside_the_newer_one(manifest: Path) -> None:
    applied(manifest)
    (manifest.parent / "tree/new").touch()
    applied(manifest)
    (manifest.parent / "tree/new").unlink()
    assert verbs(made_plan(manifest))["image.small.rootfs"] == "keep"
    assert len(list((manifest.parent / "build/images/small").iterdir())) == 2


def test_an_image_that_somebody_wrote_to_is_made_anew(manifest: Path) -> None:
    applied(manifest)
    (image,) = (manifest.parent / "build/images").rglob("rootfs.ext4")
    image.chmod(0o644)
    with image.open("r+b") as file:
        file.truncate(1 << 20)
    plan = made_plan(manifest)
    assert verbs(plan)["image.small.rootfs"] == "replace"
    assert [reason.code.value for reason in plan.actions[0].reasons] == ["artifact-modified"]


def test_what_is_to_be_replaced_must_be_a_part_of_the_targets(manifest: Path) -> None:
    wanted = Request((manifest,), targets=("image.small.rootfs",), replace=("vm.web",))
    with pytest.raises(UsageError, match=r"--replace vm\.web is no part of --target image\.small") as error:
        pipeline.plan(pipeline.load_request(wanted, ignore))
    assert error.value.hint == "--target vm.web too"
