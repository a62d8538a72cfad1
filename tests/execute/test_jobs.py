"""What is to be done falls into jobs: a disk with the steps that change it in place, or one step alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bangerbuild.execute import jobs
from bangerbuild.model import Action, Plan, Recipe, Verb
from bangerbuild.model.image_cache import Offer
from tests.fakes import FakeDisk, FakeStep, built, planned

if TYPE_CHECKING:
    from collections.abc import Sequence


def step(name: str, *inputs: str, text: str = "a") -> FakeStep:
    return FakeStep(name, inputs, (f"{name}.txt",), text)


def disk(name: str, *inputs: str) -> FakeDisk:
    return FakeDisk(name, inputs, (f"{name}.cow",), "a")


def patch(name: str, on: str, text: str = "a") -> FakeStep:
    return FakeStep(name, (on,), (), text, changes=on)


def of(steps: Sequence[FakeStep], path: Path) -> list[tuple[list[str], set[str]]]:
    """The ids of each job's steps, and what it waits for."""
    found = jobs.of_plan(planned(steps, path))
    assert [job.index for job in found] == sorted(job.index for job in found)
    return [([action.id for action in job.actions], job.needs) for job in found]


def test_a_disk_and_its_patches_are_one_job_that_waits_for_what_others_make(tmp_path: Path) -> None:
    steps = [step("image"), disk("root", "image"), patch("first", "root"), patch("second", "root"), step("b")]
    assert sorted(of(steps, tmp_path)) == sorted([
        (["image"], set()),
        (["root", "first", "second"], {"image"}),
        (["b"], set()),
    ])  # fmt: skip


def test_what_is_kept_is_no_job_and_is_not_waited_for(tmp_path: Path) -> None:
    steps = [step("image"), disk("root", "image"), patch("first", "root")]
    built(steps, tmp_path)
    assert of(steps, tmp_path) == []
    assert of([*steps[:2], patch("first", "root", "b")], tmp_path) == [(["first"], set())]
    assert of([*steps, step("new", "image")], tmp_path) == [(["new"], set())]


def test_what_is_fetched_waits_for_nothing() -> None:
    recipe = Recipe("fake", {}, {}, {}, {})
    offer = Offer("docker://r/b@sha256:0", "docker://r/b:1", recipe, "2", 1)
    base = Action(step("base"), Verb.CREATE, (), recipe, "1", ())
    fetched = Action(step("on it", "base"), Verb.FETCH, (), recipe, "2", (), offer=offer)
    found = jobs.of_plan(Plan(Path("store"), (base, fetched)))
    assert [job.needs for job in found] == [set(), set()]
