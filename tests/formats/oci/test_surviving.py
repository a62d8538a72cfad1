"""The surviving paths of a layer's members: the same as lists of them, in less room."""

from __future__ import annotations

import sys

from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.formats.oci.surviving import SurvivingPaths


def test_a_member_of_which_nothing_survives_has_no_path() -> None:
    assert list(SurvivingPaths().paths(7, "own")) == []


def test_its_own_path_is_not_kept_but_handed_in() -> None:
    surviving = SurvivingPaths()
    surviving.add(3, "", is_own=True)
    assert list(surviving.paths(3, "etc/a")) == ["etc/a"]
    assert [list(surviving.paths(member, "x")) for member in (2, 4)] == [[], []]


def test_further_names_come_in_the_order_they_were_added() -> None:
    surviving = SurvivingPaths()
    surviving.add(0, "b", is_own=False)
    surviving.add(0, "a", is_own=True)
    surviving.add(0, "c", is_own=False)
    assert list(surviving.paths(0, "a")) == ["b", "a", "c"]
    assert surviving.count == 1


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["own", "x", "y"])), unique=True, max_size=18))
def test_any_order_gives_what_lists_give(added: list[tuple[int, str]]) -> None:
    surviving, lists = SurvivingPaths(), dict[int, list[str]]()
    for member, path in added:
        surviving.add(member, path, is_own=path == "own")
        lists.setdefault(member, []).append(path)
    assert [list(surviving.paths(member, "own")) for member in range(7)] == [
        lists.get(member, []) for member in range(7)
    ]
    assert surviving.count == len(lists)


def test_a_hundred_thousand_members_that_keep_their_paths_take_a_byte_each() -> None:
    surviving = SurvivingPaths()
    for member in range(100_000):
        surviving.add(member, "", is_own=True)
    assert surviving.count == 100_000
    assert sys.getsizeof(surviving._own) < 150_000
    assert not surviving._others
