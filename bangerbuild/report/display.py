"""A live display on a terminal: lines that stay, and bars below them that are drawn anew ten times a second.

What is printed is kept until the next drawing, which writes lines and bars at once. So a line costs no more
than in a pipe, and of a run that is over before there is only what it printed.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, TextIO

from bangerbuild.report.bars import ASCII, Row, Style, rows

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Self

    from bangerbuild.report.bars import Bar

INTERVAL_SECONDS = 0.1
"""The time between two drawings."""
SPARE_ROWS = 2
"""So many rows of the terminal are left to the lines."""
UNKNOWN_SIZE = os.terminal_size((80, 24))
"""Of a terminal that doesn't say how large it is."""
UP, ERASE_BELOW = "\x1b[{}A\r", "\x1b[J"


class Display:
    """Shows bars below what is written to it, until it is left; then the bars are gone.

    Args:
        stream: the terminal's.
        bars: says what goes on now. Called by a thread of the display.
    """

    def __init__(self, stream: TextIO, bars: Callable[[], Sequence[Bar]]) -> None:
        self._stream = stream
        self._bars = bars
        self._style = _style(stream)
        self._lock = threading.Lock()
        self._written: list[str] = []
        """Since the last drawing."""
        self._drawn: list[Row] = []
        """Below the lines."""
        self._has_ended = threading.Event()
        self._thread = threading.Thread(target=self._draw_on, daemon=True, name="display")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._has_ended.set()
        self._thread.join()
        self._draw(is_last=True)

    def write(self, text: str) -> int:
        """Keep a text for the next drawing; its length."""
        with self._lock:
            self._written.append(text)
        return len(text)

    def flush(self) -> None:
        """Do nothing: the next drawing comes soon."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  # the attributes of any stream
        return getattr(self._stream, name)

    def _draw_on(self) -> None:
        while not self._has_ended.wait(INTERVAL_SECONDS):
            self._draw()

    def _draw(self, *, is_last: bool = False) -> None:
        """Write the lines since the last drawing, and the bars as they are now, in one piece."""
        with self._lock:
            size = _size(self._stream)
            text = self._taken(is_last=is_last)
            below = [] if is_last else self._below(size)
            if not text and below == self._drawn:
                return
            height = sum(
                max(1, -(-row.cells // size.columns)) for row in self._drawn
            )  # it may be narrower now
            erasing = UP.format(height) + ERASE_BELOW if height else ""
            self._drawn = below
            self._stream.write(erasing + text + "".join(f"{row.text}\n" for row in below))
            self._stream.flush()

    def _erasing(self, columns: int) -> str:
        """What erases the bars; each takes several rows of a terminal that became narrower."""
        height = sum(max(1, -(-row.cells // columns)) for row in self._drawn)
        return UP.format(height) + ERASE_BELOW if height else ""

    def _taken(self, *, is_last: bool) -> str:
        """The lines since the last drawing; one that has no end yet waits for it."""
        lines, newline, rest = "".join(self._written).rpartition("\n")
        self._written = [rest] if rest and not is_last else []
        return lines + newline + (rest if is_last else "")

    def _below(self, size: os.terminal_size) -> list[Row]:
        """The bars that there is room for."""
        bars = self._bars()
        most = max(1, size.lines - SPARE_ROWS)
        shown = bars if len(bars) <= most else bars[: most - 1]
        drawn = rows(shown, size.columns, self._style)
        if len(shown) == len(bars):
            return drawn
        more = f"and {len(bars) - len(shown)} more"
        return [*drawn, Row(more, len(more))]


def _style(stream: TextIO) -> Style:
    is_unicode = "utf" in (stream.encoding or "utf").lower()
    style = Style() if is_unicode else ASCII
    return style._replace(coloured=not os.environ.get("NO_COLOR"))


def _size(stream: TextIO) -> os.terminal_size:
    try:
        found = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        return UNKNOWN_SIZE
    return found if found.columns and found.lines else UNKNOWN_SIZE
