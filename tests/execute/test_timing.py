"""What a reporter is told of a run's time, if it wants to know."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild.errors import FilesystemError
from bangerbuild.model import Span, SpanKind
from tests.execute.steps import disk, patch, step
from tests.fakes import RecordingReporter, built

if TYPE_CHECKING:
    from pathlib import Path


class Watching(RecordingReporter):
    """Remembers the spans too."""

    def __init__(self) -> None:
        super().__init__()
        self.spans: list[Span] = []

    def spent(self, span: Span) -> None:
        self.spans.append(span)

    def of(self, kind: SpanKind) -> dict[str, Span]:
        """The spans of a kind by their names, which are never told twice."""
        found = [span for span in self.spans if span.kind is kind]
        assert len({span.name for span in found}) == len(found)
        return {span.name: span for span in found}


def test_each_step_is_told_once_inside_of_its_job_and_between_its_waits(tmp_path: Path) -> None:
    telling = Watching()
    built([step("a"), disk("root", "a"), patch("root")], tmp_path / "build", reporter=telling)
    steps, jobs = telling.of(SpanKind.STEP), telling.of(SpanKind.JOB)
    ready, unpublished = telling.of(SpanKind.READY), telling.of(SpanKind.UNPUBLISHED)
    assert steps.keys() == {"a", "root", "root.patch"}
    assert jobs.keys() == ready.keys() == unpublished.keys() == {"a", "root"}
    for name in jobs:
        assert ready[name].begun <= ready[name].ended == jobs[name].begun
        assert jobs[name].ended == unpublished[name].begun <= unpublished[name].ended
    for name in ("root", "root.patch"):
        assert jobs["root"].begun <= steps[name].begun <= steps[name].ended <= jobs["root"].ended
        assert steps[name].thread == jobs["root"].thread
    assert steps["root"].ended <= steps["root.patch"].begun
    assert unpublished["a"].ended <= ready["root"].ended


def test_what_was_made_is_told_in_bytes(tmp_path: Path) -> None:
    telling = Watching()
    built([step("a"), disk("root"), patch("root")], tmp_path / "build", reporter=telling)
    steps = telling.of(SpanKind.STEP)
    assert steps["a"].facts["bytes"] == len("a;")
    assert steps["root"].facts["bytes"] == len("root;patch;")
    assert "bytes" not in steps["root.patch"].facts  # the same file
    batches = [span.facts for span in telling.spans if span.kind is SpanKind.PUBLISH]
    assert sum(int(str(one["jobs"])) for one in batches) == 2
    assert sum(int(str(one["files"])) for one in batches) == 2
    assert sum(int(str(one["bytes"])) for one in batches) == len("a;root;patch;")


def test_what_failed_is_told_with_its_error_and_what_never_ran_is_not(tmp_path: Path) -> None:
    telling = Watching()
    broken = FilesystemError("'/etc/app.conf' is in the way")
    built(
        [disk("root"), patch("root", error=broken), step("b", "root")], tmp_path / "build", reporter=telling
    )
    steps = telling.of(SpanKind.STEP)
    assert steps["root.patch"].facts == {
        "action": "create",
        "outcome": "failed",
        "error": "'/etc/app.conf' is in the way",
    }
    assert steps["root"].facts["outcome"] == "skipped"  # it was made, and goes with its patch
    assert "b" not in steps
