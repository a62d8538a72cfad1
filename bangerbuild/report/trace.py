"""A run's time as a file for a trace viewer, such as Perfetto, chrome://tracing or speedscope.

The format is the JSON Object Format of Chrome's Trace Event Format: `traceEvents` with complete events (`X`)
and names of processes and threads (`M`), times in whole microseconds. Events of one thread lie inside each
other or beside each other. Waits overlap, so they stand in a process of their own, each in the first lane
that is free; so do transfers.
"""

from __future__ import annotations

import heapq
import json
import threading
import time
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from typing_extensions import override

from bangerbuild.errors import UsageError
from bangerbuild.model import OutputReporter, PlanReporter, Span, SpanKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from bangerbuild.model import Action, Plan, Result

RUN, WAITS, TRANSFERS = 1, 2, 3
"""The processes of the file."""
PROCESSES = {RUN: "bangerbuild", WAITS: "waits", TRANSFERS: "transfers"}
BEGINNING = b'{"traceEvents"'
"""What a trace of ours begins with, by which it is told from other files."""
_WAITS = {SpanKind.READY, SpanKind.UNPUBLISHED}


@dataclass
class _Transfer:
    """How far something came that takes long."""

    begun: float
    ended: float
    done_bytes: int
    total_bytes: int | None


class Trace:
    """Collects what a run's time was spent on.

    Args:
        clock: seconds of the monotonic clock, now.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._main = threading.get_ident()
        self._spans: list[Span] = []
        self._transfers: dict[str, _Transfer] = {}

    def spent(self, span: Span) -> None:
        """A part of the time is over. Called from any thread."""
        self._spans.append(span)

    def progressed(self, what: str, done_bytes: int, total_bytes: int | None) -> None:
        """See `Reporter.progressed`."""
        now = self._clock()
        known = self._transfers.setdefault(what, _Transfer(now, now, done_bytes, total_bytes))
        known.ended, known.done_bytes, known.total_bytes = now, done_bytes, total_bytes

    def document(self, version: str) -> dict[str, Any]:
        """The file as JSON: times count from the first thing that was told."""
        spans, steps = list(self._spans), {span.name for span in self._spans if span.kind is SpanKind.STEP}
        transfers = {what: one for what, one in list(self._transfers.items()) if what not in steps}
        origin = min([span.begun for span in spans] + [one.begun for one in transfers.values()], default=0.0)
        events = [
            *self._in_threads([span for span in spans if span.kind not in _WAITS], origin),
            *_in_lanes(WAITS, [_bar(span, origin) for span in spans if span.kind in _WAITS]),
            *_in_lanes(TRANSFERS, [_transferred(what, one, origin) for what, one in transfers.items()]),
        ]
        used = {event["pid"] for event in events}
        names = [_named("process_name", pid, 0, name) for pid, name in PROCESSES.items() if pid in used]
        return {
            "traceEvents": [*names, *events],
            "displayTimeUnit": "ms",
            "otherData": {"program": f"bangerbuild {version}"},
        }

    def _in_threads(self, spans: Sequence[Span], origin: float) -> Iterator[dict[str, Any]]:
        """The spans of threads: the one that publishes first, then the others as they come."""
        ordered = sorted(spans, key=lambda span: (span.begun, -span.ended))
        numbers = {self._main: 1}
        for span in ordered:
            numbers.setdefault(span.thread, len(numbers) + 1)
        for number in numbers.values():
            name = "main" if number == 1 else f"job thread {number - 1}"
            yield _named("thread_name", RUN, number, name)
        for span in ordered:
            bar = {**_bar(span, origin), "pid": RUN, "tid": numbers[span.thread]}
            read = self._transfers.get(span.name)
            if span.kind is SpanKind.STEP and read is not None:
                bar["args"] = {**span.facts, "progress_bytes": read.done_bytes}
            yield bar


def _bar(span: Span, origin: float) -> dict[str, Any]:
    name = span.name if span.kind not in _WAITS else f"{span.kind.value}: {span.name}"
    return _event(name, span.kind.value, span.begun - origin, span.ended - origin, dict(span.facts))


def _transferred(what: str, one: _Transfer, origin: float) -> dict[str, Any]:
    facts: dict[str, Any] = {"bytes": one.done_bytes, "total_bytes": one.total_bytes}
    return _event(what, "transfer", one.begun - origin, one.ended - origin, facts)


def _event(name: str, category: str, begun: float, ended: float, facts: dict[str, Any]) -> dict[str, Any]:
    """A complete event. Both ends are rounded alike, so that what lies inside another still does."""
    begun_us, ended_us = int(begun * 1_000_000), int(ended * 1_000_000)
    times = {"ts": begun_us, "dur": max(0, ended_us - begun_us)}
    return {"name": name, "cat": category, "ph": "X", **times, "args": facts}


def _in_lanes(pid: int, bars: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Bars that overlap, each in the first lane in which nothing is any more."""
    free: list[int] = []
    busy: list[tuple[int, int]] = []
    lanes = 0
    for bar in sorted(bars, key=lambda bar: bar["ts"]):
        while busy and busy[0][0] <= bar["ts"]:
            heapq.heappush(free, heapq.heappop(busy)[1])
        if not free:
            lanes += 1
            heapq.heappush(free, lanes)
            yield _named("thread_name", pid, lanes, f"{PROCESSES[pid]} {lanes}")
        lane = heapq.heappop(free)
        heapq.heappush(busy, (bar["ts"] + bar["dur"], lane))
        yield {**bar, "pid": pid, "tid": lane}


def _named(what: str, pid: int, tid: int, name: str) -> dict[str, Any]:
    return {"name": what, "ph": "M", "pid": pid, "tid": tid, "args": {"name": name}}


class Traced(PlanReporter):
    """Tells another reporter what it is told, and a trace what a run's time was spent on."""

    def __init__(self, telling: PlanReporter, trace: Trace) -> None:
        self._telling = telling
        self._trace = trace

    @override
    def planned(self, plan: Plan) -> None:
        self._telling.planned(plan)

    @override
    def started(self, action: Action) -> None:
        self._telling.started(action)

    @override
    def finished(self, action: Action, result: Result) -> None:
        self._telling.finished(action, result)

    @override
    def warned(self, step_id: str, message: str) -> None:
        self._telling.warned(step_id, message)

    @override
    def progressed(self, what: str, done_bytes: int, total_bytes: int | None) -> None:
        self._trace.progressed(what, done_bytes, total_bytes)
        self._telling.progressed(what, done_bytes, total_bytes)

    def said(self, what: str, line: str) -> None:
        """See `OutputReporter`."""
        if isinstance(self._telling, OutputReporter):
            self._telling.said(what, line)

    def spent(self, span: Span) -> None:
        """See `SpanReporter`."""
        self._trace.spent(span)


def opened(path: Path) -> IO[bytes]:
    """The file that a trace is written to, empty, before the run: what can't be written is said first.

    Raises:
        UsageError: it can't be written, or another file than a trace would be lost.
    """
    try:
        if path.is_file() and path.stat().st_size:
            with path.open("rb") as file:
                if file.read(len(BEGINNING)) != BEGINNING:
                    raise UsageError(
                        f"'{path}' is there, and no trace of this program",
                        hint="remove it, or name another file: --trace trace.json",
                    )
        return path.open("wb")
    except OSError as err:
        raise UsageError(f"can't write the trace '{path}': {(err.strerror or str(err)).lower()}") from err


def write(trace: Trace, file: IO[bytes], version: str) -> None:
    """Write a trace and close the file.

    Raises:
        OSError: it can't be written.
    """
    with file:
        file.write(json.dumps(trace.document(version), separators=(",", ":")).encode())
