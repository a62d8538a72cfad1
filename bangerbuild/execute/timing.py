"""Tells a reporter what the time of jobs was spent on, if it is one that wants to know."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from bangerbuild.model import Span, SpanKind, SpanReporter

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bangerbuild.execute.jobs import Finished, Job
    from bangerbuild.model import Action, Json, Reporter, Result
    from bangerbuild.store import Store


class Timing:
    """The spans of jobs, steps and batches, told by the thread that publishes.

    Args:
        reporter: is told, if it is a `SpanReporter`; else nothing is done.
        store: knows the sizes of what was published.
    """

    def __init__(self, reporter: Reporter, store: Store) -> None:
        self._told = reporter if isinstance(reporter, SpanReporter) else None
        self._store = store

    def ended(self, job: Job, end: Finished, results: Mapping[str, Result]) -> None:
        """A job's outcome is known: it was published, or it failed."""
        if self._told is None:
            return
        now, first, whole = time.monotonic(), job.actions[0].id, end.whole
        self._told.spent(Span(SpanKind.READY, first, job.ready_at, whole.begun, end.thread))
        self._told.spent(Span(SpanKind.JOB, first, *whole, end.thread))
        for action in job.actions:
            if ran := end.ran.get(action.id):
                facts = self._facts(action, results[action.id])
                self._told.spent(Span(SpanKind.STEP, action.id, *ran, end.thread, facts))
        self._told.spent(Span(SpanKind.UNPUBLISHED, first, whole.ended, now, end.thread))

    def _facts(self, action: Action, result: Result) -> dict[str, Json]:
        facts: dict[str, Json] = {"action": action.verb.value, "outcome": result.outcome.value}
        if result.error is not None:
            facts["error"] = result.error.brief
        elif not action.step.changes:  # else the file is that of the step which made it
            found = [status for status in map(self._store.status, action.artifacts) if status is not None]
            facts["bytes"] = sum(status.st_size for status in found)
            facts["allocated_bytes"] = sum(status.st_blocks * 512 for status in found)
        return facts

    def published(self, begun: float, finished: Sequence[tuple[Job, Finished]]) -> None:
        """A batch of jobs was published, from `begun` on, in seconds of the monotonic clock, until now."""
        if self._told is None or not finished:
            return
        staged = [end.staged for _, end in finished if end.staged and end.was_reported]
        facts: dict[str, Json] = {
            "jobs": len(finished),
            "files": sum(len(one.files) for one in staged),
            "bytes": sum(stamp.size for one in staged for stamp in one.stamps.values()),
        }
        now = time.monotonic()
        self._told.spent(Span(SpanKind.PUBLISH, "publish", begun, now, threading.get_ident(), facts))
