"""Platforms as image indexes name them: `linux/amd64`, `linux/arm/v7`."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bangerbuild.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterable

_WORD = re.compile("[a-z0-9_.-]+")
_VARIANT = re.compile("v?([0-9]{1,9})")
_MACHINES = {
    "x86_64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "armv8l": ("arm", "v7"),
    "i686": ("386", ""),
    "ppc64le": ("ppc64le", ""),
    "riscv64": ("riscv64", ""),
    "s390x": ("s390x", ""),
}
"""The machine names of uname(2), as Go calls them."""
_ALIASES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64", "armhf": "arm", "i386": "386"}
_USUAL_VARIANTS = {"amd64": "v1", "arm64": "v8", "arm": "v7"}
"""The default variant of an architecture."""
_EXAMPLE = "write it like 'linux/amd64' or 'linux/arm64'"


@dataclass(frozen=True)
class Platform:
    """The platform that an image is built for."""

    os: str
    architecture: str
    """As Go calls it: `amd64`, `arm64`."""
    variant: str = ""
    """Of the architecture, such as `v7`; empty: the default one."""

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    @property
    def is_known(self) -> bool:
        """False for `unknown/unknown`, which build tools use for attestations."""
        return "unknown" not in {self.os, self.architecture}

    def rank(self, wanted: Platform) -> int | None:
        """How well it fits `wanted`: 0 is best, None does not fit. Only 32-bit ARM runs older variants."""
        if (self.os, self.architecture) != (wanted.os, wanted.architecture):
            return None
        own, other = self._known_variant(), wanted._known_variant()
        if own == other:
            return 0
        if self.architecture == "arm" and own < other:
            return _number(other) - _number(own)
        return None

    def _known_variant(self) -> str:
        return self.variant or _USUAL_VARIANTS.get(self.architecture, "")


def parse_platform(text: str) -> Platform:
    """The platform that `text` names.

    Raises:
        SourceError: it is no platform, or not Linux.
    """
    os_name, *rest = text.split("/")
    if len(rest) not in {1, 2} or not all(_WORD.fullmatch(part) for part in (os_name, *rest)):
        raise SourceError(f"'{text}' is no platform", hint=_EXAMPLE)
    if os_name != "linux":
        raise SourceError(f"'{text}' is a platform without Linux", hint=_EXAMPLE)
    architecture = _ALIASES.get(rest[0], rest[0])
    return Platform(os_name, architecture, rest[1] if len(rest) > 1 else "")


def host_platform(machine: str | None = None) -> Platform:
    """The platform of this host, or of a host with this `uname -m`."""
    machine = machine or os.uname().machine
    architecture, variant = _MACHINES.get(machine, (machine, ""))
    return Platform("linux", architecture, variant)


def best(wanted: Platform, offered: Iterable[Platform | None]) -> int | None:
    """The index of the platform that fits `wanted` best, the first of equals; None if none fits."""
    ranks = [
        (rank, index)
        for index, platform in enumerate(offered)
        if platform is not None and (rank := platform.rank(wanted)) is not None
    ]
    return min(ranks)[1] if ranks else None


def _number(variant: str) -> int:
    found = _VARIANT.fullmatch(variant)
    return int(found[1]) if found else 0
