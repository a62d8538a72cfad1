"""Jobs that make the same disk: which they are, and what one leaves to the others."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk.template import FileTemplate
from bangerbuild.execute import job_template
from bangerbuild.execute.job_template import JobOutput, JobTemplate, deduplication_key, template
from bangerbuild.model import Action, Recipe, Verb
from tests.fakes import FakeDisk

if TYPE_CHECKING:
    from pathlib import Path

RECIPE = Recipe("fake", {}, {}, {}, {})


@dataclass(frozen=True)
class Owned(FakeDisk):
    """A disk that says whose it is."""

    owner: str = field(default="", metadata={"recipe": False, "owner": True})


def action(step: FakeDisk, verb: Verb = Verb.CREATE, fingerprint: str = "f") -> Action:
    return Action(step, verb, (), RECIPE, fingerprint, ("work.ext4",))


def job(owner: str, text: str = "", verb: Verb = Verb.CREATE, fingerprint: str = "f") -> list[Action]:
    """A disk and its patch."""
    return [
        action(Owned("disk", owner=owner, text=text), verb, fingerprint),
        action(Owned("patch", owner=owner), verb, fingerprint),
    ]


def test_jobs_that_differ_only_in_whose_disk_it_is_are_the_same() -> None:
    assert deduplication_key(job("web")) == deduplication_key(job("db"))
    assert deduplication_key(job("web")) is not None


@pytest.mark.parametrize("other", [job("db", "more"), job("db", fingerprint="g")])
def test_jobs_that_differ_in_anything_else_are_not(other: list[Action]) -> None:
    assert deduplication_key(job("web")) != deduplication_key(other)


@pytest.mark.parametrize(
    "alone",
    [
        job("web")[:1],
        job("web", verb=Verb.UPDATE),
        [*job("web")[:1], action(Owned("patch", owner="web"), Verb.KEEP)],
        [action(FakeDisk("disk")), action(FakeDisk("patch"))],
    ],
    ids=["no patch", "not new", "a kept patch", "nobody's"],
)
def test_what_is_not_new_with_its_patch_or_says_not_whose_it_is_is_made_alone(alone: list[Action]) -> None:
    assert deduplication_key(alone) is None


def offer(left: JobTemplate, path: Path) -> JobOutput | None:
    """What is left once another job has offered its disk."""
    left.offer(path, guests=True, facts=[{"a": 1}, {}], files=[{}, {"/etc/a": "line"}])
    return left.output


def test_the_second_job_leaves_what_it_made_and_others_copy_it(tmp_path: Path) -> None:
    path = tmp_path / "work.ext4"
    path.write_bytes(bytes(1 << 20) + os.urandom(4096) + bytes(1 << 20))
    with template() as left:
        assert offer(left, path) is None
        first = offer(left, path)
        assert first is not None
        assert offer(left, path) is first
        first.file.instantiate(tmp_path / "copy.ext4")
    assert (tmp_path / "copy.ext4").read_bytes() == path.read_bytes()
    assert (first.guests, first.facts, first.files) == (True, ({"a": 1}, {}), ({}, {"/etc/a": "line"}))


def test_of_a_file_that_holds_much_nothing_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "work.ext4"
    path.write_bytes(os.urandom(job_template.MOST_BYTES + 4096))
    with template() as left:
        for _ in range(3):
            offer(left, path)
        assert left.output is None


def test_a_template_that_can_not_be_made_only_costs_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_template: FileTemplate, _path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(FileTemplate, "__init__", full)
    (tmp_path / "work.ext4").write_bytes(b"x")
    with template() as left:
        for _ in range(2):
            offer(left, tmp_path / "work.ext4")
        assert left.output is None
