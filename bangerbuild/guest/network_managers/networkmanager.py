"""NetworkManager: leaves the interface alone, by its MAC address (NetworkManager.conf(5)).

A profile of ours would not do. If the address is there before NetworkManager starts, it ignores its
profiles; if not, its route has another metric than the script's, and both stay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from bangerbuild.guest.network_managers.network_manager import NetworkManager, sorted_last
from bangerbuild.tree import GuestEdits, GuestFile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.guest.network_managers.network_manager import Guest, Interface

DIRECTORY = "/etc/NetworkManager/conf.d"
NAMES = ("99-bangerbuild.conf", "zzz-bangerbuild.conf")
"""The second only where an image has a file that sorts after the first."""


class NetworkManagerDaemon(NetworkManager):
    """Keeps NetworkManager, its profiles and its automatic connections from the interface."""

    paths = tuple(f"{DIRECTORY}/{name}" for name in NAMES)

    @override
    def runs(self, guest: Guest) -> bool:
        return guest.services.starts("NetworkManager") or guest.services.starts("networkmanager")

    @override
    def changes(self, interface: Interface, guest: Guest) -> GuestEdits:
        names = (name for name in guest.view.names(DIRECTORY) if name.endswith(".conf"))
        content = "".join(f"{line}\n" for line in _lines(interface))
        return GuestEdits((GuestFile(f"{DIRECTORY}/{sorted_last(NAMES, names)}", content.encode()),))


def _lines(interface: Interface) -> Iterator[str]:
    """Yield the lines of the file.

    Both ways to say it are needed: an `except:` of the image's own list defeats the first, and NetworkManager
    before 1.10 does not know the second.
    """
    yield from ("[keyfile]", f"unmanaged-devices+=mac:{interface.mac}", "")
    yield from ("[device-bangerbuild]", f"match-device=mac:{interface.mac}", "managed=0")
    if interface.declares_resolv_conf:
        yield from ("", "[main]", "rc-manager=unmanaged")
