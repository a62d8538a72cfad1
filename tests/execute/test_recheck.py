"""Sources and disks that change after the plan was made: nothing of them is published or lost."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bangerbuild import store
from bangerbuild.disk import durable
from bangerbuild.errors import BusyError, SourceError
from bangerbuild.model import Result, Source
from tests.execute.steps import artifacts, disk, noting, outcomes, patch, run_a_vm_on, step
from tests.fakes import FakeDisk, FakeHost, RecordingReporter, built
from tests.waiting import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from bangerbuild.model import Action, Json, Workspace


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "build"


@dataclass
class ChangingHost(FakeHost):
    """A host on which a source changes after the plan is made."""

    asked: list[str] = field(default_factory=list)

    def digest(self, source: Source) -> str:
        self.asked.append(source.role)
        return f"digest {self.asked.count(source.role)}"


def test_a_source_that_changes_after_the_plan_fails_the_step_and_publishes_nothing(
    path: Path, tmp_path: Path
) -> None:
    sources = (Source("rootfs.tar", tmp_path / "root.tar", "root.tar"),)
    (result,) = built([step("a", sources=sources)], path, ChangingHost())
    assert isinstance(result.error, SourceError)
    assert result.error.brief == "'root.tar' changed while it was read"
    assert artifacts(path) == {}


@pytest.mark.parametrize(("keep_going", "ran"), [(False, ["a", "b"]), (True, ["a", "b", "c"])])
def test_after_a_failure_that_shows_when_a_job_is_published_nothing_more_is_started(
    path: Path, tmp_path: Path, ran: list[str], *, keep_going: bool
) -> None:
    failed, done = threading.Event(), []

    @dataclass
    class Telling(RecordingReporter):
        def finished(self, action: Action, result: Result) -> None:
            super().finished(action, result)
            failed.set()

    def slowly(_: Workspace) -> None:
        done.append("b")
        assert failed.wait(PATIENCE_SECONDS)

    built(
        [
            step(
                "a",
                sources=(Source("root.tar", tmp_path / "root.tar", "root.tar"),),
                during=noting("a", done),
            ),
            step("b", during=slowly),
            step("c", during=noting("c", done)),
        ],
        path,
        ChangingHost(),
        jobs=1,
        keep_going=keep_going,
        reporter=Telling(),
    )
    assert done == ran


@pytest.mark.parametrize("forced", [(), ("root",)])
def test_what_a_guest_writes_while_its_disk_is_made_anew_is_not_lost(
    path: Path, forced: tuple[str, ...]
) -> None:
    built([disk("root"), patch("root")], path)
    steps = [
        FakeDisk("root", (), ("root.cow",), "new;"),
        patch("root", during=run_a_vm_on(path / "root.cow")),
    ]
    results = built(steps, path, forced=forced)
    assert outcomes(results)["root"] == "failed"
    assert isinstance(results[0].error, BusyError)
    assert results[0].error.brief == "'root.cow' was changed by someone else since it was planned"
    assert artifacts(path) == {"root.cow": "root;patch;guest;"}


@dataclass(frozen=True)
class CopiedDisk(FakeDisk):
    """A step that changes a copy of its disk, which is then to take the disk's place."""

    def run(self, workspace: Workspace) -> Mapping[str, Json]:
        copy = workspace.copy(self.outputs[0], sharing=False)
        assert copy is not None
        with copy.open("a") as file:
            file.write(self.text)
        if self.during:
            self.during(workspace)
        return {}


def test_a_copy_that_was_changed_takes_the_place_of_its_disk(path: Path) -> None:
    built([disk("root")], path)
    assert outcomes(built([CopiedDisk("root", (), ("root.cow",), "grown;")], path)) == {"root": "done"}
    assert artifacts(path) == {"root.cow": "root;grown;"}


def test_what_a_guest_writes_to_a_disk_after_its_copy_was_made_is_not_lost(path: Path) -> None:
    built([disk("root")], path)
    grown = CopiedDisk("root", (), ("root.cow",), "grown;", during=run_a_vm_on(path / "root.cow"))
    (result,) = built([grown], path)
    assert isinstance(result.error, BusyError)
    assert result.error.brief == "'root.cow' was changed by someone else since it was planned"
    assert artifacts(path) == {"root.cow": "root;guest;"}


def test_what_a_guest_writes_while_its_disk_is_patched_is_not_lost(path: Path) -> None:
    built([disk("root"), patch("root")], path)
    steps = [disk("root"), patch("root", "more;", during=run_a_vm_on(path / "root.cow"))]
    results = built(steps, path)
    assert outcomes(results) == {"root": "skipped", "root.patch": "failed"}
    assert artifacts(path) == {"root.cow": "root;patch;guest;"}


def test_a_disk_that_appears_while_one_is_made_is_not_replaced(path: Path) -> None:
    def appear(_: Workspace) -> None:
        (path / "root.cow").write_text("mine")

    results = built([disk("root", during=appear), patch("root")], path)
    assert outcomes(results) == {"root": "failed", "root.patch": "skipped"}
    assert (path / "root.cow").read_text() == "mine"


@dataclass
class BusyHost(FakeHost):
    """A host on which a VM runs while a long source is still being read for the plan."""

    disk: Path = Path()
    has_run: bool = False

    def digest(self, source: Source) -> str:
        if not self.has_run:
            self.has_run = True
            with self.disk.open("a") as file:
                file.write("guest;")
        return super().digest(source)


def test_what_a_guest_writes_while_the_plan_is_still_made_is_not_lost(path: Path, tmp_path: Path) -> None:
    built([disk("root"), patch("root")], path)
    steps = [
        FakeDisk("root", (), ("root.cow",), "new;"),
        patch("root"),
        step("b", sources=(Source("b.tar", tmp_path / "b.tar", "b.tar"),)),
    ]
    results = built(steps, path, BusyHost(disk=path / "root.cow"), keep_going=True)
    assert outcomes(results) == {"root": "failed", "root.patch": "skipped", "b": "done"}
    assert (path / "root.cow").read_text() == "root;patch;guest;"


def test_what_a_guest_writes_while_others_are_synced_is_not_lost(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built([disk("root"), patch("root")], path)
    sync = durable.sync

    def slow_sync(paths: Collection[Path], filesystem: Path) -> None:
        with (path / "root.cow").open("a") as file:
            file.write("guest;")
        sync(paths, filesystem)

    monkeypatch.setattr(durable, "sync", slow_sync)
    results = built([FakeDisk("root", (), ("root.cow",), "new;"), patch("root")], path)
    assert outcomes(results) == {"root": "failed", "root.patch": "skipped"}
    monkeypatch.undo()
    assert (path / "root.cow").read_text().startswith("root;patch;guest;")
    assert not list((path / ".staging").iterdir())
    with store.writing(path, timeout_seconds=0) as opened:
        assert opened.modified("root.cow")


@dataclass
class StartingHost(FakeHost):
    """A host on which a VM is started after the plan is made."""

    asked: int = 0

    def holder(self, path: Path) -> str | None:  # noqa: ARG002  # one disk
        self.asked += 1
        return "qemu (process 7)" if self.asked > 2 else None


def test_a_disk_that_is_in_use_by_the_time_it_would_be_replaced_is_left(path: Path) -> None:
    built([disk("root"), patch("root")], path)
    results = built([disk("root"), patch("root", "more;")], path, StartingHost(asked=1))
    assert outcomes(results) == {"root": "skipped", "root.patch": "failed"}
    assert results[1].error is not None
    assert results[1].error.brief == "'root.cow' is in use by qemu (process 7) now"
    assert artifacts(path) == {"root.cow": "root;patch;"}


def test_other_disks_of_the_same_batch_are_published_all_the_same(path: Path) -> None:
    first = [disk("one"), patch("one"), disk("two"), patch("two")]
    built(first, path)
    steps = [
        disk("one"),
        patch("one", "more;", during=run_a_vm_on(path / "one.cow")),
        disk("two"),
        patch("two", "more;"),
    ]
    results = built(steps, path, keep_going=True)
    assert outcomes(results) == {
        "one": "skipped",
        "one.patch": "failed",
        "two": "skipped",
        "two.patch": "done",
    }
    assert artifacts(path) == {"one.cow": "one;patch;guest;", "two.cow": "two;patch;more;"}
