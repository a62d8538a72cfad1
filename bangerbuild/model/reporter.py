"""The Protocols of reporters, which are called while a plan is made and executed."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from bangerbuild.model.plan import Action, Plan, Result
    from bangerbuild.model.reason import Json


Progress: TypeAlias = "Callable[[str, int, int | None], None]"
"""Is told what takes long, how many bytes of it are done, and of how many; None where that is not known."""


Said: TypeAlias = "Callable[[str, str], None]"
"""Is told what works for a step, and a line that it printed."""


def unseen(what: str, done_bytes: int, total_bytes: int | None) -> None:
    """Progress that nobody is shown."""


def unheard(what: str, line: str) -> None:
    """A line that nobody is shown."""


class Reporter(Protocol):
    """Is told what happens while a plan is executed. Called from one thread only."""

    def started(self, action: Action) -> None:
        """The action runs now."""

    def finished(self, action: Action, result: Result) -> None:
        """The action ended: done and published, failed, or skipped."""

    def warned(self, step_id: str, message: str) -> None:
        """A step has something to say that stops nothing."""

    def progressed(self, what: str, done_bytes: int, total_bytes: int | None) -> None:
        """How far something is that takes long. The one that is called from any thread, and often.

        `what` is a download, or the id of a step that runs.
        """


@runtime_checkable
class PlanReporter(Reporter, Protocol):
    """A reporter that is shown the plan before the first step runs."""

    def planned(self, plan: Plan) -> None:
        """The plan is made, and nothing is done yet."""


@runtime_checkable
class OutputReporter(Protocol):
    """A reporter that is told too what long-running programs print. Called from any thread."""

    def said(self, what: str, line: str) -> None:
        """What works for a step, such as a build, printed a line."""


class SpanKind(Enum):
    """What a part of a run's time was spent on."""

    PHASE = "phase"
    """A part of the run before or around its steps: `load`, `lock`, `plan`, `fetch`, `execute`."""
    READY = "ready"
    """A job that could run waited for a thread."""
    JOB = "job"
    """A thread made one disk, or did one other step; the spans of its steps lie inside."""
    STEP = "step"
    """A step ran."""
    UNPUBLISHED = "unpublished"
    """A job that had ended waited until its batch was published."""
    PUBLISH = "publish"
    """A batch of jobs was published."""


@dataclass(frozen=True, slots=True)
class Span:
    """A part of a run's time."""

    kind: SpanKind
    name: str
    """The id of the step; of a job the id of its first one; else what was done."""
    begun: float
    """Seconds of the monotonic clock."""
    ended: float
    thread: int
    """Which thread spent it, or did what was waited for: as `threading.get_ident` has it."""
    facts: Mapping[str, Json] = field(default_factory=dict)
    """What else is known: of a step its `action`, `outcome` and sizes, of a batch how much it was."""


@runtime_checkable
class SpanReporter(Protocol):
    """A reporter that is told too what a run's time was spent on. For any other, nothing is collected."""

    def spent(self, span: Span) -> None:
        """A part of the time is over."""


@contextmanager
def phase(reporter: object, name: str) -> Iterator[None]:
    """Tell a reporter, if it is one that wants to know, how long a part of the run takes."""
    if not isinstance(reporter, SpanReporter):
        yield
        return
    begun = time.monotonic()
    try:
        yield
    finally:
        reporter.spent(Span(SpanKind.PHASE, name, begun, time.monotonic(), threading.get_ident()))


class Silent(PlanReporter):
    """A reporter that tells nobody anything."""

    @override
    def planned(self, plan: Plan) -> None:
        pass

    @override
    def started(self, action: Action) -> None:
        pass

    @override
    def finished(self, action: Action, result: Result) -> None:
        pass

    @override
    def warned(self, step_id: str, message: str) -> None:
        pass

    @override
    def progressed(self, what: str, done_bytes: int, total_bytes: int | None) -> None:
        pass
