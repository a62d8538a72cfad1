"""Digests as container images write them: `sha256:` and 64 hex digits."""

from __future__ import annotations

from bangerbuild.errors import SourceError

SHA256 = "sha256:"


def pin_digest(digest: str, written: str) -> str:
    """The digits of a manifest's digest.

    Raises:
        SourceError: it is no SHA-256.
    """
    if not digest.startswith(SHA256):
        raise SourceError(f"'{written}' is named by '{digest}', and only sha256 is pinned")
    return digest.removeprefix(SHA256)
