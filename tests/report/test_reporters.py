"""Reporters: which one fits, and what each writes to stderr."""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stderr
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import SourceError
from bangerbuild.model import Action, Outcome, Plan, Reason, ReasonCode, Recipe, Result, Verb
from bangerbuild.report import reporters
from tests.fakes import FakeDisk

if TYPE_CHECKING:
    from bangerbuild.model import PlanReporter


def action(step_id: str, verb: Verb, *codes: ReasonCode) -> Action:
    facts = {ReasonCode.IN_USE: {"holder": "qemu (process 7)"}}
    reasons = tuple(Reason(code, facts.get(code, {})) for code in codes)
    return Action(FakeDisk(step_id), verb, reasons, Recipe("fake", {}, {}, {}, {}), "f00d", ("x",))


IMAGE = action("image.deb.rootfs", Verb.KEEP)
ROOT = action("vm.web.root", Verb.CREATE, ReasonCode.MISSING)
HELD = action("vm.db.root", Verb.UPDATE, ReasonCode.FORCED, ReasonCode.IN_USE)
OLD = action("vm.old.root", Verb.BLOCKED, ReasonCode.GUEST_WROTE)
PLAN = Plan(Path("/build"), (IMAGE, ROOT, HELD, OLD))
FAILED = Result("vm.web.root", Outcome.FAILED, 0.2, SourceError("'~/a' can't be read", hint="chmod +r ~/a"))


def run(telling: PlanReporter) -> None:
    """A plan of which one step is done and another fails."""
    telling.planned(PLAN)
    telling.started(ROOT)
    telling.warned("vm.web.root", "a socket is skipped")
    telling.finished(ROOT, Result("vm.web.root", Outcome.DONE, 1.5))


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def capable_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")


def chosen(stream: io.StringIO, *, quiet: bool = False) -> str:
    with redirect_stderr(stream), reporters.reporter(quiet=quiet, verbose=False) as telling:
        return type(telling).__name__


def test_a_pipe_gets_plain_lines() -> None:
    assert chosen(io.StringIO()) == "Plain"


def test_a_terminal_gets_a_live_display() -> None:
    assert chosen(Terminal()) == "Live"


def test_a_terminal_that_can_do_nothing_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert chosen(Terminal()) == "Plain"


def test_who_asks_for_quiet_gets_it_on_a_terminal_too() -> None:
    assert chosen(Terminal(), quiet=True) == "Quiet"


def test_quiet_says_nothing_but_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    run(reporters.Quiet())
    assert capsys.readouterr() == ("", "warning: vm.web.root: a socket is skipped\n")


def test_plain_says_what_is_left_and_then_a_line_for_each_step_that_ended(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run(reporters.Plain(verbose=False))
    assert capsys.readouterr().err == (
        "  in use  vm.db.root   --replace, in use by qemu (process 7); left as it is\n"
        "  blocked vm.old.root  the guest has written to it since it was built\n"
        "          `bangerbuild apply --replace vm.old.root` discards what is in it\n"
        "warning: vm.web.root: a socket is skipped\n"
        "  create  vm.web.root    1.50 s  missing\n"
    )


def test_plain_says_what_stays_beside_what_was_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    telling = reporters.Plain(verbose=False)
    replaced = replace(ROOT, verb=Verb.REPLACE, notes=("root.cow stays beside it until: bangerbuild gc",))
    telling.planned(Plan(Path("/build"), (replaced,)))
    telling.finished(replaced, Result("vm.web.root", Outcome.DONE, 1.5))
    assert capsys.readouterr().err == (
        "  replace vm.web.root    1.50 s  missing\n          root.cow stays beside it until: bangerbuild gc\n"
    )


def test_plain_says_what_is_kept_only_if_asked(capsys: pytest.CaptureFixture[str]) -> None:
    reporters.Plain(verbose=True).planned(Plan(Path("/build"), (IMAGE, ROOT)))
    assert capsys.readouterr().err == "  keep    image.deb.rootfs\n"


def test_a_failed_step_is_told_with_its_error_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    telling = reporters.Plain(verbose=False)
    telling.planned(Plan(Path("/build"), (ROOT,)))
    telling.finished(ROOT, FAILED)
    assert capsys.readouterr().err == (
        "  failed  vm.web.root  '~/a' can't be read\n          hint: chmod +r ~/a\n"
    )


def test_of_many_reasons_the_first_few_are_told_in_a_line_and_how_many_more_there_are() -> None:
    reasons = tuple(Reason(ReasonCode.FILE_DIFFERS, {"guest": f"/f{number}"}) for number in range(40))
    done = Result("vm.web.root", Outcome.DONE, 1.5)
    line = reporters.result_line(replace(ROOT, reasons=reasons), done, 0)
    assert line.endswith(
        "/f0 differs in the guest, /f1 differs in the guest, /f2 differs in the guest and 37 more"
    )
    line = reporters.result_line(replace(ROOT, reasons=reasons[:4]), done, 0)
    assert line.endswith("/f2 differs in the guest, /f3 differs in the guest")


def test_a_skipped_step_is_told_with_the_reason(capsys: pytest.CaptureFixture[str]) -> None:
    reporters.Plain(verbose=False).finished(ROOT, Result("vm.web.root", Outcome.SKIPPED))
    assert capsys.readouterr().err == "  skipped vm.web.root  goes with what failed\n"


def test_live_leaves_the_same_lines_behind_as_plain(capsys: pytest.CaptureFixture[str]) -> None:
    run(reporters.Plain(verbose=False))
    plain = capsys.readouterr().err.splitlines()
    with redirect_stderr(Terminal()) as screen, reporters.reporter(quiet=False, verbose=False) as telling:
        assert isinstance(telling, reporters.Live)
        run(telling)
    assert len(plain) == 5
    assert all(line in screen.getvalue() for line in plain)
    assert capsys.readouterr().out == ""


def test_live_shows_a_step_while_it_runs_and_not_after() -> None:
    with redirect_stderr(Terminal()), reporters.reporter(quiet=False, verbose=False) as telling:
        assert isinstance(telling, reporters.Live)
        telling.planned(PLAN)
        telling.started(ROOT)
        assert [bar.text for bar in telling.bars()] == ["apply", "create vm.web.root"]
        telling.finished(ROOT, Result("vm.web.root", Outcome.DONE, 1.5))
        assert [(bar.text, bar.amount) for bar in telling.bars()] == [("apply", "1/1")]


def test_live_shows_no_bar_where_nothing_is_done() -> None:
    with redirect_stderr(Terminal()), reporters.reporter(quiet=False, verbose=False) as telling:
        assert isinstance(telling, reporters.Live)
        telling.planned(Plan(Path("/build"), (IMAGE,)))
        assert telling.bars() == []


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which a test may change."""
    now = [1000.0]
    monkeypatch.setattr("bangerbuild.report.reporters.time.monotonic", lambda: now[0])
    return now


def test_plain_says_how_far_a_download_is_now_and_then(
    capsys: pytest.CaptureFixture[str], clock: list[float]
) -> None:
    telling = reporters.Plain(verbose=False)
    for seconds, done in ((0, 0), (4, 10 << 20), (2, 12 << 20), (1, 13 << 20), (5, 60 << 20), (9, 64 << 20)):
        clock[0] += seconds
        telling.progressed("https://x/y", done, 64 << 20)
    assert capsys.readouterr().err == (
        "  fetch   https://x/y  12 MiB of 64 MiB\n  fetch   https://x/y  60 MiB of 64 MiB\n"
    )


def test_plain_says_how_far_a_step_is_by_what_it_does(
    capsys: pytest.CaptureFixture[str], clock: list[float]
) -> None:
    telling = reporters.Plain(verbose=False)
    telling.started(ROOT)
    for done in (1 << 20, 32 << 20):
        clock[0] += 6
        telling.progressed(ROOT.id, done, 64 << 20)
    assert capsys.readouterr().err == "  create  vm.web.root  32 MiB of 64 MiB\n"


def test_live_shows_how_far_a_step_is_until_it_has_ended() -> None:
    with redirect_stderr(Terminal()), reporters.reporter(quiet=False, verbose=False) as telling:
        assert isinstance(telling, reporters.Live)
        telling.started(ROOT)
        telling.progressed(ROOT.id, 32 << 20, 64 << 20)
        telling.progressed(ROOT.id, 64 << 20, 64 << 20)
        assert [(bar.text, bar.amount) for bar in telling.bars()] == [
            ("create vm.web.root", "64 MiB of 64 MiB")
        ]
        telling.finished(ROOT, Result("vm.web.root", Outcome.DONE, 1.5))
        assert telling.bars() == []


def test_plain_says_nothing_of_what_is_quick(capsys: pytest.CaptureFixture[str], clock: list[float]) -> None:
    telling = reporters.Plain(verbose=False)
    for done in (0, 32 << 20, 64 << 20):
        clock[0] += 1
        telling.progressed("https://x/y", done, 64 << 20)
    assert capsys.readouterr().err == ""


def test_plain_says_at_once_that_something_began_of_which_nobody_knows_how_long_it_takes(
    capsys: pytest.CaptureFixture[str], clock: list[float]
) -> None:
    telling = reporters.Plain(verbose=False)
    telling.progressed("mmdebstrap sid", 0, None)
    clock[0] += 60
    telling.progressed("mmdebstrap sid", 1 << 20, 1 << 20)
    assert capsys.readouterr().err == "  fetch   mmdebstrap sid\n"


def test_quiet_says_nothing_of_downloads(capsys: pytest.CaptureFixture[str]) -> None:
    reporters.Quiet().progressed("x", 0, None)
    assert capsys.readouterr() == ("", "")


def test_live_shows_each_download_as_long_as_it_lasts_before_there_is_a_plan_too() -> None:
    with redirect_stderr(Terminal()), reporters.reporter(quiet=False, verbose=False) as telling:
        assert isinstance(telling, reporters.Live)
        telling.progressed("https://x/y", 1 << 20, 64 << 20)
        telling.progressed("https://x/z", 0, None)
        assert [(bar.text, bar.amount) for bar in telling.bars()] == [
            ("fetch https://x/y", "1 MiB of 64 MiB"),
            ("fetch https://x/z", ""),
        ]
        telling.progressed("https://x/y", 64 << 20, 64 << 20)
        telling.progressed("https://x/z", 5, 5)
        telling.progressed("https://x/quick", 5, 5)
        assert telling.bars() == []


def test_what_is_printed_while_live_shows_bars_is_above_them() -> None:
    with redirect_stderr(Terminal()) as screen:
        with reporters.reporter(quiet=False, verbose=False):
            sys.stderr.write("warning: from elsewhere\n")
        sys.stderr.write("after\n")
    assert screen.getvalue() == "warning: from elsewhere\nafter\n"
