"""systemd-networkd: is given the address, in a file that it takes before all others (systemd.network(5)).

It is not told to leave the interface alone: without an interface of its own, its wait-online service would
wait for two minutes and fail. The script sets the same address, which is no second one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from bangerbuild.guest.network_managers.network_manager import NetworkManager, sorted_first
from bangerbuild.tree import GuestEdits, GuestFile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.guest.network_managers.network_manager import Guest, Interface

DIRECTORY = "/etc/systemd/network"
NAMES = ("00-bangerbuild.network", "!00-bangerbuild.network")
"""The second only where an image has a file that sorts before the first."""

_DIRECTORIES = (DIRECTORY, "/usr/local/lib/systemd/network", "/usr/lib/systemd/network")


class Networkd(NetworkManager):
    """Gives the address to systemd-networkd."""

    paths = tuple(f"{DIRECTORY}/{name}" for name in NAMES)

    @override
    def runs(self, guest: Guest) -> bool:
        return guest.services.starts("systemd-networkd")

    @override
    def changes(self, interface: Interface, guest: Guest) -> GuestEdits:
        return GuestEdits((network_file(interface, guest),))


def network_file(interface: Interface, guest: Guest) -> GuestFile:
    """The file; all directories are sorted together, and the first file that matches an interface counts."""
    names = (name for directory in _DIRECTORIES for name in guest.view.names(directory))
    name = sorted_first(NAMES, (name for name in names if name.endswith(".network")))
    return GuestFile(f"{DIRECTORY}/{name}", "".join(f"{line}\n" for line in _lines(interface)).encode())


def _lines(interface: Interface) -> Iterator[str]:
    """Yield the lines of the file.

    The type keeps bridges and VLANs out, which have the MAC address of the interface below them. Without
    ConfigureWithoutCarrier the address would be removed while the host's end of the cable is down.
    """
    yield from ("[Match]", f"MACAddress={interface.mac}", "Type=ether", "")
    yield from ("[Network]", f"Address={interface.address}")
    yield from (f"DNS={server}" for server in interface.dns)
    yield from ("IPv6AcceptRA=no", "ConfigureWithoutCarrier=yes")
    if interface.gateway is not None:
        yield from ("", "[Route]", f"Gateway={interface.gateway}")
        yield from ("GatewayOnLink=yes",) if interface.has_distant_gateway else ()
