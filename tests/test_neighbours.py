from __future__ import annotations

import pytest

from bangerbuild.neighbours import near, nearest, slips


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("wbe", "web"),
        ("we", "web"),
        ("webb", "web"),
        ("wab", "web"),
        ("databse", "database"),
        ("runner-01", "runner-1"),
    ],
)
def test_a_slip_of_the_finger_is_answered_with_its_neighbour(typed: str, meant: str) -> None:
    assert nearest(typed, ["database", "runner-1", "web"]) == meant
    assert near(typed, ["database", "runner-1", "web"]) == f"did you mean '{meant}'?"


@pytest.mark.parametrize(
    ("typed", "known", "meant"),
    [
        ("aa", "a", "a"),
        ("a", "ab", "ab"),
        ("d", "db", "db"),
        ("mv", "vm", "vm"),
        ("b", "a", None),
        ("", "a", None),
        ("abc", "x", None),
    ],
)
def test_a_name_of_a_letter_or_two_is_meant_by_what_holds_it(
    typed: str, known: str, meant: str | None
) -> None:
    assert nearest(typed, [known]) == meant


@pytest.mark.parametrize("typed", ["proxy", "x", "", "mail", "zzz"])
def test_another_word_is_no_slip(typed: str) -> None:
    assert near(typed, ["database", "web"]) is None


@pytest.mark.parametrize(
    ("one", "other", "count"),
    [("", "", 0), ("a", "", 1), ("ab", "ba", 1), ("kitten", "sitting", 3), ("web", "web", 0)],
)
def test_slips_are_letters_added_dropped_changed_and_swapped(one: str, other: str, count: int) -> None:
    assert slips(one, other) == slips(other, one) == count
