"""What is loaded, what is odd about it, and names that stand for nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bangerbuild import pipeline
from bangerbuild.errors import ManifestError, UsageError
from bangerbuild.model.request import Request
from tests.fakes import RecordingReporter

if TYPE_CHECKING:
    from pathlib import Path

from tests.pipeline.flows import AT_ONCE, LONG_NAME, MANIFEST, ignore, made_plan, verbs


def test_a_target_brings_only_what_it_needs(manifest: Path) -> None:
    plan = made_plan(manifest, targets=("vm.db.root",))
    assert verbs(plan) == dict.fromkeys(["image.small.rootfs", "vm.db.root", "vm.db.root.patch"], "create")


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
