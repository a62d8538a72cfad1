"""How the command line prints: results to stdout, all else to stderr; a reader that goes away is no error."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from typing import TYPE_CHECKING, Any, TextIO, cast

import click

from bangerbuild import report
from bangerbuild.errors import BangerError, UsageError, printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bangerbuild.model import Plan

EXIT_FAILED = 1
EXIT_PENDING = 2
EXIT_USAGE = 3
EXIT_BUSY = 4
EXIT_INTERRUPTED = 130


def open_closed_streams() -> None:
    """A stream that the caller closed (`>&-`) leads nowhere, and not into the next file that is opened."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            lowest_free = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(lowest_free, mode))


class BestEffortStream:
    """A text stream that takes everything, though nobody may be there any more to read it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """See TextIO."""
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """See TextIO."""
        with contextlib.suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # whatever it is
        return getattr(self._stream, name)


def ignore_stderr_errors() -> None:
    """Let what is no result be lost where it can't be printed: the work goes on, and the exit code tells."""
    sys.stderr = cast("TextIO", BestEffortStream(sys.stderr))


def result(text: str | bytes, *, newline: bool = True) -> bool:
    """Print a result; whether anybody still reads. An exit code does not hang on that (`| head`)."""
    try:
        click.echo(text, nl=newline)
    except BrokenPipeError:
        drop_output()
        return False
    except OSError as err:
        drop_output()
        raise BangerError(f"can't print the result: {(err.strerror or str(err)).lower()}") from err
    return True


def drop_output() -> None:
    """Let stdout lead nowhere, so that what is still in its buffer can be flushed without an error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def say(lines: Iterable[str]) -> None:
    """Print what is no result."""
    for line in lines:
        click.echo(printable(line), err=True)


def say_interrupted(finished: Sequence[str] = (), by_half: Sequence[str] = ()) -> None:
    """Print what an interrupted run leaves."""
    say([report.interrupted(finished, by_half)])


def ask(question: str, *, hint: str) -> bool:
    """The answer of who sits at the terminal; no unless it is yes.

    Raises:
        UsageError: there is nobody to ask; the hint says which option answers.
    """
    if not sys.stdin.isatty():
        raise UsageError("nobody can be asked here: standard input is no terminal", hint=f"say {hint}")
    return click.confirm(question, err=True)


def warn(message: str) -> None:
    """Print what deserves attention but stops nothing."""
    say([f"warning: {message}"])


def json_result(document: dict[str, Any]) -> None:
    """Print one JSON document."""
    result(json.dumps(document, indent=2))


def plan_result(plan: Plan, *, as_json: bool, verbose: bool, diffs: bool = True) -> None:
    """Print a plan, to people or to programs."""
    if as_json:
        json_result(report.plan_json(plan))
        return
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    for line in report.plan_lines(plan, in_full=verbose, diffs=diffs, coloured=coloured):
        result(line)
