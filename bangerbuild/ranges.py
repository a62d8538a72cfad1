"""Names with ranges, such as `runner-{001..200}`: the shell's braces, for numbers alone."""

from __future__ import annotations

import re
from itertools import product

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MOST_NAMES = 100_000
"""As many as one text may stand for."""
_RANGE = re.compile(r"\{([0-9]{1,9})\.\.([0-9]{1,9})\}")
_EXAMPLE = "a range is two numbers, such as {001..200}"


class RangeError(ValueError):
    """A text that stands for no names: why, as a predicate without its subject, and the way out."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


def expanded(text: str) -> Iterator[str]:
    """The names that a text stands for, in order; numbers are padded as the range's ends are.

    Raises:
        RangeError: a range ends before it begins, is too long, or is none.
    """
    parts = _RANGE.split(text)
    fixed = parts[::3]
    if any(brace in part for part in fixed for brace in "{}"):
        raise RangeError("has braces that are no range", _EXAMPLE)
    numbers = [_numbers(first, last) for first, last in zip(parts[1::3], parts[2::3], strict=True)]
    count = 1
    for one in numbers:
        count *= len(one)
        if count > MOST_NAMES:
            raise RangeError(f"stands for more than {MOST_NAMES} names")
    return ("".join(_interleaved(fixed, chosen)) for chosen in product(*numbers))


def _numbers(first: str, last: str) -> Sequence[str]:
    begin, end = int(first), int(last)
    if begin > end:
        raise RangeError("has a range that ends before it begins", f"write {{{last}..{first}}}")
    if end - begin >= MOST_NAMES:
        raise RangeError(f"stands for more than {MOST_NAMES} names")
    is_padded = any(len(one) > 1 and one.startswith("0") for one in (first, last))
    width = max(len(first), len(last)) if is_padded else 0
    return [f"{number:0{width}}" for number in range(begin, end + 1)]


def _interleaved(fixed: Sequence[str], chosen: Sequence[str]) -> Iterator[str]:
    for part, number in zip(fixed, (*chosen, ""), strict=True):
        yield part
        yield number
