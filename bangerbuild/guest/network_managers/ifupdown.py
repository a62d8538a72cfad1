"""ifupdown, and what OpenRC's `networking` starts: the interface's stanzas are commented out (interfaces(5)).

Debian's ifupdown, busybox and ifupdown-ng read the same file. It has no drop-ins that change a stanza, and
only Debian's can match a MAC address, so the image's own lines are changed. In the place of the stanzas
stands one with the method `manual`: `auto` needs one, and what hooks into it is still run. `static` would
not do, since it fails where the address is set already.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from bangerbuild.guest import interfaces_file
from bangerbuild.guest.network_managers.network_manager import NetworkManager
from bangerbuild.tree import GuestEdits, GuestFile

if TYPE_CHECKING:
    from bangerbuild.guest.network_managers.network_manager import Guest, Interface

_PROGRAMS = ("/sbin/ifup", "/usr/sbin/ifup")
_HOTPLUG_RULES = ("/usr/lib/udev/rules.d/80-ifupdown.rules", "/lib/udev/rules.d/80-ifupdown.rules")
"""udev starts `ifup` for `allow-hotplug`, whether the service is enabled or not."""

DHCLIENT_HOOKS = "/etc/dhcp/dhclient-enter-hooks.d"

# dhclient-script(8) sources the files in their order, so the last to define the function has it.
_HOOK = GuestFile(
    f"{DHCLIENT_HOOKS}/zzz-bangerbuild",
    b"# /etc/resolv.conf is declared: a lease of another interface does not change it.\n"
    b"make_resolv_conf() {\n    :\n}\n",
)

_TAKEN = (
    f"'{{above}}' in {interfaces_file.PATH} of the image takes the card that gets the address, which then "
    f"may not be reached: remove '{{above}}' there, or set network.mode to 'none'"
)


class Ifupdown(NetworkManager):
    """Comments the stanzas of the interface out."""

    paths = ()

    @override
    def runs(self, guest: Guest) -> bool:
        if not any(map(guest.view.exists, _PROGRAMS)):
            return False
        return guest.services.starts("networking") or any(map(guest.view.exists, _HOTPLUG_RULES))

    @override
    def changes(self, interface: Interface, guest: Guest) -> GuestEdits:
        before = interfaces_file.files(guest.view)
        after = interfaces_file.with_manual(before, interface.mac)
        files = tuple(
            GuestFile(path, text.encode("latin-1"), mode=guest.view.mode(path) or 0o644)
            for path, text in after.items()
            if text != before[path]
        )
        asks_elsewhere = interface.declares_resolv_conf and interfaces_file.uses_dhcp(after.values())
        warnings = tuple(
            _TAKEN.format(above=above) for above in interfaces_file.takers(after.values(), interface.mac)
        )
        has_dhclient = asks_elsewhere and guest.view.exists(DHCLIENT_HOOKS)
        return GuestEdits((*files, *((_HOOK,) if has_dhclient else ())), warnings)
