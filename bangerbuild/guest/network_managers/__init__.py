"""The registry of network managers: a new one is a module here, a line below, and tests.

One that can't be told of the address is a line in `warned_of.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild.guest.network_managers.cloud_init import CloudInit
from bangerbuild.guest.network_managers.connman import Connman
from bangerbuild.guest.network_managers.dhcpcd import Dhcpcd
from bangerbuild.guest.network_managers.ifupdown import Ifupdown
from bangerbuild.guest.network_managers.netplan import Netplan
from bangerbuild.guest.network_managers.networkd import Networkd
from bangerbuild.guest.network_managers.networkmanager import NetworkManagerDaemon
from bangerbuild.guest.network_managers.warned_of import WARNED_OF
from bangerbuild.tree import GuestEdits

if TYPE_CHECKING:
    from bangerbuild.guest.network_managers.network_manager import Guest, Interface, NetworkManager
    from bangerbuild.tree import GuestChange

NETWORK_MANAGERS: tuple[NetworkManager, ...] = (
    Networkd(),
    Netplan(),
    NetworkManagerDaemon(),
    CloudInit(),
    Ifupdown(),
    Dhcpcd(),
    Connman(),
    *WARNED_OF,
)

OWN_PATHS = frozenset(path for manager in NETWORK_MANAGERS for path in manager.paths)
"""The paths at which they write content that differs between VMs."""


def running(guest: Guest) -> tuple[NetworkManager, ...]:
    """The managers that the guest has and starts."""
    return guest.view.once(
        ("running network managers", guest.services, guest.keeps_cloud_init),
        lambda _image: tuple(manager for manager in NETWORK_MANAGERS if manager.runs(guest)),
    )


def settled(interface: Interface, guest: Guest) -> GuestEdits:
    """What makes all managers that the guest runs agree on the declared address."""
    edits = GuestEdits.joined(manager.changes(interface, guest) for manager in running(guest))
    by_path: dict[str, GuestChange] = {change.path: change for change in edits.changes}
    return GuestEdits(tuple(by_path.values()), edits.warnings)
