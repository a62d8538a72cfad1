"""A plan, or what is wrong with a manifest, for the log of GitHub Actions: with annotations at file and line.

An annotation is a line that begins with `::`; the runner takes any such line of a log for a command, whatever
white space is before it, and `##[` anywhere in a line. So no other line may have one of them.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from bangerbuild import report
from bangerbuild.errors import ManifestError, printable
from bangerbuild.model import Verb
from bangerbuild.report.rows import rows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bangerbuild.errors import BangerError
    from bangerbuild.model import Plan
    from bangerbuild.report.rows import Row

    Place = tuple[str, int]
    """A file, and a line of it; 0: the file as a whole."""

_COMMAND, _OLD_COMMAND = "::", "##["
_DATA = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A"})
_PROPERTY = str.maketrans({"%": "%25", "\r": "%0D", "\n": "%0A", ":": "%3A", ",": "%2C"})
WORKSPACE = "GITHUB_WORKSPACE"
"""The variable with the directory that the files of annotations are relative to."""


def plan_lines(
    plan: Plan, places: Mapping[str, Place], *, in_full: bool = False, diffs: bool = True
) -> Iterator[str]:
    """The plan as text, and an annotation for each step that is blocked, in use, or warned of.

    Args:
        plan: the plan.
        places: where VMs, images and networks stand, by their ids.
        in_full: show kept steps too.
        diffs: show what patches would change in guests.
    """
    for line in report.plan_lines(plan, in_full=in_full, diffs=diffs):
        yield harmless(line)
    for row in rows(plan, in_full=in_full, diffs=diffs):
        yield from _row_lines(row, places.get(row.owner))


def error_lines(error: BangerError) -> Iterator[str]:
    """An error as annotations: one for each problem of a manifest."""
    if not isinstance(error, ManifestError):
        more = [line.strip() for line in report.more_of(error)]
        yield annotation("error", "\n".join([error.brief, *more]))
        return
    for problem in error.problems:
        key = f"{problem.key}: " if problem.key else ""
        hint = f"\nhint: {problem.hint}" if problem.hint else ""
        yield annotation("error", f"{key}{problem.message}{hint}", (problem.file, problem.line))


def warning_lines(message: str) -> Iterator[str]:
    """A warning as an annotation."""
    yield annotation("warning", message)


def _row_lines(row: Row, place: Place | None) -> Iterator[str]:
    name = f"{row.name} ({row.members})" if row.members else row.name
    if row.verb is Verb.BLOCKED:
        said = [*row.reasons, *([row.way_out] if row.way_out else ())]
        yield annotation("error", "\n".join(said), place, f"{name} is blocked")
    elif row.in_use:
        yield annotation("warning", "\n".join(row.reasons), place, f"{name} is in use")
    for text in row.warnings:
        yield annotation("warning", text, place, name)


def annotation(level: str, message: str, place: Place | None = None, title: str = "") -> str:
    """One annotation, in one line.

    Args:
        level: `error` or `warning`.
        message: may have several lines.
        place: where it is shown; None: with the run as a whole.
        title: in bold before it.
    """
    file, line = place or ("", 0)
    known = {"file": _in_workspace(file) if file else "", "line": str(line or ""), "title": title}
    properties = ",".join(
        f"{name}={printable(value).translate(_PROPERTY)}" for name, value in known.items() if value
    )
    shown = "\n".join(map(printable, message.split("\n")))
    return f"::{level}{' ' if properties else ''}{properties}::{shown.translate(_DATA)}"


def _in_workspace(file: str) -> str:
    """A file's path from the directory that the repository is checked out to."""
    workspace = os.environ.get(WORKSPACE)
    path = Path(file).absolute()
    if workspace and path.is_relative_to(workspace):
        return str(path.relative_to(workspace))
    return file


def harmless(line: str) -> str:
    """A line of a log that the runner takes for no command."""
    line = line.replace(_OLD_COMMAND, "## [")
    return f"| {line}" if line.strip().startswith(_COMMAND) else line
