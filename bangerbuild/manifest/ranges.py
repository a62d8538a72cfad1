"""Names with ranges, such as `runner-{001..200}`: the shell's braces, for numbers alone."""

from __future__ import annotations

import re
from itertools import product
from typing import TYPE_CHECKING

from bangerbuild.manifest.problems import InvalidValueError, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MOST_NAMES = 100_000
"""As many as one table may ask for."""
_RANGE = re.compile(r"\{([0-9]{1,9})\.\.([0-9]{1,9})\}")
_NUMBER = re.compile(r"[0-9]+")
_MOST_DIGITS = 18
_EXAMPLE = "a range is two numbers, such as {001..200}"


def expanded(text: str) -> Iterator[str]:
    """The names that a text stands for, in order; numbers are padded as the range's ends are.

    Raises:
        InvalidValueError: a range ends before it begins, is too long, or is none.
    """
    parts = _RANGE.split(text)
    fixed = parts[::3]
    if any(brace in part for part in fixed for brace in "{}"):
        raise InvalidValueError(f"{quoted(text)} has braces that are no range", _EXAMPLE)
    numbers = [_numbers(first, last, text) for first, last in zip(parts[1::3], parts[2::3], strict=True)]
    count = 1
    for one in numbers:
        count *= len(one)
        if count > MOST_NAMES:
            raise InvalidValueError(f"{quoted(text)} stands for more than {MOST_NAMES} names")
    return ("".join(_interleaved(fixed, chosen)) for chosen in product(*numbers))


def index_of(name: str) -> int | None:
    """The number in a name, the last one if there are several; None if there is none."""
    found = _NUMBER.findall(name)
    return int(found[-1]) if found and len(found[-1]) <= _MOST_DIGITS else None


def _numbers(first: str, last: str, text: str) -> Sequence[str]:
    begin, end = int(first), int(last)
    if begin > end:
        hint = f"write {{{last}..{first}}}"
        raise InvalidValueError(f"{quoted(text)} has a range that ends before it begins", hint)
    if end - begin >= MOST_NAMES:
        raise InvalidValueError(f"{quoted(text)} stands for more than {MOST_NAMES} names")
    is_padded = any(len(one) > 1 and one.startswith("0") for one in (first, last))
    width = max(len(first), len(last)) if is_padded else 0
    return [f"{number:0{width}}" for number in range(begin, end + 1)]


def _interleaved(fixed: Sequence[str], chosen: Sequence[str]) -> Iterator[str]:
    for part, number in zip(fixed, (*chosen, ""), strict=True):
        yield part
        yield number
