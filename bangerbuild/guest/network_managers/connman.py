"""ConnMan: is given the address, by the interface's MAC address (connman-service.config(5)).

It can be told to leave interfaces alone by their names only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from bangerbuild.guest.network_managers.network_manager import NetworkManager
from bangerbuild.tree import GuestEdits, GuestFile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.guest.network_managers.network_manager import Guest, Interface

PATH = "/var/lib/connman/bangerbuild.config"


class Connman(NetworkManager):
    """Gives the address to ConnMan."""

    paths = (PATH,)

    @override
    def runs(self, guest: Guest) -> bool:
        return guest.services.starts("connman")

    @override
    def changes(self, interface: Interface, guest: Guest) -> GuestEdits:
        content = "".join(f"{line}\n" for line in _lines(interface))
        return GuestEdits((GuestFile(PATH, content.encode()),))


def _lines(interface: Interface) -> Iterator[str]:
    ipv4 = interface.ipv4
    parts = (str(ipv4.ip), str(ipv4.netmask), interface.gateway)
    yield from ("[service_bangerbuild]", "Type = ethernet", f"MAC = {interface.mac}")
    yield f"IPv4 = {'/'.join(part for part in parts if part)}"
    yield "IPv6 = off"
    if interface.dns:
        yield f"Nameservers = {','.join(interface.dns)}"
