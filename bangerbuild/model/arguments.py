"""Check the types of what a caller of the Python interface gives, so that a wrong one is told in words."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from bangerbuild.model.reporter import PlanReporter

if TYPE_CHECKING:
    from collections.abc import Iterable

N = TypeVar("N")


def check_type(given: object, wanted: type | tuple[type, ...], what: str) -> None:
    """Refuse a value of another type; a bool is no number.

    Raises:
        TypeError: it is of another type.
    """
    kinds = wanted if isinstance(wanted, tuple) else (wanted,)
    if not isinstance(given, kinds) or (isinstance(given, bool) and bool not in kinds):
        raise TypeError(f"{what} is asked for, and {type(given).__name__} was given")


def check_fields(owner: object, wanted: type | tuple[type, ...], what: str, *names: str) -> None:
    """Refuse a value whose fields of these names are of another type.

    Raises:
        TypeError: one of them is of another type.
    """
    for name in names:
        check_type(getattr(owner, name), wanted, f"{what} for {name}")


def listed(given: Iterable[N], name: str, wanted: type | tuple[type, ...], what: str) -> tuple[N, ...]:
    """The items of a list that is given as the argument `name`, each of the wanted type.

    Raises:
        TypeError: it is one name, which has parts as well that would be taken for names; it is no list; an
            item is of another type.
    """
    if isinstance(given, (str, bytes, Path)):
        shown = repr(given) if isinstance(given, bytes) else f"'{given}'"
        raise TypeError(f"{shown} is one name where a list of them is asked for: give [{shown}]")
    try:
        items = tuple(given)
    except TypeError as err:
        raise TypeError(f"a list of {name} is asked for, and {type(given).__name__} was given") from err
    for item in items:
        check_type(item, wanted, f"{what} for each item of {name}")
    return items


def check_reporter(given: object) -> None:
    """Refuse what can't be told what happens.

    Raises:
        TypeError: it is a class, or lacks a method of `PlanReporter`.
    """
    if isinstance(given, type):
        raise TypeError(f"a reporter is asked for, and the class {given.__name__} was given: give one of it")
    if not isinstance(given, PlanReporter):
        lacks = [name for name in _REPORTER_METHODS if not hasattr(given, name)]
        raise TypeError(
            f"a reporter is asked for, and {type(given).__name__} was given: it has no {', '.join(lacks)}"
        )


_REPORTER_METHODS = ("planned", "started", "finished", "warned", "progressed")
