"""The program mmdebstrap: its command line, its mode (root or rootless), and its errors translated."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import unquote

from bangerbuild import identities
from bangerbuild.errors import FetchError, ToolError
from bangerbuild.host import process
from bangerbuild.host.process import Command

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_SECONDS = 3600
_OUTPUT_BYTES = 64 << 20
_COMPLAINTS = ("E: ", "W: ", "Err:", "Unknown option")
PASSED_ON = (
    *("HOME", "TMPDIR"),
    *("http_proxy", "https_proxy", "ftp_proxy", "all_proxy", "no_proxy"),
    *("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "ALL_PROXY", "NO_PROXY"),
)
"""Variables that are passed on."""
_PROBE = Command(("mmdebstrap", "--unshare-helper", "true"))
_MARK_HOST_FILES = """
for f in hostname resolv.conf; do
    [ ! -f "$1/etc/$f" ] || printf '\\n%s\\n' '# of the host that builds' >>"$1/etc/$f"
done
"""
_REMOVE_HOST_FILES = """
for f in hostname resolv.conf; do
    ! grep -qsxF '# of the host that builds' "$1/etc/$f" || rm "$1/etc/$f"
done
for d in lib/apt/lists cache/apt/archives; do
    [ ! -d "$1/var/$d/partial" ] || chown 0:0 "$1/var/$d/partial"
done
echo 'APT::Sandbox::User "root";' >>"$MMDEBSTRAP_APT_CONFIG"
"""
"""Hooks that keep data of the host out of the tarball.

mmdebstrap copies the host's name and name servers into the chroot and leaves them there. The setup hook marks
these files, and the last hook removes those that still have the mark; a file that a package or a user's hook
has written stays. What apt downloads may belong to the host's user `_apt`, whose number differs between
hosts, so these directories are given to root; after these hooks apt only cleans up.
"""
_AUTH = "BANGERBUILD_APT_AUTH"
_WRITE_AUTH = f"""umask 077; printf '%s\\n' "${_AUTH}" >"$1/etc/apt/auth.conf" """
_REMOVE_AUTH = 'rm "$1/etc/apt/auth.conf"'
"""Hooks that tell apt how to log in.

In the mirror's address they would be in the list of processes, and in the image's sources.list.
"""
_IDENTITY = re.compile(r"(https?://)([^\s/@:]+)(?::([^\s/@]*))?@([^\s/]+)")


@dataclass(frozen=True)
class Suite:
    """What mmdebstrap installs."""

    name: str
    """Such as `bookworm`."""
    packages: tuple[str, ...] = ()
    mirror: str | None = None
    """A URL, or a line as in apt's sources.list; None: mmdebstrap's default."""
    arguments: tuple[str, ...] = ()
    """Further options of mmdebstrap."""

    def __str__(self) -> str:
        return f"mmdebstrap {self.name}"


def command(suite: Suite, target: Path, *, mode: str, epoch: int, environ: Mapping[str, str]) -> Command:
    """The command that writes the tarball, uncompressed: no compressor's version may change its bytes."""
    is_extract = any(argument.endswith("extract") for argument in suite.arguments)
    last_hook = f"--{'extract' if is_extract else 'customize'}-hook"
    mirror, login = _without_identity(suite.mirror or "")
    return Command(
        (
            "mmdebstrap",
            *(f"--mode={mode}", "--format=tar", f"--setup-hook={_MARK_HOST_FILES}"),
            *((f"--setup-hook={_WRITE_AUTH}",) if login else ()),
            *(f"--include={package}" for package in suite.packages),
            *suite.arguments,
            *((f"{last_hook}={_REMOVE_AUTH}",) if login else ()),
            f"{last_hook}={_REMOVE_HOST_FILES}",
            *(suite.name, str(target)),
            *((mirror,) if mirror else ()),
        ),
        env={
            **{name: value for name, value in environ.items() if name in PASSED_ON},
            "SOURCE_DATE_EPOCH": str(epoch),
            **({_AUTH: login} if login else {}),
        },
        timeout_seconds=_SECONDS,
        output_bytes=_OUTPUT_BYTES,
        label=str(suite),
        runs_others=True,
    )


def _without_identity(mirror: str) -> tuple[str, str]:
    """A mirror without names and passwords, and lines of apt_auth.conf(5) with them."""
    lines = [
        f"machine {scheme}{host} login {unquote(user)} password {unquote(password)}"
        for scheme, user, password, host in _IDENTITY.findall(mirror)
    ]
    plain = _IDENTITY.sub(r"\1\4", mirror)
    quoted = "\n".join(f"'{line}'" for line in plain.splitlines())  # a password may have a space
    if identities.removed(quoted) != quoted or any(len(line.split()) != 6 for line in lines):
        raise FetchError(
            f"the mirror '{plain}' has a name or a password that apt can't be told",
            hint="write a '/' or '@' in it as %2F or %40; apt takes none with a space",
        )
    return plain, "\n".join(lines)


def usable() -> str:
    """How mmdebstrap works on this host for this user, for `doctor`; raises as `choose_mode`."""
    return f"mode {choose_mode()}"


def choose_mode() -> str:
    """The `--mode` in which mmdebstrap works on this host for this user.

    Raises:
        ToolError: mmdebstrap is missing, or no mode works.
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


@dataclass(frozen=True)
class _MmdebstrapFailure:
    pattern: str
    """Matched against the output of mmdebstrap, apt and dpkg."""
    brief: str
    """A predicate: what follows the name of the suite."""
    hint: str | None = None


_FAILURES = (
    _MmdebstrapFailure(
        "Unable to locate package|has no installation candidate", "has not all of these packages"
    ),
    _MmdebstrapFailure("unmet dependencies|held broken packages", "has packages that don't go together"),
    _MmdebstrapFailure(
        "Release file.* (not valid yet|expired)", "is served as it was long ago, or this clock is wrong"
    ),
    _MmdebstrapFailure(
        "NO_PUBKEY|is not signed|signatures couldn't be verified|unable to find keyring",
        "is signed by somebody unknown here",
        "apt install debian-archive-keyring (ubuntu-archive-keyring); or `[signed-by=FILE]` in `mirror`",
    ),
    _MmdebstrapFailure(
        "does not have a Release file|unable to determine default mirror|cannot find.*suite",
        "is not there: its mirror has no such suite",
        "name the mirror that has it with `mirror`",
    ),
    _MmdebstrapFailure(
        "Could not (resolve|connect)|Temporary failure|Connection (refused|failed|timed out)|Failed to fetch",
        "can't be fetched: its mirror does not answer",
    ),
    _MmdebstrapFailure(
        "No space left", "can't be made: no room", "have it made elsewhere: export TMPDIR=/var/tmp"
    ),
    _MmdebstrapFailure(
        "nosuid|noexec|nodev", "can't be made where it is", "have it made elsewhere: export TMPDIR=/var/tmp"
    ),
)


def run(asked: Command, suite: Suite) -> None:
    """Run mmdebstrap.

    Raises:
        ToolError: it is missing, can't be started, or takes too long.
        FetchError: it failed; the brief names the suite and the reason.
    """
    completed = process.run(replace(asked, ok=frozenset(range(256))))
    if completed.code != 0:
        raise failure(completed.output, suite)


def failure(printed: str, suite: Suite) -> FetchError:
    """The error for what mmdebstrap printed before it failed."""
    said = [line for line in printed.splitlines() if line.startswith(_COMPLAINTS)]
    details = "\n".join(said) or printed.strip()[-2000:]
    for known in _FAILURES:
        if re.search(known.pattern, printed):
            return FetchError(f"'{suite}' {known.brief}", details=details, hint=known.hint)
    return FetchError(f"'{suite}' can't be made", details=details)
