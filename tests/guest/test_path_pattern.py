"""Expressions of file_contexts, beside what `re` makes of the same."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.guest.path_pattern import PatternError, fixed_prefix, parse

ATOMS = [
    "a",
    "b",
    "/",
    ".",
    "[ab]",
    "[^a/]",
    "(a|b)",
    "(?:/b)",
    r"\.",
    "[a-c]",
    r"\d",
    r"[^\]a]",
    "(ab|)",
    "[]a]",
]
REPEATS = ["", "", "*", "+", "?", "{2}", "{1,2}", "{1,}", "*?"]
PATTERNS = st.lists(st.tuples(st.sampled_from(ATOMS), st.sampled_from(REPEATS)), max_size=5).map(
    lambda parts: "".join(map("".join, parts))
)
TEXTS = st.text("ab/.c0]\n", max_size=7)


def matches(pattern: str, text: str) -> bool:
    return parse(pattern).matches(text.encode())


def matches_re(pattern: str, text: str) -> bool:
    return re.search(f"^{pattern}$", text, re.DOTALL) is not None


@given(st.lists(PATTERNS, min_size=1, max_size=3).map("|".join), TEXTS)
def test_it_matches_what_re_does(pattern: str, text: str) -> None:
    assert matches(pattern, text) == matches_re(pattern, text)


@given(PATTERNS, TEXTS)
def test_what_matches_begins_with_the_fixed_prefix(pattern: str, text: str) -> None:
    path = "/b" + text
    if matches(f"/b{pattern}", path):
        assert path.startswith(fixed_prefix(f"/b{pattern}"))


@given(PATTERNS, TEXTS)
def test_what_matches_has_the_required_text(pattern: str, text: str) -> None:
    path, whole = "/b" + text, f"/b{pattern}"
    if matches(whole, path):
        assert parse(whole).required(fixed_prefix(whole)) in path.encode()


@pytest.mark.parametrize(
    ("pattern", "required"),
    [
        ("/opt/(.*/)?lib(/.*)?", b"lib"),
        (r"/usr/.*\.so(\.[^/]*)*", b".so"),
        (r"/root/\.ssh(/.*)?", b".ssh"),
        ("/srv/(?:www)/[^/]+", b"www/"),
        ("/srv/.*", b""),
        ("/a(bcd)?e{1,}", b""),
        ("/x|/yyy", b""),
        ("/usr/(lib|lib64)/x", b"/x"),
    ],
)
def test_the_required_text_is_the_longest_behind_the_prefix(pattern: str, required: bytes) -> None:
    assert parse(pattern).required(fixed_prefix(pattern)) == required


@pytest.mark.parametrize(
    ("pattern", "prefix"),
    [
        ("/etc/ssh(/.*)?", "/etc/ssh"),
        ("/etc?", "/et"),
        (r"/root/\.ssh", "/root/"),
        ("/a|/b", ""),
        ("/a(b|c)", "/a"),
        ("*", ""),
    ],
)
def test_the_fixed_prefix_is_as_long_as_can_be_seen(pattern: str, prefix: str) -> None:
    assert fixed_prefix(pattern) == prefix


@pytest.mark.parametrize(
    ("pattern", "text", "is_match"),
    [
        ("[[:alpha:]]+[[:digit:]]", "ab1", True),
        ("[^[:space:]]+", "a b", False),
        ("a{x}", "a{x}", True),
        ("a{,2}", "a{,2}", True),
        ("[a\\-z]", "-", True),
        ("[a-]", "-", True),
        ("\\w\\S\\s", "a. ", True),
    ],
)
def test_classes_and_braces_are_as_pcre_has_them(pattern: str, text: str, *, is_match: bool) -> None:
    assert matches(pattern, text) is is_match


@pytest.mark.parametrize(
    "pattern",
    ["(a", "a)", "[a", "*a", "(?=a)", r"\1", r"\z", "a++", "[b-a]", "a{99999}", "\\", "(" * 5000, "a" * 5000],
)
def test_what_is_not_understood_is_refused(pattern: str) -> None:
    with pytest.raises(PatternError):
        parse(pattern)


@pytest.mark.parametrize(
    "pattern", ["(a*)*b", "(a|a)*b", "((a+)+)+b", "(a?){60}a{60}b", "(.*)(.*)(.*)(.*)(.*)x"]
)
def test_what_is_slow_by_going_back_is_not_slow_here(pattern: str) -> None:
    assert not matches(pattern, "a" * 60)


def test_what_takes_too_many_steps_has_an_end() -> None:
    with pytest.raises(PatternError):
        matches("(.*){200}b", "a" * 4000)


def test_digits_of_other_scripts_are_no_count() -> None:
    parse("a{\N{SUPERSCRIPT TWO}}")
    parse("a{1,\N{SUPERSCRIPT TWO}}")
