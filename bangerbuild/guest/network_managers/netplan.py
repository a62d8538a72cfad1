"""netplan: its generator starts systemd-networkd at boot, which is given the address (netplan(5)).

What netplan writes is named `10-netplan-…` and so is read after our file. Where its renderer is
NetworkManager, that is a service of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from bangerbuild.guest.network_managers.networkd import Networkd

if TYPE_CHECKING:
    from bangerbuild.guest.network_managers.network_manager import Guest

_GENERATORS = (
    "/usr/lib/systemd/system-generators/netplan",
    "/lib/systemd/system-generators/netplan",
)
_DIRECTORIES = ("/etc/netplan", "/usr/lib/netplan", "/lib/netplan")


class Netplan(Networkd):
    """Gives the address to what netplan starts."""

    @override
    def runs(self, guest: Guest) -> bool:
        return any(map(guest.view.exists, _GENERATORS)) and any(
            name.endswith(".yaml") for directory in _DIRECTORIES for name in guest.view.names(directory)
        )
