"""Tarballs that mmdebstrap makes of what the manifest asks for."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from bangerbuild.errors import SourceError
from bangerbuild.fetch import mmdebstrap
from bangerbuild.remote.means import users_cache
from bangerbuild.spec import MmdebstrapSource, Pin

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bangerbuild.remote.means import Means


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
    means.progress(source.written, 0, None)
    with users_cache() as cache:
        yield mmdebstrap.make(
            _suite(source),
            cache=cache,
            epoch=means.epoch,
            sha256=pin.digest,
            versions=pin.versions,
            offline=means.offline,
        ).blob.path


def ask(source: MmdebstrapSource, means: Means) -> Pin:
    """What a mirror has today, as the tarball made of it (a minute); errors as `opened`."""
    means.progress(source.written, 0, None)
    with users_cache() as cache:
        made = mmdebstrap.make(_suite(source), cache=cache, epoch=means.epoch, offline=means.offline)
        return Pin(made.blob.digest, versions=made.versions)


def _suite(source: MmdebstrapSource) -> mmdebstrap.Suite:
    return mmdebstrap.Suite(source.suite, source.packages, source.mirror, source.arguments)
