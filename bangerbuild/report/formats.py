"""The forms that a plan, or what is wrong with a manifest, is printed in: `--format`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bangerbuild import report
from bangerbuild.report import github, markdown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from bangerbuild.errors import BangerError
    from bangerbuild.model import Plan
    from bangerbuild.report.github import Place


@dataclass(frozen=True)
class Shown:
    """How a plan is to be shown."""

    in_full: bool = False
    """Kept steps and all artifacts too."""
    diffs: bool = True
    coloured: bool = False
    complete: Callable[[str], str] = report.unchanged
    """Completes the commands in a message with what the run was given."""
    places: Callable[[], Mapping[str, Place]] = field(default=dict)
    """Where VMs, images and networks stand in their manifests."""


@dataclass(frozen=True)
class Format:
    """One form."""

    plan: Callable[[Plan, Shown], Iterator[str]]
    error: Callable[[BangerError], Iterator[str]] | None = None
    """What stdout gets of an error; None: nothing."""
    warning: Callable[[str], Iterator[str]] | None = None
    """What stdout gets of a warning; None: stderr gets it."""
    is_json: bool = False
    """Whether it is the one document of a run, which has more than the plan."""
    says_all: bool = False
    """Whether stderr gets nothing of what stdout gets."""


def _json(document: object) -> Iterator[str]:
    yield json.dumps(document, indent=2)


FORMATS: Mapping[str, Format] = {
    "text": Format(
        lambda plan, shown: report.plan_lines(
            plan,
            in_full=shown.in_full,
            diffs=shown.diffs,
            coloured=shown.coloured,
            complete=shown.complete,
        )
    ),
    "json": Format(lambda plan, _: _json(report.plan_json(plan)), is_json=True),
    "markdown": Format(
        lambda plan, shown: markdown.plan_lines(plan, in_full=shown.in_full, diffs=shown.diffs),
        markdown.error_lines,
    ),
    "github": Format(
        lambda plan, shown: github.plan_lines(plan, shown.places(), in_full=shown.in_full, diffs=shown.diffs),
        github.error_lines,
        github.warning_lines,
        says_all=True,
    ),
}
