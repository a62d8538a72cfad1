"""Members of a fleet are drawn together where the same is said of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.report.fleets import drawn_together, nameless


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["r-001", "r-002", "r-003", "r-005"], "001-003, 005"),
        (["r-3", "r-1", "r-2"], "1-3"),
        (["r-9", "r-10", "r-11"], "9-11"),
        (["red", "green"], "red, green"),
        (["a-1", "b-2"], "a-1, b-2"),
        (["t-1-x", "t-2-x"], "1-2"),
        (["r-1"], "1"),
    ],
)
def test_numbers_that_follow_one_another_make_a_range(names: list[str], said: str) -> None:
    assert drawn_together(names) == said


@given(st.sets(st.integers(0, 999), min_size=1))
def test_no_number_is_lost_or_added(numbers: set[int]) -> None:
    text = drawn_together([f"r-{number:03}" for number in sorted(numbers)])
    ends = [part.split("-") for part in text.split(", ")]
    said = {number for end in ends for number in range(int(end[0]), int(end[-1]) + 1)}
    assert said == numbers


def test_a_name_is_left_out_of_a_text_only_where_it_is_whole() -> None:
    text = "hostname: r-1.old -> r-1.lab, r-10, ar-1, r-1"
    assert nameless(text, "r-1") == "hostname: *.old -> *.lab, r-10, ar-1, *"
