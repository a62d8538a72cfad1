"""Root filesystems of Debian packages, as tarballs made by mmdebstrap and kept in the cache.

A mirror serves other versions from day to day, and usually not the old ones. So the tarball is pinned: its
digest, and the digest of the package versions in it, which explains why a new tarball differs. If the pinned
tarball is not in the cache, it is made again; this gives the same bytes as long as the mirror has the same
versions. A mirror that keeps old versions, such as Debian's snapshot archive, always has them.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bangerbuild.errors import FetchError, OfflineError
from bangerbuild.fetch import answers
from bangerbuild.fetch.mmdebstrap_program import choose_mode, command, run
from bangerbuild.formats.archive import open_archive
from bangerbuild.identities import kept

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from bangerbuild.fetch.cache import Blob, Cache, Draft
    from bangerbuild.fetch.mmdebstrap_program import Suite

RECENT_SECONDS = 3600
_DIGEST = re.compile("[0-9a-f]{64}")
_STATUS = "var/lib/dpkg/status"


@dataclass(frozen=True)
class Made:
    """A tarball with the package versions in it."""

    blob: Blob
    versions: str
    """The SHA-256 of the names, versions and architectures of its packages; empty if unknown."""


def make(  # noqa: PLR0913  # what and where, and keywords that most leave out
    suite: Suite,
    *,
    cache: Cache,
    epoch: int,
    sha256: str | None = None,
    versions: str | None = None,
    recent: bool = False,
    offline: bool = False,
    environ: Mapping[str, str] = os.environ,
) -> Made:
    """The tarball of a suite: from the cache if the pinned one is there, else made (about a minute).

    Args:
        suite: what to install.
        cache: where the tarball is kept.
        epoch: the latest time that a file in it has.
        sha256: the pinned digest; None: whatever the mirror has now.
        versions: those of the pinned tarball, to explain a different result.
        recent: without a pin, whether a tarball will do that was made less than `RECENT_SECONDS` ago: a
            `plan` pins nothing, and the `apply` after it need not make it once more.
        offline: whether the network must not be used.
        environ: the user's environment.

    Raises:
        FetchError: it can't be made, or differs from the pinned one; an OfflineError if it would have to be
            made.
        ToolError: mmdebstrap is missing, or can't work on this host.
        CacheError: the cache can't be read or written.
    """
    if sha256 is not None and (blob := cache.get(sha256)):
        return Made(blob, versions or "")
    answer = cache.urls / f"suite-{_key(suite, epoch)}.json"
    if recent and (made := _recent(answer, cache)):
        return made
    if offline:
        raise OfflineError(
            f"'{suite}' is not in the cache, and --offline lets nothing be fetched",
            hint="run it once without --offline",
        )
    with cache.draft(_key(suite, epoch)) as draft:
        if sha256 is not None and (blob := cache.get(sha256)):
            return Made(blob, versions or "")  # another process made it while this one waited
        if recent and (made := _recent(answer, cache)):
            return made
        made = _made(suite, draft, epoch, SuitePin(sha256, versions), environ)
        _remember(answer, made)
        return made


def _recent(answer: Path, cache: Cache) -> Made | None:
    """What the suite gave a short time ago, if that is known and still there."""
    try:
        age_seconds = time.time() - answer.lstat().st_mtime
    except OSError:
        return None
    found = answers.read(answer)
    digest, versions = found.get("digest", ""), found.get("versions", "")
    if not 0 <= age_seconds < RECENT_SECONDS or not _DIGEST.fullmatch(digest):
        return None
    blob = cache.get(digest)
    return Made(blob, versions) if blob else None


def _remember(answer: Path, made: Made) -> None:
    """Note what the suite gave; the caller holds its draft."""
    with contextlib.suppress(OSError):  # then it is asked again
        answers.write(answer, {"digest": made.blob.digest, "versions": made.versions})


@dataclass(frozen=True)
class SuitePin:
    """What a tarball is pinned to."""

    sha256: str | None
    versions: str | None


def _made(suite: Suite, draft: Draft, epoch: int, pin: SuitePin, environ: Mapping[str, str]) -> Made:
    draft.discard()
    try:
        run(command(suite, draft.path, mode=choose_mode(), epoch=epoch, environ=environ), suite)
        digest, versions = draft.digest(), versions_in(draft.path, str(suite))
        if pin.sha256 in {None, digest}:
            return Made(draft.publish(digest), versions)
    except BaseException:
        draft.discard()
        raise
    draft.discard()
    raise _moved(suite, pin, versions)


def _moved(suite: Suite, pin: SuitePin, versions: str) -> FetchError:
    if versions == pin.versions:
        return FetchError(
            f"'{suite}' gives another tarball of the same packages than the lock file has",
            details="Another version of mmdebstrap, apt or dpkg may have made it, or other arguments.",
            hint="bangerbuild lock --upgrade",
        )
    return FetchError(
        f"'{suite}' gives other versions than the lock file has, and those are in no cache here",
        hint="take them: bangerbuild lock --upgrade; or name a mirror that keeps its past",
    )


def _key(suite: Suite, epoch: int) -> str:
    mirror = suite.mirror and kept(suite.mirror)
    words = [suite.name, suite.packages, mirror, suite.arguments, epoch]
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()


def versions_in(tarball: Path, written: str) -> str:
    """The digest of the packages that are installed in a tarball: names, versions, architectures, sorted.

    Raises:
        SourceError: it is no tarball.
    """
    with open_archive(tarball, written=written) as entries:
        status = b"".join(
            entry.content.read() for entry in entries if entry.path == _STATUS and entry.content is not None
        )
    lines = sorted(_installed(status.decode(errors="replace")))
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


def _installed(status: str) -> Iterator[str]:
    for paragraph in status.split("\n\n"):
        fields = dict(
            line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and line[0] != " "
        )
        if fields.get("Status", "").endswith(" installed"):
            yield f"{fields.get('Package')} {fields.get('Version')} {fields.get('Architecture')}"
