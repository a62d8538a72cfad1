"""The address of a guest: a script that sets it at every boot, and network managers that agree on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild.guest import network_managers
from bangerbuild.guest.init_system import InitSystem, enabled_script, enabled_unit, init_system
from bangerbuild.guest.network_managers.network_manager import Guest, Interface
from bangerbuild.guest.network_scripts import (
    CONF_PATH,
    OPENRC_NAME,
    OPENRC_SCRIPT,
    SCRIPT,
    SCRIPT_PATH,
    UNIT,
    UNIT_TEXT,
)
from bangerbuild.tree import GuestChange, GuestEdits, GuestFile

if TYPE_CHECKING:
    from bangerbuild.declared import Network
    from bangerbuild.guest.view import GuestView

_NO_INIT_WARNING = (
    f"the image has neither systemd nor OpenRC, so nothing sets its address: "
    f"call {SCRIPT_PATH} from its own start scripts, or set network.mode to 'none'"
)


def bootstrap(network: Network, view: GuestView) -> GuestEdits:
    """The settings, the script that applies them, and the unit that starts it; nothing in other modes."""
    if network.mode != "bootstrap" or network.address is None:
        return GuestEdits()
    files = (
        GuestFile(CONF_PATH, _settings(network)),
        GuestFile(SCRIPT_PATH, SCRIPT.encode(), mode=0o755),
    )
    init = init_system(view)
    return GuestEdits((*files, *_start(init)), (_NO_INIT_WARNING,) if init is None else ())


def agreement(network: Network, guest: Guest, *, declares_resolv_conf: bool) -> GuestEdits:
    """What keeps the image's own network managers from giving the interface another address.

    It is needed where the kernel sets the address too (mode `cmdline`): they would remove it.
    """
    if network.mode == "none" or network.address is None or network.mac is None:
        return GuestEdits()
    interface = Interface(network.mac, network.address, network.gateway, network.dns, declares_resolv_conf)
    return network_managers.settled(interface, guest)


def _start(init: InitSystem | None) -> tuple[GuestChange, ...]:
    match init:
        case InitSystem.SYSTEMD:
            return enabled_unit(UNIT, UNIT_TEXT)
        case InitSystem.OPENRC:
            return enabled_script(OPENRC_NAME, OPENRC_SCRIPT)
        case None:
            return ()


def _settings(network: Network) -> bytes:
    values = {"MAC": network.mac, "ADDRESS": network.address, "GATEWAY": network.gateway}
    lines = [f"{key}={shell_quoted(value or '')}\n" for key, value in values.items()]
    return f"# Read by {SCRIPT_PATH}.\n{''.join(lines)}".encode()


def shell_quoted(text: str) -> str:
    """A text quoted as one word of the shell."""
    return "'" + text.replace("'", "'\\''") + "'"
