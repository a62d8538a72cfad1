"""What goes on, as rows of a terminal: what, how far it is in a picture and in numbers, and for how long."""

from __future__ import annotations

import time
import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from bangerbuild.errors import printable, readable_size

if TYPE_CHECKING:
    from collections.abc import Sequence

PICTURE_CELLS = 24
FEWEST_COLUMNS = 80
"""A narrower terminal gets no pictures, only words and numbers."""
FEWEST_CELLS = 20
"""Of the words; where less is left, the numbers go too."""
GREEN, PLAIN = "\x1b[32m", "\x1b[0m"
GAP = "  "


@dataclass
class Bar:
    """What goes on, and how far it is."""

    text: str
    done: int = 0
    total: int | None = None
    """None where it is not known."""
    in_bytes: bool = True
    begun: float = field(default_factory=time.monotonic)

    @property
    def amount(self) -> str:
        """How much is done: `12.3 MiB of 1.2 GiB`, `7/12`; empty where no number is known."""
        if not self.in_bytes:
            return f"{self.done}/{self.total}"
        return amount(self.done, self.total) if self.done or self.total else ""

    @property
    def elapsed(self) -> str:
        """The time since it began: `0:01:07`."""
        seconds = int(time.monotonic() - self.begun)
        return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


class Row(NamedTuple):
    """One row of a terminal."""

    text: str
    cells: int
    """What it takes; less than its length where it has colours."""


class Style(NamedTuple):
    """How pictures are drawn."""

    full: str = "\u2501"
    empty: str = "\u2500"
    coloured: bool = True


ASCII = Style("#", "-")


def amount(done_bytes: int, total_bytes: int | None) -> str:
    """How far something is: `12.3 MiB of 1.2 GiB`."""
    done = readable_size(done_bytes)
    return done if total_bytes is None else f"{done} of {readable_size(total_bytes)}"


def rows(bars: Sequence[Bar], columns: int, style: Style) -> list[Row]:
    """A row for each bar, in columns below each other; none reaches the last column."""
    elapsed = [bar.elapsed for bar in bars]
    amounts = [bar.amount for bar in bars]
    has_pictures = columns >= FEWEST_COLUMNS
    left = columns - 1 - (len(GAP) + PICTURE_CELLS if has_pictures else 0) - _width(elapsed)
    if left - _width(amounts) < FEWEST_CELLS:
        amounts = [""] * len(bars)
    texts = [_cut(printable(bar.text), left - _width(amounts)) for bar in bars]
    widest = max(map(cells, texts), default=0)
    return [
        _row(_padded(text, widest), _picture(bar, style) if has_pictures else "", how_far, how_long)
        for bar, text, how_far, how_long in zip(bars, texts, _aligned(amounts), elapsed, strict=True)
    ]


def _row(text: str, picture: str, *numbers: str) -> Row:
    written = GAP.join(filter(None, (text, picture, *numbers)))
    plain = GAP.join(filter(None, (text, " " * PICTURE_CELLS if picture else "", *numbers)))
    return Row(written, cells(plain))


def _width(texts: Sequence[str]) -> int:
    """Of a column and the gap before it."""
    widest = max(map(len, texts), default=0)
    return widest + len(GAP) if widest else 0


def _aligned(texts: Sequence[str]) -> list[str]:
    widest = max(map(len, texts), default=0)
    return [text.ljust(widest) for text in texts]


def _padded(text: str, wanted: int) -> str:
    return text + " " * (wanted - cells(text))


def _picture(bar: Bar, style: Style) -> str:
    if not bar.total:
        return " " * PICTURE_CELLS
    count = min(PICTURE_CELLS, PICTURE_CELLS * bar.done // bar.total)
    full, empty = style.full * count, style.empty * (PICTURE_CELLS - count)
    return f"{GREEN}{full}{PLAIN}{empty}" if style.coloured else full + empty


def _cut(text: str, most: int) -> str:
    """A text of at most so many cells; a longer one without its middle, as both ends say what it is."""
    if cells(text) <= most:
        return text
    letters = max(0, most - 2)
    head = _fitting(text, letters - letters // 2)
    tail = _fitting(text[::-1], letters // 2)[::-1]
    return f"{head}..{tail}"[: max(0, most)]


def _fitting(text: str, most: int) -> str:
    """The first letters that take at most so many cells."""
    taken = 0
    for place, letter in enumerate(text):
        taken += cells(letter)
        if taken > most:
            return text[:place]
    return text


def cells(text: str) -> int:
    """How many cells of a terminal a text takes."""
    return len(text) if text.isascii() else sum(map(_cells_of, text))


def _cells_of(letter: str) -> int:
    if unicodedata.combining(letter):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1
