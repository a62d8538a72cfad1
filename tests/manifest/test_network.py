"""A VM's network: what an address brings, and which addresses no host may have."""

from __future__ import annotations

import pytest

from bangerbuild.declared import Network
from bangerbuild.manifest.network import mac_address
from tests.manifest.loading import vm


def test_an_address_brings_the_mode_the_mac_and_the_tap() -> None:
    network = vm('[vm.web]\nimage = "debian"\nnetwork = { address = "10.1.2.255/16" }').network
    assert network == Network("bootstrap", "10.1.2.255/16", mac="06:00:0a:01:02:ff", tap="tap-web")


def test_an_address_may_be_left_to_the_guest_to_configure() -> None:
    network = vm('[vm.web]\nimage = "debian"\nnetwork = { address = "10.1.2.3/16", mode = "none" }').network
    assert network == Network("none", "10.1.2.3/16", mac="06:00:0a:01:02:03", tap=None)


def test_dns_servers_need_no_address() -> None:
    assert vm('[vm.web]\nimage = "debian"\nnetwork = { dns = ["1.1.1.1"] }').network == Network(
        dns=("1.1.1.1",)
    )


@pytest.mark.parametrize("prefix", ["31", "32"])
def test_the_smallest_networks_have_no_reserved_addresses(prefix: str) -> None:
    address = f"10.0.0.0/{prefix}"
    assert vm(f'[vm.web]\nimage = "debian"\nnetwork.address = "{address}"').network.address == address


def test_a_gateway_of_the_defaults_means_nothing_to_a_vm_without_an_address() -> None:
    text = '[defaults]\nimage = "debian"\nnetwork.gateway = "10.0.0.1"\n[vm.web]\n'
    assert vm(text).network.gateway is None


def test_a_mac_address_is_written_in_lower_case() -> None:
    assert mac_address("06:00:AC:10:00:0A") == "06:00:ac:10:00:0a"
