"""cloud-init: configures no network, so it neither asks a DHCP server nor writes for another program.

It writes the configuration of netplan, systemd-networkd, NetworkManager or ifupdown at boot, for the one
interface that it takes for the first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from bangerbuild.guest.network_managers.network_manager import NetworkManager, sorted_last
from bangerbuild.tree import GuestEdits, GuestFile

if TYPE_CHECKING:
    from bangerbuild.guest.network_managers.network_manager import Guest, Interface

CONFIG = "/etc/cloud/cloud.cfg"
DIRECTORY = "/etc/cloud/cloud.cfg.d"
NAMES = ("99-bangerbuild.cfg", "zzz-bangerbuild.cfg")
"""The second only where an image has a file that sorts after the first: the last file counts."""
DISABLED = "/etc/cloud/cloud-init.disabled"

_SERVICES = ("cloud-init-local", "cloud-init", "cloud-init-network", "cloud-init-main")
_GENERATORS = (
    "/usr/lib/systemd/system-generators/cloud-init-generator",
    "/lib/systemd/system-generators/cloud-init-generator",
)


class CloudInit(NetworkManager):
    """Switches the network of cloud-init off."""

    paths = ()

    @override
    def runs(self, guest: Guest) -> bool:
        if guest.keeps_cloud_init or not guest.view.exists(CONFIG) or guest.view.exists(DISABLED):
            return False
        return any(map(guest.services.starts, _SERVICES))

    @override
    def changes(self, interface: Interface, guest: Guest) -> GuestEdits:
        names = (name for name in guest.view.names(DIRECTORY) if name.endswith(".cfg"))
        path = f"{DIRECTORY}/{sorted_last(NAMES, names)}"
        return GuestEdits((GuestFile(path, b"network:\n  config: disabled\n"),))
