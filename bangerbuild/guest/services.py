"""Which services a guest starts when it boots: systemd units by links and presets, OpenRC's by runlevel."""

from __future__ import annotations

import fnmatch
import posixpath
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from typing_extensions import override

from bangerbuild.guest.init_system import InitSystem, init_system

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.guest.view import GuestView

UNIT_DIRECTORIES = ("/etc/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system")
"""In the order of systemd.unit(5): the first that has a unit wins."""

PRESET_DIRECTORIES = tuple(f"{directory}-preset" for directory in UNIT_DIRECTORIES)
"""systemd.preset(5)."""

BOOT_UNITS = frozenset(
    f"{name}.target"
    for name in (
        *("default", "graphical", "multi-user", "basic", "sysinit", "local-fs", "sockets", "timers", "paths"),
        *("network-pre", "network", "network-online", "cloud-init", "cloud-config"),
    )
)
"""The targets whose `.wants` and `.requires` count: a boot reaches these, and never rescue.target."""

RUNLEVELS = ("sysinit", "boot", "default")
"""The runlevels of OpenRC that a boot goes through."""

MACHINE_ID = "/etc/machine-id"


class Services(Protocol):
    """The services of a guest. Their names are without `.service`."""

    def starts(self, name: str) -> bool:
        """Whether the guest starts the service at boot."""

    def instances(self, template: str) -> tuple[str, ...]:
        """The instances of a unit that are started, `dhcpcd@eth0` of `dhcpcd`; only systemd has them."""


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
    def instances(self, template: str) -> tuple[str, ...]:
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
    def instances(self, template: str) -> tuple[str, ...]:
        return ()


@dataclass(frozen=True)
class SystemdServices(Services):
    """systemd's: a link for each unit in `TARGET.wants`, or a preset if this is the first boot."""

    view: GuestView
    has_first_boot: bool = False

    @override
    def starts(self, name: str) -> bool:
        units = (f"{name}.service", f"{name}.socket")
        is_wanted = any(unit in self._wanted for unit in units) or self._is_preset(units[0])
        return is_wanted and not self._is_masked(units[0])

    @override
    def instances(self, template: str) -> tuple[str, ...]:
        units = sorted(unit for unit in self._wanted if fnmatch.fnmatchcase(unit, f"{template}@?*.service"))
        return tuple(unit.removesuffix(".service") for unit in units if not self._is_masked(unit))

    @cached_property
    def _wanted(self) -> frozenset[str]:
        return frozenset(unit for directory in self._unit_directories for unit in self._links(directory))

    @cached_property
    def _unit_directories(self) -> tuple[str, ...]:
        """With /lib only where it is not the same as /usr/lib."""
        has_own_lib = self.view.link("/lib") is None and self.view.exists("/lib/systemd/system")
        return (*UNIT_DIRECTORIES, "/lib/systemd/system") if has_own_lib else UNIT_DIRECTORIES

    def _links(self, directory: str) -> Iterator[str]:
        for name in self.view.names(directory):
            target, suffix = posixpath.splitext(name)
            if suffix in {".wants", ".requires"} and target in BOOT_UNITS:
                yield from self.view.names(f"{directory}/{name}")

    def _is_masked(self, unit: str) -> bool:
        """Whether the first file of the unit is empty or a link to /dev/null."""
        for directory in self._unit_directories:
            path = f"{directory}/{unit}"
            if (target := self.view.link(path)) is not None:
                return posixpath.normpath(posixpath.join(directory, target)) == "/dev/null"
            if self.view.exists(path):
                return self.view.read(path) == b""
        return False

    def _is_preset(self, unit: str) -> bool:
        if not self.has_first_boot or not any(
            self.view.exists(f"{d}/{unit}") for d in self._unit_directories
        ):
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
