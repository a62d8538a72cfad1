"""A small real image and its VMs, planned and made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild import pipeline, store
from bangerbuild.errors import BusyError
from bangerbuild.model import Outcome
from bangerbuild.model.request import Request
from tests.fakes import RecordingReporter

if TYPE_CHECKING:
    from pathlib import Path

from tests.pipeline.flows import AT_ONCE, STEPS, applied, ignore, made_plan, verbs


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


def test_the_reporter_is_shown_the_plan_before_the_first_step_runs(manifest: Path) -> None:
    reporter = RecordingReporter()
    pipeline.apply(pipeline.load_request(Request((manifest,)), ignore), options=AT_ONCE, reporter=reporter)
    assert reporter.events[:2] == [("planned", ""), ("started", "image.small.rootfs")]


def test_a_store_that_another_writer_holds_is_waited_for_and_then_refused(manifest: Path) -> None:
    with store.writing(manifest.parent / "build", timeout_seconds=0) as other:
        other.lock(["image.small"])
        with pytest.raises(BusyError, match=r"'image\.small' is locked by process \d+"):
            pipeline.apply(
                pipeline.load_request(Request((manifest,)), ignore),
                options=AT_ONCE,
                reporter=RecordingReporter(),
            )


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
