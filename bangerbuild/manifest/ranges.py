"""Names with ranges in a manifest: `bangerbuild.ranges`, with messages that quote the text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from bangerbuild import ranges
from bangerbuild.manifest.problems import InvalidValueError, quoted
from bangerbuild.ranges import MOST_NAMES as MOST_NAMES  # noqa: PLC0414  # those who fill tables ask for it here

if TYPE_CHECKING:
    from collections.abc import Iterator

_NUMBER = re.compile(r"[0-9]+")
_MOST_DIGITS = 18


def expanded(text: str) -> Iterator[str]:
    """The names that a text stands for, in order, see `ranges.expanded`.

    Raises:
        InvalidValueError: it stands for none.
    """
    try:
        return ranges.expanded(text)
    except ranges.RangeError as err:
        raise InvalidValueError(f"{quoted(text)} {err}", err.hint) from err


def index_of(name: str) -> int | None:
    """The number in a name, the last one if there are several; None if there is none."""
    found = _NUMBER.findall(name)
    return int(found[-1]) if found and len(found[-1]) <= _MOST_DIGITS else None
