"""Tarballs of Debian packages, made by mmdebstrap: as root, or without where the host lets it.

What a mirror serves changes from day to day, and there is no asking it for yesterday's. So what is pinned is
the tarball: its digest, and the digest of the versions in it, which says why another one is another. Who has
the pinned tarball in no cache can only make it again, and gets it as long as the mirror has the same
versions; a mirror that keeps its past, such as Debian's snapshot archive, has them for good.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bangerbuild.errors import FetchError, OfflineError
from bangerbuild.fetch.mmdebstrap_program import choose_mode, command, run
from bangerbuild.formats.archive import open_archive

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from bangerbuild.fetch.cache import Blob, Cache, Draft
    from bangerbuild.fetch.mmdebstrap_program import Suite

_STATUS = "var/lib/dpkg/status"


@dataclass(frozen=True)
class Made:
    """A tarball, and what is in it."""

    blob: Blob
    versions: str
    """The sha256 of the names, versions and architectures of its packages; empty if it was not asked."""


def make(  # noqa: PLR0913  # what and where, and keywords that most leave out
    suite: Suite,
    *,
    cache: Cache,
    epoch: int,
    sha256: str | None = None,
    versions: str | None = None,
    offline: bool = False,
    environ: Mapping[str, str] = os.environ,
) -> Made:
    """The tarball of a suite, from the cache if it is pinned and there, else made anew (a minute).

    Args:
        suite: what is wanted.
        cache: where it is kept.
        epoch: the latest time that a file in it has.
        sha256: what it was pinned to; None: whatever the mirror has now.
        versions: of the pinned tarball, to say what changed if the one made is another.
        offline: whether the network must not be asked.
        environ: the user's.

    Raises:
        FetchError: it can't be made, or is not the pinned one any more; an OfflineError if it would have to
            be made.
        ToolError: mmdebstrap is missing, or can't work on this host.
        CacheError: the cache can't be read or written.
    """
    if sha256 is not None and (blob := cache.get(sha256)):
        return Made(blob, versions or "")
    if offline:
        raise OfflineError(
            f"'{suite}' is not in the cache, and --offline lets nothing be fetched",
            hint="run it once without --offline",
        )
    with cache.draft(_key(suite, epoch)) as draft:
        if sha256 is not None and (blob := cache.get(sha256)):
            return Made(blob, versions or "")  # somebody else has made it meanwhile
        return _made(suite, draft, epoch, SuitePin(sha256, versions), environ)


@dataclass(frozen=True)
class SuitePin:
    """What a tarball must be."""

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
    words = [suite.name, suite.packages, suite.mirror, suite.arguments, epoch]
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()


def versions_in(tarball: Path, written: str) -> str:
    """The digest of what dpkg says is installed in a tarball: names, versions and architectures, sorted.

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
