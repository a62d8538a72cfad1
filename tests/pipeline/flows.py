"""A small project, planned and applied by the whole flow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild import pipeline
from bangerbuild.model.request import Request, RunOptions
from tests.fakes import RecordingReporter

if TYPE_CHECKING:
    from pathlib import Path

    from bangerbuild.model import Outcome, Plan

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
