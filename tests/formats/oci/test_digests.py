"""Digests as container images write them."""

from __future__ import annotations

import pytest

from bangerbuild.errors import SourceError
from bangerbuild.formats.oci.digests import pin_digest


def test_the_digits_of_a_sha256_are_what_is_pinned() -> None:
    assert pin_digest(f"sha256:{'ab' * 32}", "oci:image") == "ab" * 32


@pytest.mark.parametrize("digest", ["sha512:" + "ab" * 64, "md5:" + "ab" * 16, "ab" * 32, ""])
def test_nothing_else_is_pinned(digest: str) -> None:
    with pytest.raises(SourceError) as caught:
        pin_digest(digest, "oci:image")
    assert caught.value.brief == f"'oci:image' is named by '{digest}', and only sha256 is pinned"
