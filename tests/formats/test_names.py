"""Names of archives become paths inside of the tree, or are refused."""

from __future__ import annotations

import posixpath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.formats.format_error import FormatError
from bangerbuild.formats.names import symlink_text, text_of, tree_path


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        (b"etc/passwd", "etc/passwd"),
        (b"./etc//passwd/", "etc/passwd"),
        (b"/etc/passwd", "etc/passwd"),
        (b"./", ""),
        (b"", ""),
        (b"...", "..."),
        (b"a/./b", "a/b"),
        (b"a" * 255, "a" * 255),
        (b"caf\xe9", "caf\udce9"),
    ],
)
def test_a_path_is_led_back_to_the_top_as_gnu_tar_does(raw: bytes, path: str) -> None:
    assert tree_path(raw) == path


@pytest.mark.parametrize(
    ("raw", "brief"),
    [
        (b"..", "leads out of the tree"),
        (b"etc/../../shadow", "leads out of the tree"),
        (b"a/../b", "leads out of the tree"),
        (b"a" * 256, "a name longer than 255 bytes"),
        (b"a/" * 2048, "a path longer than 4095 bytes"),
        (b"a\0b", "a NUL byte"),
    ],
)
def test_what_no_directory_can_hold_is_refused(raw: bytes, brief: str) -> None:
    with pytest.raises(FormatError, match=brief):
        tree_path(raw)


@given(st.lists(st.sampled_from([b"a", b"..", b".", b"", b"\xff", b"b\0"]), max_size=6).map(b"/".join))
def test_no_name_leads_out_of_the_tree(raw: bytes) -> None:
    try:
        path = tree_path(raw)
    except FormatError:
        return
    inside = posixpath.normpath(posixpath.join("/tree", path))
    assert inside == posixpath.join("/tree", path).rstrip("/")
    assert path.encode("utf-8", "surrogateescape") == path.encode("utf-8", "surrogateescape").strip(b"/")


@given(st.binary())
def test_any_bytes_are_text_that_goes_back_to_the_same_bytes(raw: bytes) -> None:
    assert text_of(raw).encode("utf-8", "surrogateescape") == raw


def test_the_text_of_a_symlink_stands_as_it_is() -> None:
    assert symlink_text(b"../.././no//such/") == "../.././no//such/"


@pytest.mark.parametrize("raw", [b"", b"a" * 4096, b"a\0b"])
def test_a_text_that_no_symlink_holds_is_refused(raw: bytes) -> None:
    with pytest.raises(FormatError, match="a symlink whose text is not 1 to 4095 bytes"):
        symlink_text(raw)
