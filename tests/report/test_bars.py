"""Rows of bars: what fits a terminal, and what is left out where it is narrow."""

from __future__ import annotations

import pytest

from bangerbuild.report import bars
from bangerbuild.report.bars import ASCII, Bar, Style

STYLE = Style(coloured=False)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which a test may change."""
    now = [1000.0]
    monkeypatch.setattr("bangerbuild.report.bars.time.monotonic", lambda: now[0])
    return now


def test_a_row_has_what_a_picture_how_far_and_how_long(clock: list[float]) -> None:
    both = [Bar("apply", 3, 4, in_bytes=False, begun=1000), Bar("fetch x", 1 << 20, 64 << 20, begun=1000)]
    clock[0] += 3667.9
    assert [row.text for row in bars.rows(both, 80, ASCII._replace(coloured=False))] == [
        "apply    ##################------  3/4              1:01:07",
        "fetch x  ------------------------  1 MiB of 64 MiB  1:01:07",
    ]


def test_what_has_no_total_has_no_picture_and_no_question_mark() -> None:
    (row,) = bars.rows([Bar("create vm.a.root")], 80, STYLE)
    assert row.text.split() == ["create", "vm.a.root", "0:00:00"]
    (row,) = bars.rows([Bar("fetch x", 5 << 20)], 80, STYLE)
    assert row.text.split() == ["fetch", "x", "5", "MiB", "0:00:00"]


@pytest.mark.parametrize("columns", [*range(1, 12), 20, 40, 60, 79, 80, 200])
def test_no_row_reaches_the_last_column_whatever_it_is_about(columns: int) -> None:
    texts = ["create vm.web.root", "fetch https://example.org/" + "x" * 300, "fetch 東京" * 30, ""]
    found = bars.rows([Bar(text, 123 << 20, 1 << 40) for text in texts], columns, STYLE)
    fixed = len("0:00:00")
    assert all(row.cells == bars.cells(row.text) <= max(columns - 1, fixed) for row in found)


def test_a_long_text_keeps_both_ends() -> None:
    (row,) = bars.rows([Bar("fetch https://example.org/images/" + "x" * 300 + "/disk.tar")], 60, STYLE)
    assert row.text.startswith("fetch https://")
    assert "/disk.tar  0:00:00" in row.text


def test_a_control_character_of_a_text_is_spelled_out() -> None:
    (row,) = bars.rows([Bar("fetch \x1b[2J")], 80, STYLE)
    assert "\x1b" not in row.text


def test_colours_take_no_cells() -> None:
    (plain,), (coloured,) = (
        bars.rows([Bar("x", 1, 2)], 80, Style(coloured=is_coloured)) for is_coloured in (False, True)
    )
    assert plain.cells == coloured.cells
    assert coloured.text.replace("\x1b[32m", "").replace("\x1b[0m", "") == plain.text


def test_more_than_the_total_is_a_full_picture() -> None:
    (row,) = bars.rows([Bar("x", 30, 20)], 80, STYLE)
    assert STYLE.full * bars.PICTURE_CELLS in row.text
    assert STYLE.empty not in row.text
