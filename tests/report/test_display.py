"""The live display, as a terminal emulator shows it."""

from __future__ import annotations

import io
import os
import threading
import time

import pyte
import pytest

from bangerbuild.report.bars import Bar
from bangerbuild.report.display import Display

LINES = [f"  create  vm.v{number}.root    0.01 s  missing" for number in range(200)]


class Terminal(io.StringIO):
    """A stream of a terminal, and what is seen on it."""

    def __init__(self, columns: int = 80, rows: int = 24) -> None:
        super().__init__()
        self.screen = pyte.HistoryScreen(columns, rows, history=100_000, ratio=1.0)
        self.screen.set_mode(pyte.modes.LNM)
        self.parser = pyte.Stream(self.screen)
        self.writes = 0

    def write(self, text: str) -> int:
        self.writes += 1
        self.parser.feed(text)
        return super().write(text)

    def seen(self) -> list[str]:
        """All lines from the first, without spaces at their ends and without empty ones at the end."""
        old = ["".join(row[x].data for x in range(self.screen.columns)) for row in self.screen.history.top]
        return "\n".join(line.rstrip() for line in [*old, *self.screen.display]).rstrip("\n").split("\n")


@pytest.fixture(autouse=True)
def never_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread draws nothing: each test says when that is done."""
    monkeypatch.setattr("bangerbuild.report.display.INTERVAL_SECONDS", 3600)


@pytest.fixture(autouse=True)
def size(monkeypatch: pytest.MonkeyPatch) -> list[os.terminal_size]:
    """The terminal's size, which a test may change."""
    sizes = [os.terminal_size((80, 24))]
    monkeypatch.setattr("bangerbuild.report.display._size", lambda _: sizes[0])
    return sizes


def test_bars_are_below_the_lines_as_long_as_they_last_and_then_gone() -> None:
    terminal, bars = Terminal(), [Bar("apply", 0, 3, in_bytes=False), Bar("create vm.a.root")]
    with Display(terminal, lambda: bars) as display:
        display.write("one\n")
        display._draw()
        assert [line.split()[0] for line in terminal.seen()] == ["one", "apply", "create"]
        bars.pop()
        display.write("two\n")
        display._draw()
        assert [line.split()[0] for line in terminal.seen()] == ["one", "two", "apply"]
        display.write("three\n")
    assert terminal.seen() == ["one", "two", "three"]


def test_the_lines_that_stay_are_those_of_a_pipe_however_many_and_often_drawn() -> None:
    terminal, bars = Terminal(), [Bar(f"create vm.v{number}.root") for number in range(5)]
    with Display(terminal, lambda: bars) as display:
        for number, line in enumerate(LINES):
            display.write(f"{line}\n")
            if number % 7 == 0:
                display._draw()
    assert terminal.seen() == LINES


def test_lines_that_reach_the_last_column_lose_nothing() -> None:
    terminal, bars = Terminal(), [Bar("apply", 0, 3, in_bytes=False)]
    with Display(terminal, lambda: bars) as display:
        for length in (79, 80, 81, 160):
            display.write("x" * (length - 1) + "|\n")
            display._draw()
    assert "".join(terminal.seen()).count("|") == 4


def test_many_lines_are_written_at_once() -> None:
    terminal = Terminal()
    with Display(terminal, lambda: [Bar("apply", 0, 3, in_bytes=False)]) as display:
        for line in LINES:
            display.write(f"{line}\n")
        display._draw()
        assert terminal.writes == 1


def test_nothing_is_written_where_nothing_changed() -> None:
    terminal, bar = Terminal(), Bar("apply", 0, 3, in_bytes=False, begun=time.monotonic() + 3600)
    with Display(terminal, lambda: [bar]) as display:
        display._draw()
        display._draw()
        assert terminal.writes == 1
        bar.done = 1
        display._draw()
        assert terminal.writes == 2


def test_a_run_that_is_over_at_once_writes_its_lines_and_no_control_sequence() -> None:
    terminal = Terminal()
    with Display(terminal, lambda: [Bar("apply", 0, 3, in_bytes=False)]) as display:
        display.write("done\n")
    assert terminal.getvalue() == "done\n"


def test_half_a_line_waits_for_its_end_and_is_not_lost() -> None:
    terminal = Terminal()
    with Display(terminal, lambda: [Bar("apply", 0, 3, in_bytes=False)]) as display:
        display.write("warn")
        display._draw()
        assert [line.split()[0] for line in terminal.seen()] == ["apply"]
        display.write("ing\nthe end")
        display._draw()
        assert [line.split()[0] for line in terminal.seen()] == ["warning", "apply"]
    assert terminal.seen() == ["warning", "the end"]


def test_more_bars_than_the_terminal_has_rows_are_counted(size: list[os.terminal_size]) -> None:
    terminal, bars = Terminal(rows=10), [Bar(f"step {number}") for number in range(30)]
    size[0] = os.terminal_size((80, 10))
    with Display(terminal, lambda: bars) as display:
        display.write("one\n")
        display._draw()
        display._draw()
        assert terminal.seen()[0] == "one"
        assert terminal.seen()[-1] == "and 23 more"
        assert len(terminal.seen()) == 9
    assert terminal.seen() == ["one"]


def test_a_terminal_that_becomes_narrower_keeps_no_remains(size: list[os.terminal_size]) -> None:
    terminal, bars = Terminal(), [Bar("fetch https://example.org/a-rather-long-name", 1, 2)]
    with Display(terminal, lambda: bars) as display:
        display._draw()
        terminal.screen.erase_in_display(2)  # as terminals do that break long lines anew
        terminal.screen.cursor_position()
        terminal.parser.feed("x" * 40 + "\nx\n")
        size[0] = os.terminal_size((40, 24))
        display._draw()
        assert len(terminal.seen()) == 1
    assert terminal.seen() == [""]


def test_it_draws_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bangerbuild.report.display.INTERVAL_SECONDS", 0.001)
    drawn = threading.Event()

    def bars() -> list[Bar]:
        drawn.set()
        return []

    with Display(Terminal(), bars):
        assert drawn.wait(timeout=600)
