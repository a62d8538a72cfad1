"""A bridge's own address, its group and its table."""

from __future__ import annotations

from dataclasses import replace

from tests.bridging.samples import DMZ, LAN


def test_the_subnet_is_that_of_the_address() -> None:
    assert LAN.subnet == "172.16.0.0/16"


def test_the_mac_address_is_made_of_the_address_and_is_none_of_a_vm() -> None:
    assert LAN.mac == "06:02:ac:10:00:01"


def test_the_group_differs_from_network_to_network_and_from_bridge_to_bridge() -> None:
    groups = {LAN.group, DMZ.group, replace(LAN, device="br0").group, replace(LAN, network="l").group}
    assert len(groups) == 4
    assert all(1 << 30 < group < 1 << 31 for group in groups)


def test_the_table_is_that_of_the_device_of_which_a_host_has_one() -> None:
    assert LAN.table == "bangerbuild-br-lan"
