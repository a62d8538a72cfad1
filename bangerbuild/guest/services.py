"""Which services a guest starts when it boots: systemd units by links and presets, OpenRC's by runlevel."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from typing_extensions import override

from bangerbuild.guest import sysv
from bangerbuild.guest.init_system import InitSystem, init_system
from bangerbuild.guest.systemd_units import UNIT_DIRECTORIES, SystemdUnits

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.guest.view import GuestView

PRESET_DIRECTORIES = tuple(f"{directory}-preset" for directory in UNIT_DIRECTORIES)
"""systemd.preset(5)."""

BOOT_UNITS = frozenset(
    f"{name}.target"
    for name in (
        *("default", "graphical", "multi-user", "basic", "sysinit", "local-fs", "sockets", "timers", "paths"),
        *("network-pre", "network", "network-online", "cloud-init", "cloud-config"),
    )
)
"""The targets that a boot is taken to reach, whatever default.target is; rescue.target is none of them.

What they pull in counts too, and so does the target that default.target stands for.
"""

RUNLEVELS = ("sysinit", "boot", "default")
"""The runlevels of OpenRC that a boot goes through."""

MACHINE_ID = "/etc/machine-id"


class Services(Protocol):
    """The services of a guest. Their names are without `.service`."""

    def starts(self, name: str) -> bool:
        """Whether the guest starts the service at boot."""

    def matching(self, pattern: str) -> tuple[str, ...]:
        """Those linked to be started that match a shell pattern, sorted: `dhcpcd@eth0`, `net.eth0`."""


def services(view: GuestView, *, keeps_machine_id: bool) -> Services:
    """The services of a guest by its init system; without a known one, nothing is started.

    Args:
        view: the image.
        keeps_machine_id: whether the root has the image's machine-id. Without one the first boot of systemd
            enables what presets name.
    """
    match init_system(view):
        case InitSystem.SYSTEMD:
            machine_id = view.read(MACHINE_ID) if keeps_machine_id else b""
            return SystemdServices(view, has_first_boot=machine_id in {None, b"uninitialized\n"})
        case InitSystem.OPENRC:
            return OpenrcServices(view)
        case None:
            return NoServices()


@dataclass(frozen=True)
class NoServices(Services):
    """Nothing is known of what starts."""

    @override
    def starts(self, name: str) -> bool:
        return False

    @override
    def matching(self, pattern: str) -> tuple[str, ...]:
        return ()


@dataclass(frozen=True)
class OpenrcServices(Services):
    """OpenRC's: a link for each in the directory of a runlevel."""

    view: GuestView

    @cached_property
    def _started(self) -> frozenset[str]:
        return frozenset(name for level in RUNLEVELS for name in self.view.names(f"/etc/runlevels/{level}"))

    @override
    def starts(self, name: str) -> bool:
        return name in self._started

    @override
    def matching(self, pattern: str) -> tuple[str, ...]:
        return tuple(fnmatch.filter(sorted(self._started), pattern))


@dataclass(frozen=True)
class SystemdServices(Services):
    """systemd's: units that targets want, initscripts without a unit, presets if this is the first boot."""

    view: GuestView
    has_first_boot: bool = False

    @override
    def starts(self, name: str) -> bool:
        units = (f"{name}.service", f"{name}.socket")
        is_wanted = any(unit in self._wanted for unit in units) or self._is_preset(units[0])
        return is_wanted and not self._units.is_masked(units[0])

    @override
    def matching(self, pattern: str) -> tuple[str, ...]:
        units = sorted(unit for unit in self._wanted if fnmatch.fnmatchcase(unit, f"{pattern}.service"))
        return tuple(unit.removesuffix(".service") for unit in units if not self._units.is_masked(unit))

    @cached_property
    def _units(self) -> SystemdUnits:
        return SystemdUnits(self.view)

    @cached_property
    def _wanted(self) -> frozenset[str]:
        scripts = (f"{name}.service" for name in sysv.started(self.view, sysv.MULTI_USER_RUNLEVELS))
        generated = {unit for unit in scripts if not self._units.exists(unit)}
        return self._units.pulled_in(BOOT_UNITS) | generated

    def _is_preset(self, unit: str) -> bool:
        if not self.has_first_boot or not self._units.exists(unit):
            return False
        for verb, pattern in self._presets():
            if fnmatch.fnmatchcase(unit, pattern):
                return verb == "enable"
        return True

    def _presets(self) -> Iterator[tuple[str, str]]:
        """Yield the rules in their order: files by name, of two with one name the first directory's."""
        paths: dict[str, str] = {}
        for directory in PRESET_DIRECTORIES:
            for name in self.view.names(directory):
                if name.endswith(".preset"):
                    paths.setdefault(name, f"{directory}/{name}")
        for _, path in sorted(paths.items()):
            for line in (self.view.read(path) or b"").decode("latin-1").splitlines():
                words = line.split()
                if len(words) >= 2 and words[0] in {"enable", "disable"}:
                    yield words[0], words[1]
