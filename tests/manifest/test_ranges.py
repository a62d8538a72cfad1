"""Ranges in names are the shell's braces."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.manifest import ranges
from bangerbuild.manifest.problems import InvalidValueError

ends = st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(0, 4)).map(
    lambda drawn: f"{{{min(drawn[:2]):0{drawn[2]}}..{max(drawn[:2]):0{drawn[2]}}}}"
)
texts = st.lists(st.one_of(ends, st.sampled_from(["a", "b-", "9"])), min_size=1, max_size=4).map("".join)


def by_bash(texts: list[str]) -> list[list[str]]:
    script = "".join(f"echo {text}\n" for text in texts)
    done = subprocess.run(["/bin/bash"], input=script, capture_output=True, text=True, check=True)
    return [line.split() for line in done.stdout.splitlines()]


@given(st.lists(texts, min_size=1, max_size=5))
def test_a_text_stands_for_what_bash_makes_of_it(drawn: list[str]) -> None:
    few = [text for text in drawn if text.count("..") <= 2]
    assert [list(ranges.expanded(text)) for text in few] == by_bash(few)


@pytest.mark.parametrize("text", ["{1..2", "a}", "{a..b}", "{1,2}", "{-1..2}", "{1..9999999999}"])
def test_other_braces_are_refused(text: str) -> None:
    with pytest.raises(InvalidValueError, match="braces that are no range"):
        ranges.expanded(text)


def test_the_product_of_ranges_is_bounded_too() -> None:
    assert len(list(ranges.expanded("{1..1000}-{1..100}"))) == ranges.MOST_NAMES
    with pytest.raises(InvalidValueError, match="more than 100000"):
        ranges.expanded("{1..1000}-{1..101}")


@pytest.mark.parametrize(
    ("name", "index"),
    [("runner-007", 7), ("web2-10", 10), ("a1b", 1), ("web", None), ("a" + "9" * 40, None)],
)
def test_the_index_is_the_last_number_in_the_name(name: str, index: int | None) -> None:
    assert ranges.index_of(name) == index
