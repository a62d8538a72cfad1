"""Files for systemd-networkd, which sets up the same as up.sh at every start (systemd.netdev(5))."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.bridging.bridge import Bridge

BRIDGE = """\
[NetDev]
Name={device}
Kind=bridge
MACAddress={mac}

[Bridge]
STP=no
ForwardDelaySec=0
"""

ADDRESS = """\
[Match]
Name={device}

[Link]
RequiredForOnline=no

[Network]
Address={address}
ConfigureWithoutCarrier=yes
LinkLocalAddressing=no
"""

FORWARD = "IPForward=ipv4\n"

PORTS = """\
[Match]
{names}

[Link]
RequiredForOnline=no

[Network]
Bridge={device}
ConfigureWithoutCarrier=yes
LinkLocalAddressing=no
"""

TAP = """\
[NetDev]
Name={tap}
Kind=tap

[Tap]
User={user}
"""


def names(bridge: Bridge) -> tuple[str, ...]:
    """The names of the files. That of ports is missing where there are none: it would match any device."""
    ports = (f"71-{bridge.device}.network",) if bridge.taps else ()
    taps = (f"71-{tap}.netdev" for tap in bridge.taps)
    return (f"70-{bridge.device}.netdev", f"70-{bridge.device}.network", *ports, *taps)


def is_ours(name: str) -> bool:
    """Whether a file has a name that one of these has."""
    return name.startswith(("70-", "71-")) and name.endswith((".netdev", ".network"))


def texts(bridge: Bridge, user: int) -> Iterator[str]:
    """The texts of these files, in the same order.

    Args:
        bridge: the network's.
        user: the id of the user whom the tap devices belong to; a name may be another's elsewhere.
    """
    yield BRIDGE.format(device=bridge.device, mac=bridge.mac)
    yield ADDRESS.format(device=bridge.device, address=bridge.address) + (FORWARD if bridge.nat else "")
    if bridge.taps:
        lines = "\n".join(f"Name={tap}" for tap in bridge.taps)
        yield PORTS.format(names=lines, device=bridge.device)
    for tap in bridge.taps:
        yield TAP.format(tap=tap, user=user)
