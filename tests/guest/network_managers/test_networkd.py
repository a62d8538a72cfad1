from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bangerbuild.guest.network_managers.networkd import Networkd
from tests.guest.network_managers.images import ARCH, INTERFACE, MMDEBSTRAP, image
from tests.guest.view import written

if TYPE_CHECKING:
    from bangerbuild.guest.network_managers.network_manager import Interface

PATH = "/etc/systemd/network/00-bangerbuild.network"


def content(interface: Interface) -> str:
    return written(Networkd().changes(interface, image(ARCH)))[PATH].decode()


def test_networkd_runs_where_it_is_enabled_and_not_where_it_is_only_installed() -> None:
    assert Networkd().runs(image(ARCH))
    assert not Networkd().runs(image(MMDEBSTRAP))


def test_networkd_runs_at_a_first_boot_where_a_preset_enables_it() -> None:
    assert Networkd().runs(image(MMDEBSTRAP, keeps_machine_id=True))


def test_the_address_is_given_by_mac_with_route_and_name_servers() -> None:
    assert content(INTERFACE) == (
        "[Match]\nMACAddress=06:00:ac:10:00:0a\nType=ether\n\n"
        "[Network]\nAddress=172.16.0.10/24\nDNS=9.9.9.9\nDNS=1.1.1.1\nIPv6AcceptRA=no\n"
        "ConfigureWithoutCarrier=yes\n\n[Route]\nGateway=172.16.0.1\n"
    )


def test_without_a_gateway_there_is_no_route() -> None:
    assert "[Route]" not in content(replace(INTERFACE, gateway=None))


def test_a_gateway_outside_of_the_network_is_on_the_link() -> None:
    assert content(replace(INTERFACE, address="172.16.0.10/32")).endswith(
        "[Route]\nGateway=172.16.0.1\nGatewayOnLink=yes\n"
    )


@pytest.mark.parametrize("directory", ["/etc/systemd/network", "/usr/lib/systemd/network"])
def test_the_file_sorts_before_an_early_file_of_the_image(directory: str) -> None:
    files = {**ARCH, f"{directory}/00-all.network": b"[Match]\nName=*\n"}
    [path] = written(Networkd().changes(INTERFACE, image(files)))
    assert path == "/etc/systemd/network/!00-bangerbuild.network"


def test_links_and_devices_of_an_image_do_not_count_for_the_name() -> None:
    files = {**ARCH, "/etc/systemd/network/00-a.link": b"", "/etc/systemd/network/00-a.netdev": b""}
    assert list(written(Networkd().changes(INTERFACE, image(files)))) == [PATH]
