"""`[network.NAME]`: its defaults, what a VM takes from it, and how many may join."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.declared import Network, SharedNetwork
from bangerbuild.manifest import load
from bangerbuild.manifest.networks import MOST_VMS, free_address, subnet
from bangerbuild.manifest.problems import InvalidValueError
from tests.manifest.loading import loaded, problems, problems_of, vm, write

if TYPE_CHECKING:
    from pathlib import Path

LAN = '[network.lan]\nsubnet = "172.16.0.0/16"\ndns = ["1.1.1.1"]\n'
BRIDGED = LAN + 'bridge = "br-lan"\n'
WEB = '[vm.web]\nimage = "debian"\nnetwork.name = "lan"\nnetwork.address = "172.16.0.10"\n'


def test_the_gateway_is_the_subnets_first_address_unless_it_is_given() -> None:
    assert loaded(LAN).networks == {"lan": SharedNetwork("lan", "172.16.0.0/16", "172.16.0.1", ("1.1.1.1",))}
    given_one = loaded(LAN + 'gateway = "172.16.255.254"\n').networks["lan"]
    assert given_one.gateway == "172.16.255.254"
    assert given_one.gateway_interface == "172.16.255.254/16"


def test_all_keys_are_taken() -> None:
    text = BRIDGED + 'nat = true\nreserve = ["172.16.0.1-172.16.0.9", "172.16.1.1"]\n'
    network = loaded(text).networks["lan"]
    assert (network.bridge, network.nat) == ("br-lan", True)
    assert network.reserve == (("172.16.0.1", "172.16.0.9"), ("172.16.1.1", "172.16.1.1"))


@pytest.mark.parametrize("address", ["172.16.0.10", "172.16.0.10/16"])
def test_a_vm_takes_prefix_length_gateway_and_name_servers_from_its_network(address: str) -> None:
    found = vm(LAN + WEB.replace("172.16.0.10", address)).network
    mac = "06:00:ac:10:00:0a"
    expected = Network("bootstrap", "172.16.0.10/16", "172.16.0.1", ("1.1.1.1",), mac, "tap-web", "lan")
    assert found == expected


def test_a_vm_may_have_a_gateway_and_name_servers_of_its_own() -> None:
    found = vm(LAN + WEB + 'network.gateway = "172.16.0.254"\nnetwork.dns = []\n').network
    assert (found.gateway, found.dns) == ("172.16.0.254", ())


def test_a_vm_may_take_a_reserved_address() -> None:
    assert vm(LAN + 'reserve = ["172.16.0.10"]\n' + WEB).network.address == "172.16.0.10/16"


def test_a_vm_that_sets_its_address_itself_has_a_device_on_the_bridge_too() -> None:
    mode = 'network.mode = "none"\n'
    assert vm(BRIDGED + WEB + mode).network.tap == "tap-web"
    assert vm(LAN + WEB + mode).network.tap is None


def test_a_network_may_stand_in_another_file_and_in_the_defaults() -> None:
    write("nets.toml", LAN)
    text = 'include = ["nets.toml"]\nimage.debian.rootfs.tar = "root.tar"\n[defaults]\nnetwork.name = "lan"\n'
    vms = '[vm.web]\nimage = "debian"\nnetwork.address = "172.16.0.10"\n'
    manifest = load([write("vm.toml", text + vms)])
    assert manifest.vms["web"].network.name == "lan"


def test_a_network_that_a_broken_include_may_define_is_not_told_as_unknown() -> None:
    text = 'include = ["gone.toml"]\nimage.debian.rootfs.tar = "root.tar"\n'
    (problem,) = problems_of(text + WEB)
    assert problem.key == "include[0]"


def test_of_a_network_with_a_fault_nothing_further_is_said() -> None:
    (problem,) = problems_of('image.debian.rootfs.tar = "root.tar"\n[network.lan]\nsubnet = "x/24"\n' + WEB)
    assert problem.key == "network.lan.subnet"


def test_networks_of_two_files_may_not_have_one_name(directory: Path) -> None:
    assert directory.is_dir()
    found = problems(write("a.toml", LAN), write("b.toml", LAN.replace("172", "10")))
    assert "network 'lan' is defined twice, first in network.lan (a.toml:1)" in [one.message for one in found]


def vms(count: int) -> str:
    lines = (
        f'[vm.v{number}]\nnetwork.address = "172.16.{1 + number // 250}.{1 + number % 250}"\n'
        for number in range(count)
    )
    defaults = '[defaults]\nimage = "debian"\nnetwork.name = "lan"\n'
    return f'image.debian.rootfs.tar = "root.tar"\n{BRIDGED}{defaults}{"".join(lines)}'


def test_a_bridge_takes_as_many_vms_as_it_has_ports() -> None:
    assert len(loaded(vms(MOST_VMS)).vms) == 1023
    (problem,) = problems_of(vms(MOST_VMS + 1))
    assert (problem.key, problem.line) == ("network.lan.bridge", 5)
    assert problem.message == "1024 VMs join network 'lan', and a bridge takes 1023"
    assert problem.hint == "spread them over several networks"


@given(st.ip_addresses(v=4), st.integers(0, 32))
def test_a_subnet_is_taken_if_it_has_hosts_and_begins_where_it_says(address: object, prefix: int) -> None:
    text = f"{address}/{prefix}"
    expected = IPv4Network(text, strict=False)
    first = expected.network_address
    special = expected.is_multicast or expected.is_loopback or expected.is_reserved or first.packed[0] == 0
    if not 8 <= prefix <= 30 or first != IPv4Address(str(address)) or special:
        with pytest.raises(InvalidValueError):
            subnet(text)
    else:
        assert subnet(text) == expected


@pytest.mark.parametrize(
    ("reserve", "free"),
    [
        ((), "10.0.0.2"),
        ((("10.0.0.2", "10.0.0.3"),), "10.0.0.4"),
        ((("10.0.0.4", "10.0.0.5"), ("10.0.0.2", "10.0.0.4")), "10.0.0.6"),
        ((("10.0.0.2", "10.0.0.6"),), "10.0.0.6"),
    ],
)
def test_the_free_address_is_neither_the_gateways_nor_reserved(
    reserve: tuple[tuple[str, str], ...], free: str
) -> None:
    assert free_address(SharedNetwork("lan", "10.0.0.0/29", "10.0.0.1", reserve=reserve)) == free
