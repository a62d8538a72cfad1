from __future__ import annotations

from dataclasses import replace

from bangerbuild.guest.network_managers.connman import Connman
from tests.guest.network_managers.images import INTERFACE, MMDEBSTRAP, enabled, image
from tests.guest.view import OPENRC, written

PATH = "/var/lib/connman/bangerbuild.config"
CONNMAN = image({**MMDEBSTRAP, **enabled("connman.service")})


def test_connman_runs_where_it_is_enabled() -> None:
    assert Connman().runs(CONNMAN)
    assert Connman().runs(image({**OPENRC, "/etc/runlevels/default/connman": b""}))
    assert not Connman().runs(image(MMDEBSTRAP))


def test_the_address_is_given_by_mac_with_its_netmask() -> None:
    assert written(Connman().changes(INTERFACE, CONNMAN))[PATH].decode() == (
        "[service_bangerbuild]\nType = ethernet\nMAC = 06:00:ac:10:00:0a\n"
        "IPv4 = 172.16.0.10/255.255.255.0/172.16.0.1\nIPv6 = off\nNameservers = 9.9.9.9,1.1.1.1\n"
    )


def test_without_gateway_and_name_servers_there_are_none() -> None:
    text = written(Connman().changes(replace(INTERFACE, gateway=None, dns=()), CONNMAN))[PATH].decode()
    assert text.endswith("IPv4 = 172.16.0.10/255.255.255.0\nIPv6 = off\n")
