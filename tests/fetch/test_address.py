"""What of an address may be shown."""

from __future__ import annotations

import pytest

from bangerbuild.fetch.address import file_path, parse, shown


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("https://example.org/a.tar", "https://example.org/a.tar"),
        ("https://me@example.org/a.tar", "https://example.org/a.tar"),
        ("https://me:pa@ss@example.org:8080/a@b.tar", "https://example.org:8080/a@b.tar"),
        ("https://example.org/a.tar?token=1&b=2#part", "https://example.org/a.tar?…"),
        ("https://me:pa#ss@example.org/a.tar#part", "https://example.org/a.tar"),
        ("https://me:pa?ss@example.org/a.tar?b", "https://example.org/a.tar?…"),
        ("https://example.org/a.tar#part?x", "https://example.org/a.tar"),
        ("https://example.org/?", "https://example.org/?"),
        ("https://me:word@[::1", "https://[::1"),
        ("not an address", "not an address"),
    ],
)
def test_an_address_is_shown_without_its_secrets(url: str, text: str) -> None:
    assert shown(url) == text


def test_a_file_address_is_a_path_with_its_escapes_undone() -> None:
    assert str(file_path(parse("file:///srv/a%20b%25.tar"))) == "/srv/a b%.tar"
