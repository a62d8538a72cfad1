"""The network managers that are not told of the address: a plan warns of those that the image starts."""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from typing_extensions import override

from bangerbuild.guest import interfaces_file, sysv
from bangerbuild.guest.init_system import init_system
from bangerbuild.guest.network_managers.network_manager import NetworkManager
from bangerbuild.tree import GuestEdits

if TYPE_CHECKING:
    from collections.abc import Callable

    from bangerbuild.guest.network_managers.network_manager import Guest, Interface

IFCFG_DIRECTORY = "/etc/sysconfig/network-scripts"


@dataclass(frozen=True)
class WarnedOf(NetworkManager):
    """A manager that is left as it is, with a warning."""

    name: str
    is_started: Callable[[Guest], bool]
    paths = ()

    @override
    def runs(self, guest: Guest) -> bool:
        return self.is_started(guest)

    @override
    def changes(self, interface: Interface, guest: Guest) -> GuestEdits:
        warning = (
            f"the image starts {self.name}, which may give the interface another address than "
            f"{interface.address}: disable it in the image, or set network.mode to 'none'"
        )
        return GuestEdits((), (warning,))


def _service(*names: str) -> Callable[[Guest], bool]:
    """Whether systemd or OpenRC starts one of these, or an instance of one."""
    return lambda guest: any(
        guest.services.starts(name) or guest.services.matching(f"{name}@?*") for name in names
    )


def _initscript(name: str) -> Callable[[Guest], bool]:
    """Whether sysvinit starts it, which is the init where there is no other that is known."""
    return lambda guest: init_system(guest.view) is None and name in sysv.started(guest.view)


def _netifrc(guest: Guest) -> bool:
    """OpenRC's own: `net.eth0`, a link to the script `net.lo`."""
    return any(name != "net.lo" for name in guest.services.matching("net.?*"))


def _network(guest: Guest) -> bool:
    """The initscript of CentOS and RHEL, if an ifcfg file has it start a card."""
    starts = guest.services.starts("network") or _initscript("network")(guest)
    return starts and any(
        _is_on_boot(guest.view.read(posixpath.join(IFCFG_DIRECTORY, name)) or b"")
        for name in guest.view.names(IFCFG_DIRECTORY)
        if name.startswith("ifcfg-") and name != "ifcfg-lo"
    )


def _is_on_boot(ifcfg: bytes) -> bool:
    return re.search(rb"""(?mi)^\s*ONBOOT=["']?no\b""", ifcfg) is None


def _ifup(guest: Guest) -> bool:
    """Whether sysvinit starts ifupdown; where systemd or OpenRC starts it, it is told."""
    return _initscript("networking")(guest) and interfaces_file.configures_cards(
        interfaces_file.files(guest.view).values()
    )


WARNED_OF: tuple[NetworkManager, ...] = (
    WarnedOf("wicked", _service("wicked", "wickedd")),
    WarnedOf("netctl", _service("netctl", "netctl-auto", "netctl-ifplugd")),
    WarnedOf("dhclient", _service("dhclient")),
    WarnedOf("netifrc", _netifrc),
    WarnedOf("the initscript 'network'", _network),
    WarnedOf("ifupdown by the initscript 'networking'", _ifup),
    *(
        WarnedOf(f"{name} by an initscript", _initscript(name))
        for name in ("NetworkManager", "network-manager", "dhcpcd", "connman")
    ),
)
"""The name of each, and how to tell that the guest starts it."""
