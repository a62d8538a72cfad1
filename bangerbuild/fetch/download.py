"""Download a file from an `http`, `https` or `file` URL into the cache, and verify its digest.

A download that is pinned to a digest comes from the cache if it is there. One without a pin asks the server
whether the cached file is still current. Interrupted downloads are resumed.
"""

from __future__ import annotations

import contextlib
import errno
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bangerbuild.errors import FULL, FetchError, OfflineError
from bangerbuild.fetch import url_records
from bangerbuild.fetch.address import file_path, parse
from bangerbuild.fetch.cache import Blob
from bangerbuild.fetch.locked_files import digest_of
from bangerbuild.fetch.url_records import NOTHING, UrlRecord
from bangerbuild.formats.hostfile import opened_file
from bangerbuild.identities import shown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bangerbuild.fetch.cache import Cache, Draft
    from bangerbuild.fetch.connection import RetryPolicy
    from bangerbuild.fetch.transfer import TransferProgress, TransferResult

_CHANGED_HINT = (
    "if it was changed on purpose, give its new sha256 in the manifest or move the lock file to it"
)
_ROOM_HINT = "make room there, or have the cache elsewhere: export XDG_CACHE_HOME=/var/tmp/me"
_FULL = FULL | {errno.EFBIG}


def silent(_done_bytes: int, _total_bytes: int | None) -> None:
    """A TransferProgress that shows nothing."""


def download(  # noqa: PLR0913  # what and where, and keywords that most leave out
    url: str,
    *,
    sha256: str | None,
    cache: Cache,
    progress: TransferProgress = silent,
    offline: bool = False,
    policy: RetryPolicy | None = None,
    max_bytes: int | None = None,
) -> Blob:
    """Download the file at a URL.

    With a digest, a file in the cache is used without asking the server. Without one, the server is asked
    whether the cached file is still current, and sends the file if not. A file of this host is used in place.

    Args:
        url: its name and password are neither shown nor stored.
        sha256: the required digest, 64 lower-case hex digits; None: any content.
        cache: where the file is stored; an interrupted download there is resumed.
        progress: called often, in this thread, with the number of bytes so far.
        offline: whether no server is asked; without a digest the last answer in the cache counts.
        policy: timeouts and attempts; None: the default.
        max_bytes: how large it may be; None: 64 GiB.

    Raises:
        FetchError: the download failed, or has another digest; an OfflineError if a server had to be asked.
        SourceError: a file of this host can't be read.
        CacheError: the cache can't be read or written.
    """
    parts = parse(url)
    if sha256 is not None and (blob := cache.get(sha256)):
        return blob
    if parts.scheme == "file":
        return _local_file(url, file_path(parts), sha256)
    if offline:
        return _cached_answer(url, sha256, cache)
    return _Download(url, sha256, cache, _Manner(progress, policy, max_bytes)).run()


def _local_file(url: str, path: Path, sha256: str | None) -> Blob:
    with opened_file(path, url) as file:
        digest, size = digest_of(file.fileno()), os.fstat(file.fileno()).st_size
    if sha256 is not None and digest != sha256:
        raise _differs(url, sha256, digest)
    return Blob(digest, path, size)


def _cached_answer(url: str, sha256: str | None, cache: Cache) -> Blob:
    """The cached file of an earlier download, unless another digest is required."""
    known = url_records.read(_memory(url, cache))
    if sha256 is None and known.digest and (blob := cache.get(known.digest)):
        return blob
    raise OfflineError(
        f"'{shown(url)}' is not in the cache, and --offline lets nothing be fetched",
        hint="run it once without --offline",
    )


def _differs(url: str, sha256: str, found: str) -> FetchError:
    return FetchError(
        f"'{shown(url)}' is not what it must be: its sha256 is {found}, not {sha256}", hint=_CHANGED_HINT
    )


def _memory(url: str, cache: Cache) -> Path:
    return cache.urls / f"{url_records.key_of(url)}.json"


@dataclass(frozen=True)
class _Manner:
    """How a download is made; see `download`."""

    progress: TransferProgress
    policy: RetryPolicy | None
    max_bytes: int | None


class _Download:
    """One download; other processes that want the same URL wait for it."""

    def __init__(
        self,
        url: str,
        sha256: str | None,
        cache: Cache,
        manner: _Manner,
    ) -> None:
        self._url = url
        self._sha256 = sha256
        self._cache = cache
        self._manner = manner
        self._memory = _memory(url, cache)

    def run(self) -> Blob:
        with self._cache.draft(url_records.key_of(self._url)) as draft:
            if self._sha256 and (blob := self._cache.get(self._sha256)):
                return blob  # another process fetched it while this one waited
            with self._kept(draft):
                return self._fetched(draft)

    def _fetched(self, draft: Draft) -> Blob:
        known = url_records.read(self._memory)
        here = self._cache.get(known.digest) if known.digest and not self._sha256 else None
        result = self._transfer(draft, known, here)
        if here and result.unchanged:
            return here
        digest = draft.digest()
        if self._sha256 not in {None, digest} and result.in_parts:
            draft.discard()  # its parts may be from two versions of the file: start again
            result = self._transfer(draft, known, here)
            digest = draft.digest()
        return self._published(draft, digest, result)

    def _published(self, draft: Draft, digest: str, result: TransferResult) -> Blob:
        if self._sha256 and digest != self._sha256:
            draft.discard()
            raise _differs(self._url, self._sha256, digest)
        blob = draft.publish(digest)
        url_records.write(self._memory, UrlRecord(result.validators, digest))
        return blob

    def _transfer(self, draft: Draft, known: UrlRecord, here: Blob | None) -> TransferResult:
        from bangerbuild.fetch.connection import RetryPolicy
        from bangerbuild.fetch.transfer import DEFAULT_MOST_BYTES, TransferRequest, transfer

        return transfer(
            TransferRequest(
                self._url,
                is_pinned=self._sha256 is not None,
                draft=NOTHING if known.digest else known.validators,
                unless=known.validators if here else None,
                most_bytes=self._manner.max_bytes or DEFAULT_MOST_BYTES,
            ),
            draft.file,
            on_start=lambda validators: url_records.write(self._memory, UrlRecord(validators)),
            progress=self._manner.progress,
            policy=self._manner.policy or RetryPolicy(),
        )

    @contextlib.contextmanager
    def _kept(self, draft: Draft) -> Iterator[None]:
        """Translate errors of the cache's disk; a draft that filled the disk is discarded."""
        try:
            yield
        except OSError as err:
            if err.errno in _FULL:
                draft.discard()
            reason = (err.strerror or str(err)).lower()
            raise FetchError(
                f"'{shown(self._url)}' can't be kept in '{self._cache.path}': {reason}", hint=_ROOM_HINT
            ) from err
