"""Which addresses can be fetched."""

from __future__ import annotations

import pytest

from bangerbuild.errors import FetchError
from bangerbuild.fetch.address import file_path, parse


@pytest.mark.parametrize(
    "url",
    [
        "https://me:pa/ssword@example.org/a",
        "http:/me:word@host/a",
        "http://[::1/a",
        "http://h:99999/a",
        "http://me%3Aword%40host/",
    ],
)
def test_what_is_no_address_is_refused_without_its_secrets(url: str) -> None:
    with pytest.raises(FetchError, match="is no address that can be fetched") as caught:
        parse(url)
    assert "word" not in caught.value.brief


def test_a_file_address_is_a_path_with_its_escapes_undone() -> None:
    assert str(file_path(parse("file:///srv/a%20b%25.tar"))) == "/srv/a b%.tar"
