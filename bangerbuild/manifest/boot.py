"""An image's `kernel`, `initrd` and `cmdline`: host files, downloads, or patterns in the guest."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from bangerbuild.declared import BootSource, GuestBoot, HostBoot, UrlBoot
from bangerbuild.manifest.filesystem import pin
from bangerbuild.manifest.problems import InvalidValueError, quoted
from bangerbuild.manifest.values import existing, guest_path, host_path

if TYPE_CHECKING:
    from pathlib import Path

    from bangerbuild.manifest.files import Location, Table
    from bangerbuild.manifest.problems import Findings

_GLOB = frozenset("*?[")


def boot_source(table: Table, key: str, place: Location, findings: Findings) -> BootSource | None:
    """The `kernel` or `initrd` of an image; None if there is none, or none that can be built.

    Args:
        table: the image's.
        key: `kernel` or `initrd`.
        place: of the image.
        findings: takes the problems.
    """
    given: Any = table.get(key)
    if isinstance(given, str):
        read = partial(_of_host, place.document.path.parent)
        return findings.attempt(place / key, read, given, None)
    if given is None:
        return None
    _check_form(given, place / key, findings)
    if "url" in given:
        return UrlBoot(given["url"], pin(given))
    if "guest" not in given:
        return None
    return findings.attempt(place / key / "guest", _of_guest, given["guest"], None)


def check_boot(table: Table, place: Location, findings: Findings) -> None:
    """No initrd without a kernel, and no `root=` on the command line."""
    if "initrd" in table and "kernel" not in table and not place.document.is_refused_below(place.key):
        findings.add(place / "initrd", "an initrd, but no kernel", "give kernel, or leave initrd out")
    for word in table.get("cmdline", "").split():
        if word.startswith("root="):
            message = f"cmdline holds {quoted(word)}"
            findings.add(place / "cmdline", message, "leave it out: root= is added where it is needed")


def _check_form(given: Table, place: Location, findings: Findings) -> None:
    if "guest" in given and "url" in given:
        findings.add(place, "more than one source: guest and url", "leave one")
    elif "sha256" in given and "url" not in given and not place.document.is_refused_below(place.key):
        findings.add(place / "sha256", "'sha256' goes with 'url' only")


def _of_host(directory: Path, text: str) -> HostBoot:
    return HostBoot(existing(host_path(text, directory), "file"))


def _of_guest(text: str) -> GuestBoot:
    path = guest_path(text)
    directory, _, _ = path.rpartition("/")
    if _GLOB & set(directory):
        raise InvalidValueError(
            f"{quoted(text)} has a pattern in the name of a directory",
            "only the last component may hold * and ?",
        )
    return GuestBoot(path)
