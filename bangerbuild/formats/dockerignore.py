"""The rules of a `.dockerignore` file: which paths of a build's context are left out.

As github.com/moby/patternmatcher has them: patterns are relative to the top, `**` stands for any number of
directories, a directory that matches takes all below it along, and the last pattern that matches counts, so
that `!` brings back what lies in a directory that is left out.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from functools import cached_property

from bangerbuild.errors import SourceError

_BYTE_ORDER_MARK = "\ufeff"


def parse(text: str) -> tuple[str, ...]:
    """The patterns of a file, without comments."""
    lines = (line.strip() for line in text.removeprefix(_BYTE_ORDER_MARK).split("\n") if line[:1] != "#")
    return tuple(cleaned for line in lines if line and (cleaned := _cleaned(line)))


def _cleaned(line: str) -> str:
    mark, pattern = ("!", line[1:].strip()) if line.startswith("!") else ("", line)
    path = posixpath.normpath(pattern).lstrip("/") if pattern else ""
    return mark + path if path not in {"", "."} else ""


@dataclass(frozen=True)
class IgnoreRules:
    """Patterns in their order.

    Raises:
        SourceError: while matching: one of them is no pattern.
    """

    patterns: tuple[str, ...]

    @cached_property
    def _compiled(self) -> tuple[tuple[bool, re.Pattern[str]], ...]:
        return tuple((pattern.startswith("!"), _compiled(pattern.lstrip("!"))) for pattern in self.patterns)

    def leaves_out(self, path: str) -> bool:
        """Whether a path, relative to the top, is left out."""
        parts = path.split("/")
        above = ["/".join(parts[: count + 1]) for count in range(len(parts))]
        is_out = False
        for is_exception, pattern in self._compiled:
            if is_out == is_exception and any(map(pattern.fullmatch, above)):
                is_out = not is_exception
        return is_out

    def prunes(self, path: str) -> bool:
        """Whether a path is left out with all that is below it."""
        return self.leaves_out(path) and not any(
            _may_match_below(pattern[1:], f"{path}/") for pattern in self.patterns if pattern.startswith("!")
        )

    def without(self, path: str) -> IgnoreRules:
        """The same rules, and a path is left out, too, whatever they say of it."""
        return IgnoreRules((*self.patterns, re.sub(r"([*?\[\]\\])", r"\\\1", path)))


def _may_match_below(pattern: str, directory: str) -> bool:
    literal = re.split(r"[*?\[\\]", pattern, maxsplit=1)[0]
    return literal.startswith(directory) or (literal != pattern and directory.startswith(literal))


def _compiled(pattern: str) -> re.Pattern[str]:
    expression, at = "", 0
    while at < len(pattern):
        piece, at = _next(pattern, at)
        expression += piece
    try:
        return re.compile(expression, re.DOTALL)
    except re.error as err:
        raise SourceError(f"'{pattern}' in '.dockerignore' is no pattern: {err}") from err


def _next(pattern: str, at: int) -> tuple[str, int]:
    """The expression for what stands at an offset, and the offset after it."""
    if pattern.startswith("**", at):
        end = at + 3 if pattern.startswith("/", at + 2) else at + 2
        return ("(?:.*/)?" if end < len(pattern) else ".*"), end
    char = pattern[at]
    if char == "[" and (end := pattern.find("]", at + 2)) > 0:
        return pattern[at : end + 1], end + 1
    if char == "\\" and at + 1 < len(pattern):
        return re.escape(pattern[at + 1]), at + 2
    if char == "[":
        return char, at + 1  # which does not compile
    return {"*": "[^/]*", "?": "[^/]"}.get(char) or re.escape(char), at + 1
