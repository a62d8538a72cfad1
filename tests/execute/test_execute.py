from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pytest

from bangerbuild import store
from bangerbuild.errors import FilesystemError, StoreError
from bangerbuild.host import process
from bangerbuild.host.process import Command
from bangerbuild.model import Outcome, Reason, ReasonCode, Result, Verb, Verdict
from tests.execute.steps import artifacts, disk, outcomes, patch, step
from tests.fakes import FakeDisk, FakeHost, FakeStep, RecordingReporter, built
from tests.stores import is_as_published
from tests.waiting import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bangerbuild.model import Action, Situation, Workspace
    from bangerbuild.store.publishing import Publication

BROKEN = FilesystemError("'/etc/app.conf' is in the way")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "build"


# order


def test_a_step_runs_after_its_inputs_and_reads_what_they_made(path: Path) -> None:
    reporter = RecordingReporter()
    built([step("c", "a", "b"), step("a"), step("b", "a")], path, reporter=reporter)
    assert artifacts(path) == {"a.txt": "a;", "b.txt": "a;b;", "c.txt": "a;a;b;c;"}
    assert [name for event, name in reporter.events if event == "done"] == ["a", "b", "c"]


def test_independent_jobs_run_at_the_same_time(path: Path) -> None:
    meeting = threading.Barrier(2, timeout=PATIENCE_SECONDS)

    def meet(_: Workspace) -> None:
        meeting.wait()

    results = built([step("a", during=meet), step("b", during=meet)], path, jobs=2)
    assert outcomes(results) == {"a": "done", "b": "done"}


@pytest.mark.parametrize("jobs", [1, 2])
def test_no_more_jobs_run_at_once_than_were_allowed(path: Path, jobs: int) -> None:
    free = threading.Semaphore(jobs)

    def take_a_place(_: Workspace) -> None:
        assert free.acquire(blocking=False)
        free.release()

    built([step(name, during=take_a_place) for name in "abcdef"], path, jobs=jobs)
    assert len(artifacts(path)) == 6


def test_many_jobs_are_all_done_and_published(path: Path) -> None:
    steps = [step("base"), *(step(f"s{number}", "base") for number in range(200))]
    results = built(steps, path, jobs=4)
    assert {result.outcome for result in results} == {Outcome.DONE}
    assert len(artifacts(path)) == 201


def test_a_second_run_has_nothing_to_do(path: Path) -> None:
    built([step("a"), step("b", "a")], path)
    reporter = RecordingReporter()
    results = built([step("a"), step("b", "a")], path, reporter=reporter)
    assert outcomes(results) == {"a": "skipped", "b": "skipped"}
    assert reporter.events == []


# a disk and its patch


def test_a_disk_and_its_patch_are_published_as_one(path: Path) -> None:
    seen: list[bool] = []

    def look(_: Workspace) -> None:
        seen.append((path / "root.cow").exists())

    built([disk("root"), patch("root", during=look)], path)
    assert seen == [False]
    assert artifacts(path) == {"root.cow": "root;patch;"}
    assert {"root", "root.patch"} <= store.read(path).records.keys()


def test_a_patch_that_fails_publishes_neither_the_disk_nor_itself(path: Path) -> None:
    results = built([disk("root"), patch("root", error=BROKEN)], path)
    assert outcomes(results) == {"root": "skipped", "root.patch": "failed"}
    assert artifacts(path) == {}
    assert store.read(path).records == {}


def test_a_disk_that_fails_leaves_its_patch_undone(path: Path) -> None:
    results = built([disk("root", error=BROKEN), patch("root")], path)
    assert outcomes(results) == {"root": "failed", "root.patch": "skipped"}
    assert artifacts(path) == {}


def guest_writes(disk: Path) -> int:
    """A VM ran on the disk; the disk's inode."""
    with disk.open("a") as file:
        file.write("guest;")
    return disk.stat().st_ino


def test_the_patch_of_a_disk_that_nobody_used_takes_its_place(path: Path) -> None:
    built([disk("root"), patch("root")], path)
    with (path / "root.cow").open() as running:
        built([disk("root"), patch("root", "more;")], path)
        assert running.read() == "root;patch;"
    assert artifacts(path) == {"root.cow": "root;patch;more;"}


def test_the_patch_of_a_disk_that_a_guest_used_changes_it_where_it_lies(path: Path) -> None:
    built([disk("root"), patch("root")], path)
    inode = guest_writes(path / "root.cow")
    assert outcomes(built([disk("root"), patch("root", "more;")], path)) == {
        "root": "skipped",
        "root.patch": "done",
    }
    assert artifacts(path) == {"root.cow": "root;patch;guest;more;"}
    assert (path / "root.cow").stat().st_ino == inode


def test_a_disk_that_a_guest_used_stays_the_guests_after_a_patch(path: Path) -> None:
    built([disk("root"), patch("root")], path)
    guest_writes(path / "root.cow")
    built([disk("root"), patch("root", "more;")], path)
    assert store.read(path).modified("root.cow")
    assert is_as_published(store.read(path), "root.cow")


def test_a_disk_that_somebody_opens_while_it_is_changed_is_told(path: Path) -> None:
    built([disk("root"), patch("root")], path)
    guest_writes(path / "root.cow")
    with ExitStack() as opened:

        def open_it(_: Workspace) -> None:
            opened.enter_context((path / "root.cow").open("rb"))

        results = built([disk("root"), patch("root", "more;", within=open_it)], path)
    assert results[1].error is not None
    assert "was opened by" in results[1].error.brief


def test_a_failed_update_leaves_the_disk_and_its_records_as_they_were(path: Path) -> None:
    built([disk("root"), patch("root")], path)
    before = store.read(path).records
    results = built([disk("root"), patch("root", "more;", error=BROKEN)], path)
    assert outcomes(results) == {"root": "skipped", "root.patch": "failed"}
    assert artifacts(path) == {"root.cow": "root;patch;"}
    assert store.read(path).records == before


def test_what_needs_the_disk_waits_for_its_patch(path: Path) -> None:
    built([disk("root"), patch("root"), step("launch", "root")], path)
    assert artifacts(path)["launch.txt"] == "root;patch;launch;"


# failures


def test_a_failure_skips_what_depends_on_it_and_nothing_else_with_keep_going(path: Path) -> None:
    steps = [step("a", error=BROKEN), step("b", "a"), step("c", "b"), step("d"), step("e", "d")]
    reporter = RecordingReporter()
    results = built(steps, path, keep_going=True, reporter=reporter, jobs=1)
    assert outcomes(results) == {"a": "failed", "b": "skipped", "c": "skipped", "d": "done", "e": "done"}
    assert artifacts(path) == {"d.txt": "d;", "e.txt": "d;e;"}
    assert {("failed", "a"), ("skipped", "b"), ("skipped", "c")} <= set(reporter.events)


def test_without_keep_going_a_failure_stops_new_jobs(path: Path) -> None:
    steps = [step("a", error=BROKEN), step("b"), step("c")]
    results = built(steps, path, jobs=1)
    assert outcomes(results) == {"a": "failed", "b": "skipped", "c": "skipped"}
    assert artifacts(path) == {}


@dataclass
class Announcing(RecordingReporter):
    """Sets an event once the first step has ended."""

    ended: threading.Event = field(default_factory=threading.Event)

    def finished(self, action: Action, result: Result) -> None:
        super().finished(action, result)
        self.ended.set()


def test_without_keep_going_a_failure_stops_new_jobs_while_others_still_run(path: Path) -> None:
    reporter = Announcing()

    def run_on(_: Workspace) -> None:
        assert reporter.ended.wait(PATIENCE_SECONDS)

    steps = [step("a", error=BROKEN), step("b", during=run_on), step("c")]
    results = built(steps, path, jobs=2, reporter=reporter)
    assert outcomes(results) == {"a": "failed", "b": "done", "c": "skipped"}
    assert ("started", "c") not in reporter.events


def test_what_runs_beside_a_failure_is_finished_and_published(path: Path) -> None:
    failed = threading.Event()

    def fail(_: Workspace) -> None:
        failed.set()
        raise BROKEN

    results = built(
        [step("a", during=fail), step("b", during=lambda _: failed.wait(PATIENCE_SECONDS) and None)], path
    )
    assert outcomes(results) == {"a": "failed", "b": "done"}
    assert artifacts(path) == {"b.txt": "b;"}


def test_the_result_of_a_failure_holds_its_error(path: Path) -> None:
    (result,) = built([step("a", error=BROKEN)], path)
    assert result.error is BROKEN


def test_an_error_of_the_operating_system_is_the_steps_failure(path: Path) -> None:
    def vanish(workspace: Workspace) -> None:
        (workspace.staging / "nowhere" / "file").touch()

    (result,) = built([step("a", during=vanish)], path)
    assert isinstance(result.error, StoreError)
    assert result.error.brief.endswith("nowhere/file': no such file or directory")


def test_a_bug_in_a_step_comes_out_with_its_traceback(path: Path) -> None:
    def bug(_: Workspace) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        built([step("a", during=bug)], path)
    assert not (path / "a.txt").exists()
    assert outcomes(built([step("a")], path)) == {"a": "done"}


@pytest.mark.parametrize("keep_going", [False, True])
def test_publishing_that_fails_ends_the_run_and_the_next_one_finishes_it(
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    keep_going: bool,  # noqa: FBT001  # a parameter
) -> None:
    built([step("a")], path)
    before = artifacts(path)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    steps = [step("a"), step("b"), step("c")]
    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", full)
        with pytest.raises(StoreError, match="no space left on device"):
            built(steps, path, keep_going=keep_going)
    assert artifacts(path) == before
    assert outcomes(built(steps, path)) == {"a": "skipped", "b": "done", "c": "done"}


def test_where_there_is_no_room_to_publish_all_some_are_published_before_it_is_said(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a disk that is nearly full would be left with nothing at each run."""
    write = store.Store._write_intents

    def write_few(opened: store.Store, publications: Sequence[Publication]) -> None:
        if len(publications) > 2:
            raise sqlite3.OperationalError("database or disk is full")
        write(opened, publications)

    monkeypatch.setattr(store.contents, "is_out_of_space", lambda *_: True)
    monkeypatch.setattr(store.Store, "_write_intents", write_few)
    steps = [step(name) for name in "abcdefgh"]
    reporter = RecordingReporter()
    with pytest.raises(StoreError, match="database or disk is full"):
        built(steps, path, reporter=reporter)
    known = artifacts(path)
    told = [name for outcome, name in reporter.events if outcome == "done"]
    assert sorted(told) == sorted(Path(name).stem for name in known)
    assert 1 <= len(known) <= 2
    while len(known) < len(steps):
        with suppress(StoreError):
            built(steps, path)
        assert len(artifacts(path)) > len(known)
        known = artifacts(path)


def test_a_failure_is_told_although_the_publication_of_others_fails(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", full)
    reporter = RecordingReporter()
    with pytest.raises(StoreError, match="no space left on device"):
        built([step("a"), step("b", error=BROKEN)], path, jobs=1, reporter=reporter)
    assert ("failed", "b") in reporter.events


# what is not done


def test_a_disk_in_use_is_left_and_the_rest_is_done(path: Path) -> None:
    built([disk("root"), patch("root")], path)
    host = FakeHost(holders={"root.cow": "qemu (process 7)"})
    results = built([disk("root"), patch("root", "more;"), step("a")], path, host)
    assert outcomes(results) == {"root": "skipped", "root.patch": "skipped", "a": "done"}
    assert artifacts(path) == {"root.cow": "root;patch;", "a.txt": "a;"}


@dataclass(frozen=True)
class BlockedDisk(FakeDisk):
    """A disk that a guest has written to and whose base is another now."""

    def judge(self, situation: Situation) -> Verdict:
        if situation.changes:
            return Verdict(Verb.BLOCKED, (Reason(ReasonCode.GUEST_WROTE),))
        return super().judge(situation)


def test_a_blocked_disk_stops_neither_its_patch_nor_anybody_else(path: Path) -> None:
    built([BlockedDisk("root", (), ("root.cow",), "root;"), patch("root")], path)
    steps = [BlockedDisk("root", (), ("root.cow",), "new;"), patch("root", "more;"), step("a")]
    results = built(steps, path)
    assert outcomes(results) == {"root": "skipped", "root.patch": "done", "a": "done"}
    assert artifacts(path) == {"root.cow": "root;patch;more;", "a.txt": "a;"}


@dataclass(frozen=True)
class Kept(FakeStep):
    """Stays whatever changes."""

    kind: ClassVar[str] = "kept"

    def judge(self, situation: Situation) -> Verdict:
        return super().judge(situation) if situation.missing else Verdict(Verb.KEEP)


def test_a_step_needs_what_its_kept_input_stands_on_if_that_is_made_again(path: Path) -> None:
    root = Kept("root", ("image",), ("root.cow",), "root;")
    built([step("image"), root, patch("root")], path)
    (path / "image.txt").unlink()
    steps = [step("image", error=BROKEN), root, patch("root", "more;"), step("a")]
    results = built(steps, path, keep_going=True)
    assert outcomes(results) == {"image": "failed", "root": "skipped", "root.patch": "skipped", "a": "done"}
    results = built([step("image"), root, patch("root", "more;")], path)
    assert outcomes(results) == {"image": "done", "root": "skipped", "root.patch": "done"}


def test_a_step_does_not_need_the_new_base_of_an_input_that_stays_on_the_old(path: Path) -> None:
    root = Kept("root", ("image",), ("root.cow",), "root;")
    built([FakeStep("image", (), ("image.txt",), "old;"), root, patch("root")], path)
    steps = [FakeStep("image", (), ("image.txt",), "new;", error=BROKEN), root, patch("root", "more;")]
    results = built(steps, path, keep_going=True)
    assert outcomes(results) == {"image": "failed", "root": "skipped", "root.patch": "done"}


# the reporter


@dataclass
class ThreadReporter(RecordingReporter):
    """Remembers which threads called it."""

    threads: set[int] = field(default_factory=set)

    def started(self, action: Action) -> None:
        self.threads.add(threading.get_ident())
        super().started(action)

    def finished(self, action: Action, result: Result) -> None:
        self.threads.add(threading.get_ident())
        super().finished(action, result)

    def warned(self, step_id: str, message: str) -> None:
        self.threads.add(threading.get_ident())
        super().warned(step_id, message)


def test_the_reporter_is_called_by_the_calling_thread_alone(path: Path) -> None:
    reporter = ThreadReporter()

    def warn(workspace: Workspace) -> None:
        workspace.warn(f"mind {workspace.fingerprint}")

    built([step(name, during=warn) for name in "abcd"], path, reporter=reporter, jobs=4)
    assert reporter.threads == {threading.get_ident()}
    assert sum(event == "warning" for event, _ in reporter.events) == 4


def test_a_warning_that_many_steps_share_is_told_once(path: Path) -> None:
    reporter = RecordingReporter()
    steps = [step(name, during=lambda workspace: workspace.warn("mind the gap")) for name in "abcd"]
    built(steps, path, reporter=reporter, jobs=1)
    assert [text for event, text in reporter.events if event == "warning"] == ["a: mind the gap"]


def test_every_action_that_was_started_is_finished_and_its_warnings_come_first(path: Path) -> None:
    reporter = RecordingReporter()
    built(
        [disk("root"), patch("root", during=lambda workspace: workspace.warn("mind"))],
        path,
        reporter=reporter,
    )
    assert reporter.events == [
        ("started", "root"),
        ("started", "root.patch"),
        ("warning", "root.patch: mind"),
        ("done", "root"),
        ("done", "root.patch"),
    ]


def test_every_action_has_a_result_in_the_plans_order(path: Path) -> None:
    steps = [step("a", error=BROKEN), step("b", "a"), step("c")]
    results = built(steps, path)
    assert [result.id for result in results] == ["a", "b", "c"]


# being interrupted


class Interrupting(RecordingReporter):
    """Someone presses Ctrl-C once a step says it is ready."""

    def __init__(self, ready: threading.Event) -> None:
        super().__init__()
        self._ready = ready

    def finished(self, action: Action, result: Result) -> None:
        super().finished(action, result)
        self._ready.wait(PATIENCE_SECONDS)
        raise KeyboardInterrupt


def test_an_interrupt_ends_running_programs_and_keeps_what_was_published(path: Path) -> None:
    runs, ended = threading.Event(), threading.Event()

    def wait_for_the_program(fifo: Path) -> None:
        fifo.read_text()
        runs.set()

    def run_forever(workspace: Workspace) -> None:
        fifo = workspace.staging / "fifo"
        os.mkfifo(fifo)
        threading.Thread(target=wait_for_the_program, args=(fifo,)).start()
        try:
            process.run(Command(("sh", "-c", f"echo > {fifo}; exec sleep 100000")))
        finally:
            ended.set()

    with pytest.raises(KeyboardInterrupt):
        built([step("a"), step("b", during=run_forever)], path, reporter=Interrupting(runs), jobs=2)
    assert ended.wait(PATIENCE_SECONDS)
    assert standing_alone(path) == {"a.txt": "a;"}


def standing_alone(path: Path) -> dict[str, str]:
    """Artifacts without a look at staging, which the next writer sweeps."""
    return {file.name: file.read_text() for file in path.glob("*.txt")}
