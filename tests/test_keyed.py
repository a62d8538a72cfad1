"""Keyed digests tell contents apart, and say nothing without the key."""

from __future__ import annotations

import hashlib

from bangerbuild import keyed

KEY, OTHER = bytes(32), bytes([1] * 32)


def test_a_digest_depends_on_key_purpose_and_content() -> None:
    found = {
        keyed.digest(key, purpose, content)
        for key in (KEY, OTHER)
        for purpose in ("recipe", "guest file")
        for content in (b"", b"a", b"b")
    }
    assert len(found) == 12
    assert keyed.digest(KEY, "recipe", b"a") == keyed.digest(KEY, "recipe", b"a")


def test_it_is_blake2b_with_that_key() -> None:
    known = hashlib.blake2b(b"a", digest_size=32, key=KEY, person=b"recipe".ljust(16, b"\0"))
    assert keyed.digest(KEY, "recipe", b"a") == known.hexdigest()
