"""A plan, or what is wrong with a manifest, as Markdown: for the comment of a review.

Nothing that comes from a guest or a manifest may become markup: it stands in code spans and fences only, each
longer than any row of backticks in it. There no site takes names for mentions, or numbers for references.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bangerbuild.errors import ManifestError, printable
from bangerbuild.model import Verb
from bangerbuild.report import plan_sum, undeclared_lines
from bangerbuild.report.rows import Row, rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from bangerbuild.errors import BangerError, Problem
    from bangerbuild.model import FileDiff, Plan

MOST_CHARACTERS = 64_900
"""GitHub refuses a comment of more than 65,536."""
FOR_ROWS = 40_000
"""As much may the rows take where there are diffs too."""
FOR_END = 400
"""As much is left for the sentence that says what was cut."""
DIFF_LINES = 200
"""The most lines of one file's diff."""
FEWEST_LINES = 5
"""Of a diff that is cut, at least as many lines are shown; else none."""
TEXT_LENGTH = 500
"""The most characters of one line, or of one reason."""
MOST_SAID = 20
"""The most reasons of one row, and the most of its notes and warnings."""
_TICKS = re.compile("`+")
_SHOWN_FIRST: Mapping[Verb, int] = {Verb.BLOCKED: 0, Verb.REPLACE: 1}
"""What a reviewer must not miss is cut last."""


def plan_lines(plan: Plan, *, in_full: bool = False, diffs: bool = True) -> Iterator[str]:
    """A plan as Markdown: the summary, a row for each step, and the diffs, folded; see `report.plan_lines`.

    It has fewer than 65,000 characters. What was left out for that is counted at its end.
    """
    found = list(rows(plan, in_full=in_full, diffs=diffs))
    page = _Page(MOST_CHARACTERS - FOR_END)
    page.add([f"### {plan_sum(plan).removesuffix('.')}"])
    for text in undeclared_lines(plan):
        page.add(["", _code(text)])
    page.add([""])
    _add_rows(page, found)
    for row in found:
        if row.diffs:
            _add_diffs(page, row)
    yield from page.lines
    yield from _cut_lines(page)


def error_lines(error: BangerError) -> Iterator[str]:
    """An error as Markdown: the problems of a manifest, or what the command failed at."""
    page = _Page(MOST_CHARACTERS - FOR_END)
    if isinstance(error, ManifestError):
        page.add([f"### {error.brief}", ""])
        for problem in error.problems:
            if not page.add(_problem_lines(problem)):
                page.cut_problems += 1
    else:
        page.add(["### Error", "", _code(error.brief)])
        if error.details:
            lines = [_short(printable(line)) for line in error.details.splitlines()]
            page.add(["", *_fenced(lines[:DIFF_LINES], "text")])
        if error.hint:
            page.add(["", _code(error.hint)])
    yield from page.lines
    yield from _cut_lines(page)


@dataclass
class _Page:
    """Lines that fit into so many characters, and what was cut."""

    most_characters: int
    lines: list[str] = field(default_factory=list)
    used: int = 0
    cut_steps: Counter[Verb] = field(default_factory=Counter)
    cut_diff_lines: int = 0
    cut_problems: int = 0

    @property
    def left(self) -> int:
        """How many characters there is still room for."""
        return self.most_characters - self.used

    def add(self, lines: Sequence[str]) -> bool:
        """Add lines if all of them fit."""
        size = _size(lines)
        if size > self.left:
            return False
        self.lines += lines
        self.used += size
        return True


def _size(lines: Iterable[str]) -> int:
    """How many characters lines take, as those count them who count most: an emoji is two."""
    return sum(len(line.encode("utf-16-le", "replace")) // 2 + 1 for line in lines)


def _add_rows(page: _Page, found: Sequence[Row]) -> None:
    """Add the rows that fit, in their order; the important ones have the first choice."""
    room = min(page.left, FOR_ROWS) if any(row.diffs for row in found) else page.left
    fitting: dict[int, list[str]] = {}
    for index in sorted(range(len(found)), key=lambda at: (_SHOWN_FIRST.get(found[at].verb, 2), at)):
        lines = list(_row_lines(found[index]))
        if (size := _size(lines)) <= room:
            fitting[index] = lines
            room -= size
        else:
            page.cut_steps[found[index].verb] += found[index].steps
    for index in sorted(fitting):
        page.add(fitting[index])


def _row_lines(row: Row) -> Iterator[str]:
    said = [row.members, *row.reasons] if row.members else list(row.reasons)
    first = f": {_code(said[0])}" if said else ""
    yield f"- **{row.verb.value}** {_code(row.name)}{first}"
    yield from _listed(said[1:])
    yield from _listed(row.notes)
    yield from _listed(row.warnings, "warning: ")
    yield from _listed([row.way_out] if row.way_out else ())


def _listed(texts: Sequence[str], lead: str = "") -> Iterator[str]:
    """Texts as entries below a row, the first of them where there are many."""
    yield from (f"  - {lead}{_code(text)}" for text in texts[:MOST_SAID] if text)
    if len(texts) > MOST_SAID:
        yield f"  - and {len(texts) - MOST_SAID:,} more"


def _add_diffs(page: _Page, row: Row) -> None:
    """Add the diffs of a row, or as many lines of them as fit."""
    lines = []
    for diff in row.diffs:
        more, cut = _diff_lines(diff)
        lines += more
        page.cut_diff_lines += cut
    files = "1 file" if len(row.diffs) == 1 else f"{len(row.diffs):,} files"
    title = f"<code>{row.name}</code>: {files}"
    count = len(lines)
    while not page.add(_folded(title, lines[:count])):
        count = count * 3 // 4
        if count < FEWEST_LINES:
            page.cut_diff_lines += len(lines)
            return
    page.cut_diff_lines += len(lines) - count


def _diff_lines(diff: FileDiff) -> tuple[list[str], int]:
    """The lines of one file's diff, and how many more there are."""
    if diff.text is None:
        return [_short(printable(f"{diff.guest}: {diff.note}"))], 0
    lines = diff.text.removesuffix("\n").split("\n")[2:]  # without the names, which are one
    shown = [_short(printable(line)) for line in lines[:DIFF_LINES]]
    cut = max(len(lines) - DIFF_LINES, 0)
    more = [f"... {cut:,} more lines"] if cut else []
    return [_short(printable(f"--- {diff.guest}")), *shown, *more], cut


def _folded(title: str, lines: Sequence[str]) -> list[str]:
    return ["", f"<details><summary>{title}</summary>", "", *_fenced(lines, "diff"), "", "</details>"]


def _fenced(lines: Sequence[str], language: str) -> list[str]:
    """Lines, which are printable, in a fence that nothing in them can end."""
    longest = max((len(ticks) for line in lines for ticks in _TICKS.findall(line)), default=0)
    fence = "`" * max(longest + 1, 3)
    return [f"{fence}{language}", *lines, fence]


def _code(text: str) -> str:
    """A text as a code span that nothing in it can end."""
    text = _short(printable(text)).replace("\t", " ")
    longest = max(map(len, _TICKS.findall(text)), default=0)
    ticks = "`" * (longest + 1)
    padding = " " if text[:1] in {"`", " "} or text[-1:] in {"`", " "} else ""
    return f"{ticks}{padding}{text}{padding}{ticks}" if text else ""


def _short(text: str) -> str:
    more = len(text) - TEXT_LENGTH
    return text if more <= 0 else f"{text[:TEXT_LENGTH]}... {more:,} more characters"


def _problem_lines(problem: Problem) -> list[str]:
    place = f"{problem.file}:{problem.line}" if problem.line else problem.file
    key = f"{problem.key}: " if problem.key else ""
    hints = [problem.hint] if problem.hint else []
    return [f"- {_code(place)}: {_code(f'{key}{problem.message}')}", *_listed(hints)]


def _cut_lines(page: _Page) -> Iterator[str]:
    """The sentence that says what was left out."""
    steps = sum(page.cut_steps.values())
    kinds = ", ".join(f"{count:,} {verb.value}" for verb, count in page.cut_steps.items())
    said = [
        f"{steps:,} step{'' if steps == 1 else 's'} ({kinds})" if steps else "",
        _counted(page.cut_diff_lines, "line", " of diffs"),
        _counted(page.cut_problems, "problem"),
    ]
    if any(said):
        yield ""
        yield f"Left out, as a comment may not be longer: {' and '.join(filter(None, said))}."


def _counted(number: int, noun: str, of: str = "") -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}{of}" if number else ""
