"""Printing for the command line: results to stdout, all else to stderr. A closed pipe is no error."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, TextIO, cast

import click

from bangerbuild import identities, report
from bangerbuild.errors import BangerError, UsageError, printable
from bangerbuild.given import Given

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bangerbuild.errors import Problem
    from bangerbuild.model import Plan

EXIT_FAILED = 1
EXIT_PENDING = 2
EXIT_USAGE = 3
EXIT_BUSY = 4
EXIT_INTERRUPTED = 130


def open_closed_streams() -> None:
    """Open /dev/null for streams that the caller closed (`>&-`), so that no other file gets their number."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            lowest_free = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(lowest_free, mode))


class BestEffortStream:
    """A text stream that ignores errors of writing, such as a closed pipe."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text; its length, whether it could be written or not."""
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush the stream, if that works."""
        with contextlib.suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # the attributes of any stream
        return getattr(self._stream, name)


def ignore_stderr_errors() -> None:
    """Ignore errors when writing to stderr: the work continues, and the exit code shows the outcome."""
    sys.stderr = cast("TextIO", BestEffortStream(sys.stderr))


def result(text: str | bytes, *, newline: bool = True) -> bool:
    """Print a result; False if the reader has closed the pipe (`| head`), which is no error."""
    try:
        click.echo(text, nl=newline)
    except BrokenPipeError:
        drop_output()
        return False
    except OSError as err:
        drop_output()
        raise BangerError(f"can't print the result: {(err.strerror or str(err)).lower()}") from err
    return True


def results(lines: Iterable[str]) -> None:
    """Print lines, many at once: of a plan there may be a million."""
    left = iter(lines)
    while some := list(islice(left, _AT_ONCE)):
        if not result("\n".join(some)):
            return


_AT_ONCE = 1024


def drop_output() -> None:
    """Redirect stdout to /dev/null, so that its buffer can be flushed without an error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@dataclass
class _Run:
    """What is to be known of a run to print its messages, and its one document."""

    given: Given = field(default_factory=Given)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


_run = _Run()


def begin(given: Given) -> None:
    """A run begins; the commands in all its messages are completed with what it was given."""
    _run.given = given
    _run.problems.clear()
    _run.warnings.clear()


def completed(text: str) -> str:
    """A message whose commands can be typed as they are printed."""
    return _run.given.completed(text)


def say(lines: Iterable[str]) -> None:
    """Print lines that are no results, to stderr."""
    for line in lines:
        click.echo(completed(printable(identities.removed(line))), err=True)


def say_interrupted(finished: Sequence[str] = (), by_half: Sequence[str] = ()) -> None:
    """Print the message of an interrupted run."""
    say([report.interrupted(finished, by_half)])


def ask(question: str, *, hint: str) -> bool:
    """Ask a yes-or-no question on the terminal; the default is no.

    Raises:
        UsageError: standard input is no terminal; the hint names the option that answers instead.
    """
    if not sys.stdin.isatty():
        raise UsageError("nobody can be asked here: standard input is no terminal", hint=f"say {hint}")
    return click.confirm(question, err=True)


def warn(message: str) -> None:
    """Print a warning, and keep it for the run's document."""
    _run.warnings.append(message)
    say([f"warning: {message}"])


def warn_of(problem: Problem) -> None:
    """Print a problem of a manifest that the run goes on with, and keep it for the run's document."""
    _run.problems.append(problem)
    say([f"warning: {'; '.join(line.strip() for line in problem.lines())}"])


def json_result(document: dict[str, Any], *, told: bool = True) -> None:
    """Print one JSON document, the only one of this run.

    With `told`, it has the problems of manifests and the warnings too.
    """
    _printed.append(True)
    if told:
        problems = [*map(report.problem_json, _run.problems), *document.get("problems", ())]
        document = {**document, "problems": problems, "warnings": list(_run.warnings)}
    result(json.dumps(_run.given.completed_document(document), indent=2))


def json_error(err: BangerError) -> None:
    """Print an error as the one JSON document, where one was asked for and none was printed."""
    words = sys.argv[1:]
    options = words[: words.index("--")] if "--" in words else words
    if "--json" in options and not _printed:
        json_result(report.error_document(err))


_printed: list[bool] = []
"""Not empty once a document was printed."""


def plan_result(plan: Plan, *, as_json: bool, verbose: bool, diffs: bool = True) -> None:
    """Print a plan as text or JSON."""
    if as_json:
        json_result(report.plan_json(plan))
        return
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    lines = report.plan_lines(plan, in_full=verbose, diffs=diffs, coloured=coloured, complete=completed)
    results(lines)
