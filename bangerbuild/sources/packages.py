"""Tarballs that mmdebstrap makes of what the manifest asks for."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from bangerbuild.declared import MmdebstrapSource, Pin
from bangerbuild.errors import SourceError
from bangerbuild.fetch.mmdebstrap import Made, make
from bangerbuild.fetch.mmdebstrap_program import Suite
from bangerbuild.sources.means import users_cache

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bangerbuild.fetch.cache import Cache
    from bangerbuild.sources.means import Means


@contextmanager
def opened(source: MmdebstrapSource, means: Means) -> Iterator[Path]:
    """The tarball that a source is pinned to; it stays where it is as long as this is open.

    Raises:
        FetchError: it is in no cache, and the mirror no longer has what it was made of.
        ToolError: mmdebstrap is missing, or can't work here.
        CacheError: it can't be kept.
    """
    pin = source.pin
    if pin is None:
        raise SourceError(f"'{source.written}' was never asked what it stands for")
    with users_cache() as cache:
        yield _made(source, pin, cache, means).blob.path


def ask(source: MmdebstrapSource, means: Means) -> Pin:
    """What a mirror has today, as the tarball made of it (a minute); errors as `opened`."""
    with users_cache() as cache:
        made = _made(source, None, cache, means)
        return Pin(made.blob.digest, versions=made.versions)


def _made(source: MmdebstrapSource, pin: Pin | None, cache: Cache, means: Means) -> Made:
    suite = Suite(source.suite, source.packages, source.mirror, source.arguments)
    if pin is None or not cache.has(pin.digest):
        means.progress(source.written, 0, None)
    made = make(
        suite,
        cache=cache,
        epoch=means.epoch,
        sha256=pin.digest if pin else None,
        versions=pin.versions if pin else None,
        offline=means.offline,
    )
    means.progress(source.written, made.blob.size_bytes, made.blob.size_bytes)
    return made
