"""Fetching from a server of these tests, and what has to come of it."""

from __future__ import annotations

import hashlib

import pytest

from bangerbuild.errors import FetchError
from bangerbuild.fetch.cache import Blob, Cache
from bangerbuild.fetch.connection import RetryPolicy
from bangerbuild.fetch.download import download
from tests.waiting import PATIENCE_SECONDS

DATA = hashlib.shake_256(b"data").digest(1_000_000)  # the same in every process: tests are named after it
DIGEST = hashlib.sha256(DATA).hexdigest()
OTHER = hashlib.shake_256(b"other").digest(1_000_000)
QUICK = RetryPolicy(pause_seconds=0.001, connect_seconds=PATIENCE_SECONDS, read_seconds=PATIENCE_SECONDS)


def fetch(
    url: str, cache: Cache, sha256: str | None = DIGEST, policy: RetryPolicy = QUICK, *, offline: bool = False
) -> Blob:
    return download(url, sha256=sha256, cache=cache, policy=policy, offline=offline)


def refusal(url: str, cache: Cache, sha256: str | None = DIGEST) -> FetchError:
    """The one error that fetching gives; nothing is in the cache then."""
    with pytest.raises(FetchError) as caught:
        fetch(url, cache, sha256)
    assert "\n" not in caught.value.brief
    assert not any(cache.blobs.iterdir())
    return caught.value


def assert_is(blob: Blob, data: bytes, cache: Cache) -> None:
    assert blob.path.read_bytes() == data
    assert blob == Blob(hashlib.sha256(data).hexdigest(), cache.blobs / blob.digest, len(data))
    assert list(cache.drafts.iterdir()) == []
