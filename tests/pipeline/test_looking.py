"""What a plan shows, which touches nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild import pipeline
from bangerbuild.errors import UsageError
from bangerbuild.model.request import Request

if TYPE_CHECKING:
    from pathlib import Path

from tests.pipeline.flows import applied, ignore, made_plan, verbs


def test_planning_makes_no_store(manifest: Path) -> None:
    made_plan(manifest)
    assert not (manifest.parent / "build").exists()


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


def test_what_is_to_be_replaced_must_be_a_part_of_the_targets(manifest: Path) -> None:
    wanted = Request((manifest,), targets=("image.small.rootfs",), replace=("vm.web",))
    with pytest.raises(UsageError, match=r"--replace vm\.web is no part of --target image\.small") as error:
        pipeline.plan(pipeline.load_request(wanted, ignore))
    assert error.value.hint == "--target vm.web too"
