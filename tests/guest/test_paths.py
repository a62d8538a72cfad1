from __future__ import annotations

import pytest

from bangerbuild.guest.paths import normal


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", "/"),
        ("//", "/"),
        ("/home/", "/home"),
        ("//srv///data/./", "/srv/data"),
        ("/a/../b", "/a/../b"),
        ("none", "none"),
        ("", ""),
    ],
)
def test_a_path_has_one_spelling_and_what_is_not_absolute_is_left(path: str, expected: str) -> None:
    assert normal(path) == expected
