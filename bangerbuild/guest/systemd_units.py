"""The systemd units of a guest: where their files are, which are masked, and which a target pulls in."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from bangerbuild.errors import GuestPathError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from bangerbuild.guest.view import GuestView

UNIT_DIRECTORIES = ("/etc/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system")
"""In the order of systemd.unit(5): the first that has a unit wins."""

MOST_DEPTH = 16
"""How many targets may pull in each other; a boot of a distribution has six."""

_MASK = "/dev/null"
_SETTINGS = frozenset({"Wants", "Requires", "BindsTo", "Upholds"})
"""Those of `[Unit]` that start what they name."""


@dataclass(frozen=True)
class SystemdUnits:
    """The unit files of a guest, by name; those of /run and of generators are not known."""

    view: GuestView

    @cached_property
    def directories(self) -> tuple[str, ...]:
        """With /lib only where it is not the same as /usr/lib."""
        has_own_lib = self.view.link("/lib") is None and self.view.exists("/lib/systemd/system")
        return (*UNIT_DIRECTORIES, "/lib/systemd/system") if has_own_lib else UNIT_DIRECTORIES

    def exists(self, unit: str) -> bool:
        """Whether there is a file of the unit, or a link."""
        return unit in self._paths

    def is_masked(self, unit: str) -> bool:
        """Whether the first file of the unit is empty or a link to /dev/null."""
        for path in self._paths.get(unit, [])[:1]:
            target = self._link(path)
            return self._text(path) == "" if target is None else target == _MASK
        return False

    def pulled_in(self, units: Iterable[str]) -> frozenset[str]:
        """These units and those that a start of them starts, as far as targets and aliases say it."""
        found: set[str] = set()
        new = set(units)
        for _ in range(MOST_DEPTH):
            found |= new
            new = {needed for unit in new for needed in self._needs(unit)} - found
        return frozenset(found | new)

    @cached_property
    def _paths(self) -> dict[str, list[str]]:
        """What is in the directories by its name: units, and directories such as `TARGET.wants`."""
        found: dict[str, list[str]] = {}
        for directory in self.directories:
            for name in self.view.names(directory):
                found.setdefault(name, []).append(f"{directory}/{name}")
        return found

    def _link(self, path: str) -> str | None:
        target = self.view.link(path)
        return None if target is None else posixpath.normpath(posixpath.join(posixpath.dirname(path), target))

    def _needs(self, unit: str) -> Iterator[str]:
        """Yield the name that an alias stands for, and what a target wants and requires."""
        for path in self._paths.get(unit, [])[:1]:
            if (target := self._link(path)) not in {None, _MASK}:
                yield posixpath.basename(target or "")
        if unit.endswith(".target") and not self.is_masked(unit):
            for suffix in ("wants", "requires"):
                for directory in self._paths.get(f"{unit}.{suffix}", ()):
                    yield from self.view.names(directory)
            yield from _needed(map(self._text, self._fragments(unit)))

    def _fragments(self, unit: str) -> Iterator[str]:
        """Yield the path of the unit's file and of its drop-ins, in the order in which they are read."""
        yield from self._paths.get(unit, [])[:1]
        drop_ins: dict[str, str] = {}
        for directory in self._paths.get(f"{unit}.d", ()):
            for name in self.view.names(directory):
                drop_ins.setdefault(name, f"{directory}/{name}")
        yield from (path for name, path in sorted(drop_ins.items()) if name.endswith(".conf"))

    def _text(self, path: str) -> str:
        try:
            return (self.view.read(path) or b"").decode("latin-1")
        except GuestPathError:  # a directory, which systemd does not read either
            return ""


def _needed(texts: Iterable[str]) -> Iterator[str]:
    """Yield the units that the texts of a unit name; dependencies can only be added by a drop-in."""
    for text in texts:
        section = ""
        for line in text.replace("\\\n", " ").splitlines():
            key, _, value = line.partition("=")
            if line.startswith("["):
                section = line.strip()
            elif section == "[Unit]" and key.strip() in _SETTINGS:
                yield from value.split()
