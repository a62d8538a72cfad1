"""The scanner agrees with tomllib about every key, and names the line where it stands."""

from __future__ import annotations

import string
import tomllib
from typing import TYPE_CHECKING, Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.manifest.toml_lines import dotted, key_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.manifest.toml_lines import Key

ODD = '''\
# a comment with [brackets] and "quotes"
title = "a # that is no comment"   # one that is
a.b . "c d" = 1
a.'e.f' = [
  1, # with ] in a comment
  [2, "]"],
  { x = 1, y.z = [3] },
]
text = """
[not.a.table]
key = "no" \\""" still inside ""quotes"" """
literal = \'\'\'
[[neither]] ''two''\'\'\'
five = """""five quotes""\"""
when = 1979-05-27 07:32:00
minus = [-inf, nan, 0xff, 1_000, +1.0e-3,]

[ fruit . "apple pie" ]
"\\u00e9" = 1
"" = 2
[[basket]]
[[basket.item]]
name = "one"
[[basket.item]]
name = "two"
[basket.item.skin]
colour = "red"

[[basket]]
item = []
nested = { a = { b = { c = "}" } }, d = [ { e = 1 }, { e = 2 } ] }
[x.y.z]
one = 1
[x]
two = 2
'''
ODD_LINES: dict[Key, int] = {
    ("title",): 2,
    ("a",): 3,
    ("a", "b"): 3,
    ("a", "b", "c d"): 3,
    ("a", "e.f"): 4,
    ("a", "e.f", 0): 5,
    ("a", "e.f", 1): 6,
    ("a", "e.f", 1, 1): 6,
    ("a", "e.f", 2, "y", "z", 0): 7,
    ("text",): 9,
    ("literal",): 12,
    ("five",): 14,
    ("when",): 15,
    ("minus", 4): 16,
    ("fruit",): 18,
    ("fruit", "apple pie"): 18,
    ("fruit", "apple pie", "é"): 19,
    ("fruit", "apple pie", ""): 20,
    ("basket",): 21,
    ("basket", 0, "item", 0): 22,
    ("basket", 0, "item", 0, "name"): 23,
    ("basket", 0, "item", 1): 24,
    ("basket", 0, "item", 1, "skin", "colour"): 27,
    ("basket", 1): 29,
    ("basket", 1, "item"): 30,
    ("basket", 1, "nested", "d", 1, "e"): 31,
    ("x", "y", "z"): 32,
    ("x", "y", "z", "one"): 33,
    ("x",): 34,
    ("x", "two"): 35,
}

KEYS = st.text(alphabet=string.ascii_letters + string.digits + "_-.\"'# \\[]é\t", max_size=6)
SCALARS = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.datetimes(),
    st.dates(),
    st.times(),
    st.text(alphabet=string.printable.replace("\r", "") + "é\u2028\x85", max_size=20),
)
VALUES = st.recursive(
    SCALARS,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(KEYS, below, max_size=4),
    max_leaves=25,
)
TREES = st.dictionaries(KEYS, VALUES, max_size=6)


def paths(value: Any, above: Key = ()) -> Iterator[Key]:  # noqa: ANN401  any TOML value
    items: Any = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    )
    for part, below in items:
        yield (*above, part)
        yield from paths(below, (*above, part))


def test_odd_but_valid_toml_has_the_same_keys_as_tomllib_finds() -> None:
    assert set(key_lines(ODD)) == set(paths(tomllib.loads(ODD)))


@pytest.mark.parametrize(("key", "line"), ODD_LINES.items(), ids=str)
def test_a_key_is_found_on_its_line(key: Key, line: int) -> None:
    assert key_lines(ODD)[key] == line


def test_windows_line_ends_do_not_move_a_line() -> None:
    assert key_lines(ODD.replace("\n", "\r\n")) == key_lines(ODD)


def test_only_a_line_feed_ends_a_line() -> None:
    assert key_lines('a = "\u2028 \x85"\nb = 1') == {("a",): 1, ("b",): 2}


def test_an_empty_text_has_no_keys() -> None:
    assert key_lines("") == {}
    assert key_lines(" # nothing") == {}


@given(tree=TREES, multiline=st.booleans())
def test_any_tree_that_is_written_as_toml_is_scanned_whole(tree: dict[str, Any], *, multiline: bool) -> None:
    text = tomli_w.dumps(tree, multiline_strings=multiline)

    assert set(key_lines(text)) == set(paths(tomllib.loads(text)))


@given(tree=TREES)
def test_the_line_of_a_written_key_holds_its_last_word(tree: dict[str, Any]) -> None:
    text = tomli_w.dumps(tree)
    lines = text.split("\n")

    for key, line in key_lines(text).items():
        part = next(part for part in reversed(key) if isinstance(part, str))
        if isinstance(key[-1], str) and part.isalnum() and part.isascii():
            assert part in lines[line - 1]


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (("vm", "web", "file", 0, "guest"), "vm.web.file[0].guest"),
        (("include", 1), "include[1]"),
        (("vm", "a.b"), 'vm."a.b"'),
        (("two\nlines",), '"two\\nlines"'),
        ((), ""),
    ],
)
def test_a_key_path_is_written_as_in_toml(key: Key, text: str) -> None:
    assert dotted(key) == text
