"""The workspace of a job: what a step reads, what it stages, and what jobs share."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from bangerbuild import execute, graph, store
from bangerbuild.disk import in_use
from bangerbuild.errors import StoreError
from bangerbuild.execute.workspace import MOST_IDLE, JobWorkspace, Shared
from bangerbuild.model.image_cache import Fetched
from bangerbuild.planning import plan
from tests.execute.steps import disk, patch
from tests.fakes import EPOCH, FakeHost, FakeStep, RecordingReporter, built, planned

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from bangerbuild.model import Workspace


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "build"


def test_a_disk_that_was_to_be_made_anew_and_was_used_since_is_not(path: Path) -> None:
    built([disk("root"), patch("root")], path)
    made = planned([disk("root"), patch("root", "more;")], path)
    actions = {action.id: action for action in made.actions}
    assert actions["root.patch"].remakes_disk
    with (path / "root.cow").open("a") as guest:
        guest.write("guest;")
    seen: list[bool] = []
    steps = [
        disk("root"),
        patch("root", "more;", during=lambda workspace: seen.append(workspace.remakes_disk)),
    ]
    with store.writing(path, timeout_seconds=0) as opened:
        workspace = JobWorkspace(actions, opened, EPOCH, Shared(), FakeHost())
        workspace.run(plan.make(graph.build(steps), opened, FakeHost(), epoch=EPOCH).actions[1])
    assert seen == [False]


def test_the_record_of_an_artifact_that_carries_its_fingerprint_stays_when_the_recipe_changes(
    path: Path,
) -> None:
    for text in ("one", "two", "one"):
        built([FakeStep("image", (), ("images/{fingerprint}.txt",), text)], path)
    assert sorted(file.read_text() for file in (path / "images").iterdir()) == ["one", "two"]
    records = store.read(path).records
    assert sum(name.startswith("image@") for name in records) == 2


def test_what_a_kept_input_remembers_is_of_the_run_that_it_stands_for_and_not_of_the_last(path: Path) -> None:
    facts: list[object] = []

    def ask(workspace: Workspace) -> None:
        facts.append(workspace.facts("image")["text"])

    for number, text in enumerate(("first", "second", "first")):
        image = FakeStep("image", (), ("image/{fingerprint}",), text)
        built([image, FakeStep(f"reader{number}", ("image",), (f"reader{number}.txt",), during=ask)], path)
    assert facts == ["first", "second", "first"]


# what jobs share


@dataclass
class Thing:
    """Something that is opened and closed."""

    opened: int = 0
    closed: int = 0

    @contextmanager
    def make(self) -> Iterator[Thing]:
        self.opened += 1
        yield self
        self.closed += 1


def test_what_is_shared_is_made_once_and_closed_at_the_end() -> None:
    shared, thing = Shared(), Thing()
    assert [shared.get("key", thing.make) for _ in range(3)] == [thing] * 3
    assert (thing.opened, thing.closed) == (1, 0)
    shared.close()
    assert (thing.opened, thing.closed) == (1, 1)


def test_of_what_nobody_uses_the_last_few_stay_open() -> None:
    shared, things = Shared(), [Thing() for _ in range(MOST_IDLE + 2)]
    for number, thing in enumerate(things):
        with shared.using(number, thing.make):
            pass
    assert [thing.closed for thing in things] == [1, 1] + [0] * MOST_IDLE
    with shared.using(0, things[0].make), shared.using(MOST_IDLE, things[MOST_IDLE].make):
        pass
    assert (things[0].opened, things[MOST_IDLE].opened) == (2, 1)
    shared.close()
    assert all(thing.opened == thing.closed for thing in things)


def test_what_somebody_uses_is_not_closed_however_much_comes_after() -> None:
    shared, used = Shared(), Thing()
    with shared.using("used", used.make):
        for number in range(3 * MOST_IDLE):
            with shared.using(number, Thing().make):
                pass
        assert used.closed == 0
    shared.close()
    assert used.closed == 1


def test_what_uses_another_thing_is_closed_before_it() -> None:
    shared, order = Shared(), list[str]()

    @contextmanager
    def below() -> Iterator[str]:
        yield "below"
        order.append("below")

    @contextmanager
    def above() -> Iterator[str]:
        with shared.using("below", below) as found:
            yield found
        order.append("above")

    with shared.using("above", above):
        pass
    shared.close()
    assert order == ["above", "below"]


def test_what_can_not_be_made_is_asked_for_again_by_the_next() -> None:
    shared, thing = Shared(), Thing()

    def broken() -> AbstractContextManager[Thing]:
        raise StoreError("no luck")

    with pytest.raises(StoreError, match="no luck"):
        shared.get("key", broken)
    with pytest.raises(StoreError, match="no luck"), shared.using("key", broken):
        pass
    assert shared.get("key", thing.make) is thing
    shared.close()


# what is staged


@pytest.fixture
def workspace(path: Path) -> Iterator[JobWorkspace]:
    """Of a job in a store that has the disk `root`."""
    built([disk("root"), patch("root")], path)
    actions = {action.id: action for action in planned([disk("root"), patch("root")], path).actions}
    with store.writing(path, timeout_seconds=0) as opened:
        yield JobWorkspace(actions, opened, EPOCH, Shared(), FakeHost())


def test_an_artifact_is_in_the_store_until_this_job_makes_it(workspace: JobWorkspace, path: Path) -> None:
    assert workspace.path("root.cow") == path / "root.cow"
    staged = workspace.create("root.cow", guests=True)
    staged.write_text("new")
    assert workspace.path("root.cow") == staged != path / "root.cow"
    assert workspace.is_new("root.cow")
    assert workspace.is_staged("root.cow")
    assert workspace.guests == {"root.cow"}
    assert workspace.create("root.cow") == staged
    assert not staged.exists()
    assert workspace.guests == set()


def test_a_copy_is_no_new_disk(workspace: JobWorkspace, path: Path) -> None:
    copy = workspace.copy("root.cow", sharing=False)
    assert copy is not None
    assert copy.read_text() == (path / "root.cow").read_text()
    assert not workspace.is_new("root.cow")
    assert workspace.is_staged("root.cow")
    with workspace.in_place("root.cow") as found:
        assert found == copy


def test_what_was_staged_and_not_published_goes(workspace: JobWorkspace, path: Path) -> None:
    workspace.create("root.cow").write_text("new")
    (workspace.staging / "scratch").write_text("x")
    before = (path / "root.cow").read_text()
    workspace.discard()
    assert not workspace.staging.exists()
    assert not [
        file for file in (path / ".staging").rglob("*") if file.is_file() and file.read_text() == "new"
    ]
    assert (path / "root.cow").read_text() == before


def test_a_disk_that_may_not_be_written_is_told_by_its_place(
    workspace: JobWorkspace, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(in_use, "held", refuse)
    with (
        pytest.raises(StoreError, match=f"'{path}/root.cow' can't be changed: permission denied"),
        workspace.in_place("root.cow"),
    ):
        pass


def test_facts_of_a_step_that_never_ran_are_an_error_with_the_way_out(path: Path) -> None:
    actions = {action.id: action for action in planned([disk("root")], path).actions}
    with store.writing(path, timeout_seconds=0) as opened:
        workspace = JobWorkspace(actions, opened, EPOCH, Shared(), FakeHost())
        with pytest.raises(StoreError, match="nothing is known of 'root'") as caught:
            workspace.facts("root")
        with pytest.raises(RuntimeError, match="no step is running"):
            _ = workspace.fingerprint
    assert "bangerbuild recover" in str(caught.value.hint)


def test_what_was_fetched_is_taken_instead_of_being_made(path: Path, tmp_path: Path) -> None:
    steps = [FakeStep("image", (), ("images/{fingerprint}.txt",), "made")]
    (tmp_path / "fetched").write_text("fetched")
    made = planned(steps, path).actions[0]
    name = f"{made.fingerprint}.txt"
    fetched = Fetched({name: tmp_path / "fetched"}, {name: "digest"}, {"text": "as it was"})
    with store.writing(path, timeout_seconds=0) as opened:
        actions = plan.make(graph.build(steps), opened, FakeHost(), epoch=EPOCH)
        limits = execute.ExecuteOptions(1, keep_going=False, epoch=EPOCH, fetched={"image": fetched})
        execute.execute(actions, opened, FakeHost(), RecordingReporter(), limits)
        (artifact,) = made.artifacts
        assert (path / artifact).read_text() == "fetched"
        assert opened.stamps[artifact].digest == "digest"
        assert opened.records["image"].facts == {"text": "as it was"}
