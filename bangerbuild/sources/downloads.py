"""Downloads that the manifest names by address."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from bangerbuild.declared import Pin, UrlBoot, UrlSource
from bangerbuild.errors import SourceError
from bangerbuild.fetch.download import download
from bangerbuild.sources.means import users_cache

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.fetch.cache import Blob, Cache
    from bangerbuild.sources.means import Means


@contextmanager
def opened(source: UrlSource | UrlBoot, means: Means) -> Iterator[Blob]:
    """The file that a source is pinned to; it stays where it is as long as this is open.

    Raises:
        FetchError: it can't be had, or is not what it was pinned to.
        CacheError: it can't be kept.
    """
    if source.pin is None:
        raise SourceError(f"'{source.written}' was never asked what it stands for")
    with users_cache() as cache:
        yield _fetched(source, source.pin.digest, cache, means)


def ask(source: UrlSource | UrlBoot, means: Means) -> Pin:
    """What an address gives today, which has to be fetched for it.

    Raises:
        FetchError: it can't be had.
        CacheError: it can't be kept.
    """
    with users_cache() as cache:
        return Pin(_fetched(source, None, cache, means).digest)


def _fetched(source: UrlSource | UrlBoot, sha256: str | None, cache: Cache, means: Means) -> Blob:
    def progress(done_bytes: int, total_bytes: int | None) -> None:
        means.progress(source.written, done_bytes, total_bytes)

    blob = download(source.url, sha256=sha256, cache=cache, progress=progress, offline=means.offline)
    progress(blob.size_bytes, blob.size_bytes)  # not every server says when that is
    return blob
