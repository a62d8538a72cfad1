"""Traces, read by a reader of the format."""

from __future__ import annotations

import io
import json
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.errors import UsageError
from bangerbuild.model import Silent, Span, SpanKind
from bangerbuild.report import trace
from bangerbuild.report.trace import Trace, Traced
from tests.report.trace_reader import TraceReader

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MAIN = threading.get_ident()
FIRST, SECOND = MAIN + 1, MAIN + 2


def read(spans: Iterable[Span], collected: Trace | None = None) -> TraceReader:
    collected = collected or Trace()
    for span in spans:
        collected.spent(span)
    return TraceReader(json.loads(json.dumps(collected.document("1.0"))))


def test_steps_lie_in_their_jobs_and_jobs_in_their_threads() -> None:
    found = read(
        [
            Span(SpanKind.PHASE, "execute", 10.0, 13.0, MAIN),
            Span(SpanKind.JOB, "vm.a.root", 10.5, 12.0, FIRST),
            Span(SpanKind.STEP, "vm.a.root", 10.5, 11.0, FIRST, {"bytes": 7}),
            Span(SpanKind.STEP, "vm.a.root.patch", 11.0, 12.0, FIRST),
            Span(SpanKind.JOB, "vm.b.root", 11.0, 12.5, SECOND),
        ]
    )
    assert found.parent("step", "vm.a.root.patch") == "vm.a.root"
    assert found.thread("step", "vm.a.root") == "job thread 1"
    assert found.thread("job", "vm.b.root") == "job thread 2"
    assert found.thread("phase", "execute") == "main"
    step = found.bar("step", "vm.a.root")
    assert (step["ts"], step["dur"], step["args"]) == (500_000, 500_000, {"bytes": 7})


def test_waits_at_the_same_time_stand_in_lanes_beside_each_other() -> None:
    found = read(
        [
            Span(SpanKind.READY, "a", 0.0, 2.0, FIRST),
            Span(SpanKind.READY, "b", 1.0, 3.0, FIRST),
            Span(SpanKind.UNPUBLISHED, "a", 2.0, 4.0, FIRST),
        ]
    )
    assert found.thread("ready", "ready: a") == "waits 1"
    assert found.thread("ready", "ready: b") == "waits 2"
    assert found.thread("unpublished", "unpublished: a") == "waits 1"


TIMES = st.tuples(st.floats(0, 100, allow_nan=False), st.floats(0, 100, allow_nan=False)).map(sorted)


@given(st.lists(TIMES, max_size=30))
def test_whatever_is_waited_for_lies_in_a_lane_without_crossing_another(times: list[list[float]]) -> None:
    spans = [Span(SpanKind.READY, str(at), begun, ended, FIRST) for at, (begun, ended) in enumerate(times)]
    found = read(spans)
    assert len(found.names("ready")) == len(times)


@given(st.lists(st.floats(0, 1e6, allow_nan=False), min_size=4, max_size=4).map(sorted))
def test_rounding_leaves_what_lies_inside_inside(times: list[float]) -> None:
    begun, inner_begun, inner_ended, ended = times
    inner = Span(SpanKind.STEP, "inner", inner_begun, inner_ended, FIRST)
    found = read([inner, Span(SpanKind.JOB, "outer", begun, ended, FIRST)])
    outer, bar = found.bar("job", "outer"), found.bar("step", "inner")
    assert outer["ts"] <= bar["ts"]
    assert bar["ts"] + bar["dur"] <= outer["ts"] + outer["dur"]


def test_a_download_is_a_transfer_and_what_a_step_read_belongs_to_the_step() -> None:
    times = iter([1.0, 2.0, 3.0])
    collected = Trace(lambda: next(times))
    telling = Traced(Silent(), collected)
    telling.progressed("rootfs.tar", 10, 100)
    telling.progressed("rootfs.tar", 100, 100)
    telling.progressed("image.a.rootfs", 5, None)
    found = read([Span(SpanKind.STEP, "image.a.rootfs", 2.5, 3.5, FIRST)], collected)
    bar = found.bar("transfer", "rootfs.tar")
    assert (bar["ts"], bar["dur"]) == (0, 1_000_000)
    assert bar["args"] == {"bytes": 100, "total_bytes": 100}
    assert found.bar("step", "image.a.rootfs")["args"] == {"progress_bytes": 5}
    assert found.names("transfer") == ["rootfs.tar"]


def test_a_trace_of_nothing_can_be_read() -> None:
    assert read([]).bars == []


def test_a_reporter_with_a_trace_tells_the_other_all_that_it_is_told() -> None:
    class Heard(Silent):
        def __init__(self) -> None:
            self.lines: list[str] = []

        def said(self, what: str, line: str) -> None:
            self.lines.append(f"{what}: {line}")

    heard = Heard()
    Traced(heard, Trace()).said("a", "b")
    Traced(Silent(), Trace()).said("a", "b")  # nobody listens
    assert heard.lines == ["a: b"]


def test_a_file_that_is_no_trace_is_never_overwritten(tmp_path: Path) -> None:
    manifest, older = tmp_path / "vm.toml", tmp_path / "trace.json"
    manifest.write_text("[vm.a]\n")
    with pytest.raises(UsageError, match="is there, and no trace of this program"):
        trace.opened(manifest)
    assert manifest.read_text() == "[vm.a]\n"
    for _ in range(2):  # the second time over the first
        trace.write(Trace(), trace.opened(older), "1.0")
    assert json.loads(older.read_text())["otherData"] == {"program": "bangerbuild 1.0"}


def test_a_file_that_can_not_be_written_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"can't write the trace '.*': no such file or directory"):
        trace.opened(tmp_path / "nowhere/trace.json")
    with pytest.raises(UsageError, match="is a directory"):
        trace.opened(tmp_path)


def test_the_file_begins_with_what_it_is_told_by() -> None:
    class Kept(io.BytesIO):
        def close(self) -> None:
            pass

    file = Kept()
    trace.write(Trace(), file, "1.0")
    assert file.getvalue().startswith(trace.BEGINNING)
