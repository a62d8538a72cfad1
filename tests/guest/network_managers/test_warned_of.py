"""Each manager in a tree as its distribution ships it, enabled and not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild.guest.network_managers import settled
from bangerbuild.guest.network_managers.network_manager import Guest
from bangerbuild.guest.services import services
from tests.guest.network_managers.images import (
    ALPINE_INTERFACES,
    BINARY,
    ETC,
    INTERFACE,
    UNITS,
    enabled,
    image,
)
from tests.guest.view import OPENRC, SYSTEMD, guest

if TYPE_CHECKING:
    from collections.abc import Mapping

IFCFG = "/etc/sysconfig/network-scripts/ifcfg-eth0"
DHCP = b"DEVICE=eth0\nBOOTPROTO=dhcp\nONBOOT=yes\n"
SYSVINIT = {"/sbin/init": BINARY, "/etc/inittab": b"id:3:initdefault:\n"}
INTERFACES = {"/etc/network/interfaces": ALPINE_INTERFACES.encode()}

STARTED: dict[str, tuple[Mapping[str, bytes], str]] = {
    "openSUSE": ({**SYSTEMD, **enabled("wicked.service", "wickedd.service")}, "wicked"),
    "Arch with netctl": ({**SYSTEMD, **enabled("netctl@ethernet.service")}, "netctl"),
    "dhclient for a card": ({**SYSTEMD, **enabled("dhclient@eth0.service")}, "dhclient"),
    "Gentoo": ({**OPENRC, "/etc/runlevels/default/net.eth0": b""}, "netifrc"),
    "CentOS 7": (
        {**SYSTEMD, "/etc/rc.d/rc3.d/S10network": b"", IFCFG: DHCP},
        "the initscript 'network'",
    ),
    "CentOS 6": (
        {**SYSVINIT, "/etc/rc.d/rc3.d/S10network": b"", IFCFG: DHCP},
        "the initscript 'network'",
    ),
    "Devuan": (
        {**SYSVINIT, "/etc/rcS.d/S12networking": b"", **INTERFACES},
        "ifupdown by the initscript 'networking'",
    ),
    "CentOS 6 with NetworkManager": (
        {**SYSVINIT, "/etc/rc.d/rc5.d/S23NetworkManager": b""},
        "NetworkManager by an initscript",
    ),
}

NOT_STARTED: dict[str, Mapping[str, bytes]] = {
    "wicked that is only installed": {**SYSTEMD, f"{UNITS}/wicked.service": b"[Unit]\n"},
    "wicked that is masked": {**SYSTEMD, **enabled("wicked.service"), f"{ETC}/wicked.service": b""},
    "the loopback of netifrc": {**OPENRC, "/etc/runlevels/boot/net.lo": b""},
    "network without a card": {**SYSTEMD, "/etc/rc.d/rc3.d/S10network": b"", f"{IFCFG[:-4]}lo": DHCP},
    "network with a card that stays down": {
        **SYSTEMD,
        "/etc/rc.d/rc3.d/S10network": b"",
        IFCFG: DHCP.replace(b"yes", b'"no"'),
    },
    "network that is stopped": {**SYSTEMD, "/etc/rc.d/rc3.d/K90network": b"", IFCFG: DHCP},
    "ifupdown without a card": {
        **SYSVINIT,
        "/etc/rcS.d/S12networking": b"",
        "/etc/network/interfaces": b"auto lo\niface lo inet loopback\niface eth0 inet manual\n",
    },
}


@pytest.mark.parametrize("name", STARTED)
def test_a_manager_that_is_started_and_not_told_is_warned_of(name: str) -> None:
    files, manager = STARTED[name]
    outcome = settled(INTERFACE, image(files))
    [warning] = outcome.warnings
    assert warning.startswith(f"the image starts {manager}, which may give the interface another address")
    assert "network.mode to 'none'" in warning
    assert outcome.changes == ()


@pytest.mark.parametrize("name", NOT_STARTED)
def test_what_is_not_started_or_starts_no_card_is_not_warned_of(name: str) -> None:
    assert settled(INTERFACE, image(NOT_STARTED[name])).warnings == ()


def test_wicked_is_known_by_its_alias_network_service() -> None:
    view = guest(
        {**SYSTEMD, f"{ETC}/multi-user.target.wants/network.service": b""},
        {f"{ETC}/network.service": f"{UNITS}/wicked.service"},
    )
    outcome = settled(INTERFACE, Guest(view, services(view, keeps_machine_id=False)))
    assert [warning.partition(",")[0] for warning in outcome.warnings] == ["the image starts wicked"]
