"""Reporters show the progress of a run on stderr: only errors, a line per step, or a live display."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, TextIO, cast

from typing_extensions import override

from bangerbuild import report
from bangerbuild.errors import printable
from bangerbuild.model import Outcome, PlanReporter, ReasonCode, Verb
from bangerbuild.report.alike import Alike
from bangerbuild.report.bars import Bar, amount
from bangerbuild.report.display import Display
from bangerbuild.report.fleets import Progress as FleetProgress

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.model import Action, Plan, Result
    from bangerbuild.report import Complete
    from bangerbuild.report.fleets import Group


MOST_REASONS = 3
"""In one line."""
SAY_SECONDS = 5.0
"""The interval between progress lines of one download or step; shorter ones get none."""


@contextlib.contextmanager
def reporter(*, quiet: bool, verbose: bool, complete: Complete = report.unchanged) -> Iterator[Quiet]:
    """The suitable reporter: live on a terminal, plain lines in a pipe, only warnings and errors if quiet.

    `complete` completes the commands in messages with what the run was given.
    """
    if quiet:
        yield Quiet(complete)
    elif sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        with _live(verbose=verbose, complete=complete) as live, live.told_at_last():
            yield live
    else:
        plain = Plain(verbose=verbose, complete=complete)
        with plain.told_at_last():
            yield plain


class Quiet(PlanReporter):
    """Prints only warnings and errors."""

    def __init__(self, complete: Complete = report.unchanged) -> None:
        self._complete = complete
        self.finished_ids: list[str] = []
        self.plan: Plan | None = None
        """The plan, once it is made."""

    @override
    def planned(self, plan: Plan) -> None:
        """Print what is known to fail: nothing else would say so."""
        self.plan = plan
        failing = tuple(action for action in plan.actions if action.verb is Verb.BLOCKED and _fails(action))
        for line in still_lines(replace(plan, actions=failing), 0, verbose=False):
            self._print(line)

    @override
    def started(self, action: Action) -> None:
        pass

    @override
    def finished(self, action: Action, result: Result) -> None:
        self._note(result)
        if result.error is not None:
            for line in (f"{action.id} failed:", *(f"  {line}" for line in report.error_lines(result.error))):
                self._print(line)

    def _print(self, line: str) -> None:
        sys.stderr.write(f"{self._complete(printable(line))}\n")

    def _note(self, result: Result) -> None:
        if result.outcome is Outcome.DONE:
            self.finished_ids.append(result.id)

    @override
    def warned(self, step_id: str, message: str) -> None:
        self._print(f"warning: {step_id}: {message}")

    @override
    def progressed(self, what: str, done_bytes: int, total_bytes: int | None) -> None:
        pass


class Plain(Quiet):
    """Prints a line for each step that ends."""

    def __init__(self, *, verbose: bool, complete: Complete = report.unchanged) -> None:
        super().__init__(complete)
        self._verbose = verbose
        self._width = 0
        self._said: dict[str, float] = {}
        self._running: dict[str, Verb] = {}
        """What steps that run do, by their ids."""
        self._fleets = FleetProgress((), {}, _texts)

    @contextlib.contextmanager
    def told_at_last(self) -> Iterator[None]:
        """Print at the end what is done of fleets of which not everything was."""
        try:
            yield
        finally:
            for group in self._fleets.left():
                self._print_group(group)

    @override
    def planned(self, plan: Plan) -> None:
        """Print the steps that will not be done."""
        self.plan = plan
        if not self._verbose:
            pending = [action for action in plan.actions if action.pending]
            self._fleets = FleetProgress(pending, plan.fleets, _texts)
        said = (action for action in plan.actions if self._verbose or action.verb is not Verb.KEEP)
        self._width = max((len(action.id) for action in said), default=0)
        for line in (*still_lines(plan, self._width, verbose=self._verbose), *report.undeclared_lines(plan)):
            self._print(line)

    @override
    def started(self, action: Action) -> None:
        self._running[action.id] = action.verb

    @override
    def finished(self, action: Action, result: Result) -> None:
        self._running.pop(action.id, None)
        self._note(result)
        if self._fleets.is_grouped(action):
            group = self._fleets.finished(action, is_done=result.outcome is Outcome.DONE)
            if group is not None:
                self._print_group(group)
            if result.outcome is Outcome.DONE:
                return
        self._print(result_line(action, result, self._width))
        if result.outcome is Outcome.DONE and action.verb is Verb.REPLACE:  # what stays beside it
            for note in action.notes:
                self._print(f"          {note}")
        if result.error is not None:
            for line in report.more_of(result.error):
                self._print(f"        {line}")

    def _print_group(self, group: Group) -> None:
        for line in report.group_lines(group, self._width):
            self._print(line)

    @override
    def progressed(self, what: str, done_bytes: int, total_bytes: int | None) -> None:
        """Print a line at intervals for a long download or step, and at once for one of unknown size."""
        now, verb = time.monotonic(), self._running.get(what)
        word = verb.value if verb else "fetch"
        if what not in self._said and not done_bytes and total_bytes is None:
            self._print(f"  {word:<7} {what}")
        elif now - self._said.get(what, now) >= SAY_SECONDS and done_bytes != total_bytes:
            self._print(f"  {word:<7} {what}  {amount(done_bytes, total_bytes)}")
        else:
            self._said.setdefault(what, now)
            return
        self._said[what] = now

    def said(self, what: str, line: str) -> None:
        """With -v, print what a builder prints; else it is shown only where it fails."""
        if self._verbose:
            self._print(f"  {what}: {line}")


class Live(Plain):
    """Shows a bar for each running step, below the lines of the steps that ended."""

    def __init__(self, *, verbose: bool, complete: Complete) -> None:
        super().__init__(verbose=verbose, complete=complete)
        self._total: Bar | None = None
        self._steps: dict[str, Bar] = {}
        self._fetching: dict[str, Bar] = {}
        self._lock = threading.Lock()

    def bars(self) -> list[Bar]:
        """What goes on now. Called from the display's thread."""
        with self._lock:
            total = [self._total] if self._total else []
            return [*total, *self._steps.values(), *self._fetching.values()]

    @override
    def planned(self, plan: Plan) -> None:
        super().planned(plan)
        pending = sum(action.pending for action in plan.actions)
        if pending:
            self._total = Bar("apply", total=pending, in_bytes=False)

    @override
    def started(self, action: Action) -> None:
        super().started(action)
        with self._lock:
            self._steps[action.id] = Bar(f"{action.verb.value} {action.id}")

    @override
    def finished(self, action: Action, result: Result) -> None:
        with self._lock:
            self._steps.pop(action.id, None)
            if self._total is not None:
                self._total.done += 1
        super().finished(action, result)

    @override
    def progressed(self, what: str, done_bytes: int, total_bytes: int | None) -> None:
        """Show a bar for each running download, and how far the step of that id is."""
        with self._lock:
            if what in self._steps:
                self._steps[what].done, self._steps[what].total = done_bytes, total_bytes
            elif done_bytes == total_bytes:
                self._fetching.pop(what, None)
            else:
                bar = self._fetching.setdefault(what, Bar(f"fetch {what}"))
                bar.done, bar.total = done_bytes, total_bytes


@contextlib.contextmanager
def _live(*, verbose: bool, complete: Complete) -> Iterator[Live]:
    live = Live(verbose=verbose, complete=complete)
    with Display(sys.stderr, live.bars) as display, contextlib.redirect_stderr(cast("TextIO", display)):
        yield live


def result_line(action: Action, result: Result, width: int) -> str:
    """The line of a finished step: `  create  vm.web.root    0.02 s  missing`."""
    if result.outcome is Outcome.DONE:
        return _line(action.verb.value, action, width, f"{result.seconds:6.2f} s  {_why(action)}")
    if result.error is not None:
        return _line(result.outcome.value, action, width, result.error.brief)
    return _line(result.outcome.value, action, width, "goes with what failed")


def _fails(action: Action) -> bool:
    return any(reason.code is ReasonCode.WOULD_FAIL for reason in action.reasons)


def still_lines(plan: Plan, width: int, *, verbose: bool) -> Iterator[str]:
    """The lines of steps that are not done: blocked, in use; with `verbose` also kept ones."""
    alike = Alike(() if verbose else plan.actions, lambda action: list(_still(action, 0, verbose=False)))
    for action in plan.actions:
        if not alike.is_told(action):
            yield from _still(action, width, verbose=verbose)
            yield from alike.more(action)


def _still(action: Action, width: int, *, verbose: bool) -> Iterator[str]:
    if action.verb is Verb.BLOCKED:
        yield _line("blocked", action, width, _why(action))
        yield from (f"          {hint}" for hint in [report.way_out(action)] if hint)
    elif action.in_use:
        yield _line("in use", action, width, f"{_why(action)}; left as it is")
    elif action.verb is Verb.KEEP and (verbose or action.is_damaged):
        yield _line("keep", action, width, _why(action))


def _line(word: str, action: Action, width: int, text: str) -> str:
    return f"  {word:<7} {action.id:<{width}}  {text}".rstrip()


def _texts(action: Action) -> list[str]:
    return [report.reason(one) for one in action.reasons]


def _why(action: Action) -> str:
    """The first few reasons of an action; `plan` prints all of them."""
    shown = action.reasons if len(action.reasons) <= MOST_REASONS + 1 else action.reasons[:MOST_REASONS]
    more = len(action.reasons) - len(shown)
    return ", ".join(map(report.reason, shown)) + (f" and {more} more" if more else "")
