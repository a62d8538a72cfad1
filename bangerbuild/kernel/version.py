"""Extract and compare the versions in the names of kernels and initrds.

Versions compare as in Debian (deb-version(7)): digits by value, `~` before everything, even the end. A
flavour (`-cloud-amd64`, `-generic`) is no part of the version.
"""

from __future__ import annotations

import re

_VERSION = re.compile(r"(?<!\w)[0-9].*|[0-9]+\.[0-9].*")
_SUFFIX = re.compile(r"\.(?:img|gz|xz|zst|bz2|lz4|lzma|cpio|efi)$")
_FLAVOUR = re.compile(r"(?:-(?!rc[0-9]|trunk)[A-Za-z][\w.+]*)+$|\.(?:x86_64|aarch64)(?:\+\w+)?$")
_EARLY = re.compile(r"-(?=rc[0-9]|trunk)")
_PIECE = re.compile(r"([^0-9]*)([0-9]*)")

PartKey = tuple[tuple[tuple[int, ...], int], ...]
VersionKey = tuple[PartKey, ...]


def version_in(name: str) -> str | None:
    """The release in a file's name, `6.1.0-9-amd64` of `initrd.img-6.1.0-9-amd64`; None if it has none."""
    found = _VERSION.search(name)
    return _SUFFIX.sub("", found[0]) if found else None


def release_key(release: str) -> VersionKey:
    """The sort key of a release, the newest last; equal for flavours of one version."""
    return debian_key(_EARLY.sub("~", _FLAVOUR.sub("", release)))


def debian_key(version: str) -> VersionKey:
    """The sort key of a version as dpkg compares them, without epochs: upstream version, then revision."""
    return tuple(_part_key(part) for part in version.split("-"))


def _part_key(part: str) -> PartKey:
    pieces = [(_order(text), int(digits or 0)) for text, digits in _PIECE.findall(part)]
    return (*pieces, (_order(""), 0))


def _order(text: str) -> tuple[int, ...]:
    """The order of a text: `~`, then the end, then letters, then everything else."""
    return (*(-1 if sign == "~" else ord(sign) + 256 * (not sign.isalpha()) for sign in text), 0)


def names_release(name: str, release: str) -> bool:
    """Whether a file's name contains exactly this release, not one that only begins with it."""
    return re.search(rf"(?<![\w.+~]){re.escape(release)}(?![\w+~-]|\.[0-9])", name) is not None
