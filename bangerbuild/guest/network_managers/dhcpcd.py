"""dhcpcd: leaves the interface alone, by the names that the only card of a guest may have (dhcpcd.conf(5)).

dhcpcd can match nothing but names, and has no drop-ins: a line is put first, where no `interface` line of the
image is before it. An instance of the unit for one interface is masked.
"""

from __future__ import annotations

import fnmatch
from typing import TYPE_CHECKING

from typing_extensions import override

from bangerbuild.guest.init_system import UNIT_DIRECTORY
from bangerbuild.guest.network_managers.network_manager import NetworkManager
from bangerbuild.tree import GuestEdits, GuestFile, GuestSymlink

if TYPE_CHECKING:
    from bangerbuild.guest.network_managers.network_manager import Guest, Interface

CONFIG = "/etc/dhcpcd.conf"
CARDS = ("eth0", "en*")
LINES = f"# The address is set by bangerbuild.\ndenyinterfaces {' '.join(CARDS)}\n".encode()


class Dhcpcd(NetworkManager):
    """Keeps dhcpcd from the interface."""

    paths = ()

    @override
    def runs(self, guest: Guest) -> bool:
        return guest.services.starts("dhcpcd") or bool(_instances(guest))

    @override
    def changes(self, interface: Interface, guest: Guest) -> GuestEdits:
        mode = guest.view.mode(CONFIG)
        content = LINES + (guest.view.read(CONFIG) or b"")
        config = GuestFile(CONFIG, content, mode=0o644 if mode is None else mode)
        masks = (
            GuestSymlink(f"{UNIT_DIRECTORY}/{instance}.service", "/dev/null")
            for instance in _instances(guest)
        )
        return GuestEdits((config, *masks))


def _instances(guest: Guest) -> tuple[str, ...]:
    """The instances of the unit, `dhcpcd@eth0`, that are for the interface."""
    found = guest.services.matching("dhcpcd@?*")
    return tuple(one for one in found if any(fnmatch.fnmatchcase(one, f"dhcpcd@{card}") for card in CARDS))
