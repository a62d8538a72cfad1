"""How the manifest's checks say what is wrong: the collector of problems, and the words they share."""

from __future__ import annotations

from datetime import date, datetime, time
from typing import TYPE_CHECKING, TypeVar, cast

from bangerbuild.model import HostPath

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from bangerbuild.errors import Problem
    from bangerbuild.manifest.files import Location

A = TypeVar("A")
T = TypeVar("T")
_QUOTED_LENGTH = 60


class InvalidValueError(ValueError):
    """A value that can't be meant: why, and the way out."""

    line = 0
    """In a text of several lines the one that it is about, from 1; 0: the value as a whole."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class ToldError(InvalidValueError):
    """A value that needs another one, which has a problem that is told of already."""


class HostFileError(InvalidValueError):
    """A file of this host that is not there, or can't be read: the manifest itself may be right."""

    def __init__(self, path: HostPath, message: str, hint: str | None = None) -> None:
        super().__init__(message, hint)
        self.path = path


class Findings:
    """What the checks have found so far; all of it is told at once.

    Args:
        problems: that were found before.
        needs_files: whether it is a problem that a file of this host is not there.
    """

    def __init__(self, problems: Iterable[Problem] = (), *, needs_files: bool = True) -> None:
        self.problems = list(problems)
        self.warnings: list[str] = []
        self.absent: list[Problem] = []
        """The files that are not there, and need not be."""
        self._needs_files = needs_files

    def add(self, place: Location, message: str, hint: str | None = None) -> None:
        """Takes down one problem."""
        self.problems.append(place.problem(message, hint))

    def attempt(
        self, said_at: Location | Callable[[], Location], convert: Callable[[A], T], value: A, fallback: T
    ) -> T:
        """What `convert` makes of a value; if it refuses, that is a problem and the fallback stands in.

        A place that is looked up takes longer than most values to convert, so it may be given as a function.
        Nothing is built from a manifest with problems: a fallback only lets the other checks go on.
        """
        try:
            return convert(value)
        except HostFileError as err:
            place = said_at() if callable(said_at) else said_at
            if self._needs_files:
                self.add(place, str(err), err.hint)
                return fallback
            self.absent.append(place.problem(str(err), err.hint))
            return cast("T", err.path) if isinstance(fallback, HostPath) else fallback
        except ToldError:
            return fallback
        except InvalidValueError as err:
            place = said_at() if callable(said_at) else said_at
            self.problems.append(place.problem(str(err), err.hint, err.line))
            return fallback


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
