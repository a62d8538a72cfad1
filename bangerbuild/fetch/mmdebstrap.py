"""Tarballs of Debian packages, made by mmdebstrap: as root, or without where the host lets it.

What a mirror serves changes from day to day, and there is no asking it for yesterday's. So what is pinned is
the tarball: its digest, and the digest of the versions in it, which says why another one is another. Who has
the pinned tarball in no cache can only make it again, and gets it as long as the mirror has the same
versions; a mirror that keeps its past, such as snapshot.debian.org, has them for good.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bangerbuild import process
from bangerbuild.errors import FetchError, OfflineError, ToolError
from bangerbuild.process import Command
from bangerbuild.sources.archive import open_archive

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from bangerbuild.fetch.cache import Blob, Cache, Draft

_SECONDS = 3600
_OUTPUT_BYTES = 64 << 20
_MARK = "# of the host that builds"
_HOST_FILES = "hostname resolv.conf"
_MARK_HOOK = (
    f'for f in {_HOST_FILES}; do f="$1/etc/$f"; [ ! -f "$f" ] || printf "\\n%s\\n" "{_MARK}" >>"$f"; done'
)
_REMOVE_HOOK = f'for f in {_HOST_FILES}; do f="$1/etc/$f"; ! grep -qsxF "{_MARK}" "$f" || rm "$f"; done'
"""mmdebstrap lends the chroot these two of the host's, and leaves them in. What a package or a hook of the
user's puts in their place has no such line."""
_PASSED_ON = re.compile("HOME|TMPDIR|(https?|ftp|all|no)_proxy|(HTTPS?|FTP|ALL|NO)_PROXY")
_STATUS = "var/lib/dpkg/status"


@dataclass(frozen=True)
class Suite:
    """What mmdebstrap is asked for."""

    name: str
    """Such as `bookworm`."""
    packages: tuple[str, ...] = ()
    mirror: str | None = None
    """An address, or a line as in apt's sources.list; None: as mmdebstrap knows it."""
    arguments: tuple[str, ...] = ()
    """Further options of mmdebstrap."""

    def __str__(self) -> str:
        return f"mmdebstrap {self.name}"


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
        return _made(suite, draft, epoch, Pin(sha256, versions), environ)


@dataclass(frozen=True)
class Pin:
    """What a tarball must be."""

    sha256: str | None
    versions: str | None


def _made(suite: Suite, draft: Draft, epoch: int, pin: Pin, environ: Mapping[str, str]) -> Made:
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


def _moved(suite: Suite, pin: Pin, versions: str) -> FetchError:
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


def command(suite: Suite, target: Path, *, mode: str, epoch: int, environ: Mapping[str, str]) -> Command:
    """Writes the tarball to `target`, uncompressed, so that no compressor's version counts."""
    is_extract = any(argument.endswith("extract") for argument in suite.arguments)
    return Command(
        (
            "mmdebstrap",
            *(f"--mode={mode}", "--format=tar", f"--setup-hook={_MARK_HOOK}"),
            *(f"--include={package}" for package in suite.packages),
            *suite.arguments,
            f"--{'extract' if is_extract else 'customize'}-hook={_REMOVE_HOOK}",
            *(suite.name, str(target)),
            *((suite.mirror,) if suite.mirror else ()),
        ),
        env={
            **{name: value for name, value in environ.items() if _PASSED_ON.fullmatch(name)},
            "SOURCE_DATE_EPOCH": str(epoch),
        },
        timeout_seconds=_SECONDS,
        output_bytes=_OUTPUT_BYTES,
    )


def choose_mode() -> str:
    """How mmdebstrap gets to be root in the chroot, on this host and as this user.

    Raises:
        ToolError: mmdebstrap is missing, or there is no way.
    """
    process.find("mmdebstrap")
    if os.geteuid() == 0:
        return "root"
    probed = process.run(replace(_PROBE, ok=frozenset(range(256))))
    if probed.code == 0:
        return "unshare"
    try:
        process.find("fakechroot")
        process.find("fakeroot")
    except ToolError as err:
        raise ToolError(
            "mmdebstrap can't work for this user: neither user namespaces nor fakechroot are there",
            details=probed.output.strip(),
            hint="apt install fakechroot fakeroot; or uidmap, and a line for you in /etc/subuid and subgid",
        ) from err
    return "fakechroot"


_PROBE = Command(("mmdebstrap", "--unshare-helper", "true"))


@dataclass(frozen=True)
class _Failure:
    pattern: str
    """Found in what mmdebstrap, apt or dpkg say of it."""
    brief: str
    """A predicate."""
    hint: str | None = None


_FAILURES = (
    _Failure("Unable to locate package|has no installation candidate", "has not all of these packages"),
    _Failure("unmet dependencies|held broken packages", "has packages that don't go together"),
    _Failure(
        "Release file.* (not valid yet|expired)", "is served as it was long ago, or this clock is wrong"
    ),
    _Failure(
        "NO_PUBKEY|is not signed|signatures couldn't be verified|unable to find keyring",
        "is signed by somebody unknown here",
        "apt install debian-archive-keyring (ubuntu-archive-keyring); or `[signed-by=FILE]` in `mirror`",
    ),
    _Failure(
        "does not have a Release file|unable to determine default mirror|cannot find.*suite",
        "is not there: its mirror has no such suite",
        "name the mirror that has it with `mirror`",
    ),
    _Failure(
        "Could not (resolve|connect)|Temporary failure|Connection (refused|failed|timed out)|Failed to fetch",
        "can't be fetched: its mirror does not answer",
    ),
    _Failure("No space left", "can't be made: no room", "have it made elsewhere: export TMPDIR=/var/tmp"),
    _Failure(
        "nosuid|noexec|nodev", "can't be made where it is", "have it made elsewhere: export TMPDIR=/var/tmp"
    ),
)


def run(asked: Command, suite: Suite) -> None:
    """Runs mmdebstrap.

    Raises:
        ToolError: it is missing, can't be started, or takes too long.
        FetchError: it failed; the brief says why in terms of the suite.
    """
    completed = process.run(replace(asked, ok=frozenset(range(256))))
    if completed.code != 0:
        raise failure(completed.output, suite)


def failure(printed: str, suite: Suite) -> FetchError:
    """The error for what mmdebstrap printed before it failed."""
    said = [line for line in printed.splitlines() if line.startswith(("E: ", "W: ", "Err:"))]
    details = "\n".join(said) or printed.strip()[-2000:]
    for known in _FAILURES:
        if re.search(known.pattern, printed):
            return FetchError(f"'{suite}' {known.brief}", details=details, hint=known.hint)
    return FetchError(f"'{suite}' can't be made", details=details)


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
