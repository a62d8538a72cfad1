"""Digests of secrets, made with a key: nobody without it can tell which secret one is of, even by trying.

The up-to-date check loads this module, so it imports nothing but what makes the digest, where it is needed.
"""

from __future__ import annotations

KEY_BYTES = 32
"""The length of a key."""
_PURPOSE_BYTES = 16


def digest(key: bytes, purpose: str, content: bytes) -> str:
    """The digest of a content, 64 hex digits.

    Args:
        key: of the store, `KEY_BYTES` long.
        purpose: what it is for, at most 16 ASCII characters. Digests of one content for two purposes have
            nothing in common.
        content: the secret.
    """
    import hashlib  # noqa: PLC0415  see the module

    person = purpose.encode().ljust(_PURPOSE_BYTES, b"\0")
    return hashlib.blake2b(content, digest_size=32, key=key, person=person).hexdigest()
