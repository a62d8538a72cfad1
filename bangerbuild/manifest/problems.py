"""How the manifest's checks say what is wrong: the collector of problems, and the words they share."""

from __future__ import annotations

import difflib
from datetime import date, datetime, time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bangerbuild.errors import Problem
    from bangerbuild.manifest.files import Location

A = TypeVar("A")
T = TypeVar("T")
_QUOTED_LENGTH = 60
_COMPARED_LENGTH = 200
_COMPARED_NAMES = 1000


class InvalidValueError(ValueError):
    """A value that can't be meant: why, and the way out."""

    line = 0
    """In a text of several lines the one that it is about, from 1; 0: the value as a whole."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class Findings:
    """What the checks have found so far; all of it is told at once."""

    def __init__(self, problems: Iterable[Problem] = ()) -> None:
        self.problems = list(problems)
        self.warnings: list[str] = []

    def add(self, place: Location, message: str, hint: str | None = None) -> None:
        """Takes down one problem."""
        self.problems.append(place.problem(message, hint))

    def attempt(self, place: Location, convert: Callable[[A], T], value: A, fallback: T) -> T:
        """What `convert` makes of a value; if it refuses, that is a problem and the fallback stands in.

        Nothing is built from a manifest with problems: a fallback only lets the other checks go on.
        """
        try:
            return convert(value)
        except InvalidValueError as err:
            self.problems.append(place.problem(str(err), err.hint, err.line))
            return fallback


def near(word: str, known: Iterable[str]) -> str | None:
    """The hint "did you mean …?", if a known name is near enough to be meant."""
    found = nearest(word, known)
    return None if found is None else f"did you mean '{found}'?"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known name that a word is near enough to that it may be meant.

    Long words and many names are not compared: that takes time, for every problem of a manifest.
    """
    names = list(known)
    if len(word) > _COMPARED_LENGTH or len(names) > _COMPARED_NAMES:
        return None
    return next(iter(difflib.get_close_matches(word, names, n=1, cutoff=0.7)), None)


def quoted(value: object) -> str:
    """A TOML value in a message; tables and arrays by their kind, long text cut."""
    match value:
        case dict():
            return "a table"
        case list():
            return "an array"
        case bool():
            return "true" if value else "false"
        case datetime() | date() | time():
            return value.isoformat()
        case str() if len(value) > _QUOTED_LENGTH:
            return repr(value[:_QUOTED_LENGTH] + "…")
    return repr(value)
