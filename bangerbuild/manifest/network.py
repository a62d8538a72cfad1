"""`[vm.NAME.network]`: addresses that fit one another, and the defaults made of them."""

from __future__ import annotations

from functools import lru_cache, partial
from ipaddress import IPv4Interface, IPv4Network
from typing import TYPE_CHECKING, Any

from bangerbuild.declared import Network
from bangerbuild.manifest.addresses import end_of, interface, ipv4
from bangerbuild.manifest.networks import free_address
from bangerbuild.manifest.problems import Findings, InvalidValueError
from bangerbuild.manifest.values import default_tap

if TYPE_CHECKING:
    from collections.abc import Mapping
    from ipaddress import IPv4Address

    from bangerbuild.declared import SharedNetwork
    from bangerbuild.manifest.merge import MergedVM


def network(vm: MergedVM, networks: Mapping[str, SharedNetwork], findings: Findings) -> Network:
    """The network of a VM, its defaults and what it takes from the one that it joins filled in."""
    table: dict[str, Any] = vm.table("network")
    shared = networks.get(table.get("name", ""))
    address = _address(vm, shared, findings)
    mode = table.get("mode", "bootstrap" if "address" in table else "none")
    has_one = "address" in table or "name" in table  # what is wrong with a network is told there
    if mode != "none" and not has_one and not vm.is_refused("network"):
        place = vm.own / "network" / "mode"
        findings.add(place, f"mode is '{mode}', but there is no address", "give network.address")
    return Network(
        mode=mode,
        address=str(address) if address else None,
        gateway=_gateway(vm, address, shared, findings),
        dns=_dns(vm, shared, findings),
        mac=_mac(vm, address, findings),
        tap=_tap(vm, mode, shared),
        name=shared.name if shared else None,
    )


def joined_interface(text: str, shared: SharedNetwork) -> IPv4Interface:
    """The address of a host in a network, with the prefix length of its subnet, which may be left out."""
    subnet = _subnet(shared.subnet)
    given = interface(text if "/" in text else f"{text}/32")
    if given.ip not in subnet:
        message = f"address is '{text}', which is not in {subnet}, the subnet of network '{shared.name}'"
        raise InvalidValueError(message, f"such as {free_address(shared)}")
    if "/" in text and given.network.prefixlen != subnet.prefixlen:
        message = f"address is '{text}', and network '{shared.name}' has the prefix length {subnet.prefixlen}"
        raise InvalidValueError(message, f"write {given.ip}")
    if str(given.ip) == shared.gateway:
        message = f"address is '{text}', the gateway of network '{shared.name}'"
        raise InvalidValueError(message, f"such as {free_address(shared)}")
    if end := end_of(given.ip, subnet):
        raise InvalidValueError(f"address is '{text}', {end}", f"such as {free_address(shared)}")
    return IPv4Interface((given.ip, subnet.prefixlen))


@lru_cache(64)
def _subnet(text: str) -> IPv4Network:
    """Read once for all VMs of a network."""
    return IPv4Network(text)


def mac_address(text: str) -> str:
    """A MAC address in lower case; the schema has seen to its form."""
    if int(text[:2], 16) & 1:
        raise InvalidValueError(
            f"mac is '{text}', a multicast address", "make the first byte even, such as 06"
        )
    if not int(text.replace(":", ""), 16):
        raise InvalidValueError(f"mac is '{text}', which is no address for an interface")
    return text.lower()


def _address(vm: MergedVM, shared: SharedNetwork | None, findings: Findings) -> IPv4Interface | None:
    table = vm.table("network")
    if "address" not in table:
        return None
    if "name" in table and not shared:  # what is wrong with that network is told there
        return None
    read = partial(joined_interface, shared=shared) if shared else interface
    return findings.attempt(partial(vm.place, "network", "address"), read, table["address"], None)


def _gateway(
    vm: MergedVM, address: IPv4Interface | None, shared: SharedNetwork | None, findings: Findings
) -> str | None:
    """The gateway; one from the defaults means nothing to a VM without an address."""
    table = vm.table("network")
    if "gateway" not in table:
        return shared.gateway if shared and address else None
    gateway = findings.attempt(partial(vm.place, "network", "gateway"), ipv4, table["gateway"], None)
    place = vm.own / "network" / "gateway"
    if gateway and address and (fault := _gateway_fault(gateway, address)):
        findings.add(place, f"gateway is '{gateway}', {fault}")
    is_alone = not {"address", "name"} & table.keys() and not vm.is_refused("network")
    if is_alone and vm.place("network", "gateway") == place:
        findings.add(place, f"gateway is '{gateway}', but there is no address", "give network.address")
    return str(gateway) if address else None


def _gateway_fault(gateway: IPv4Address, address: IPv4Interface) -> str | None:
    network = address.network
    if gateway == address.ip:
        return "the VM's own address"
    if gateway not in network:
        return f"which is not in the address's network {network}"
    return end_of(gateway, network)


def _dns(vm: MergedVM, shared: SharedNetwork | None, findings: Findings) -> tuple[str, ...]:
    if shared and "dns" not in vm.table("network"):
        return shared.dns
    servers = vm.table("network").get("dns", ())
    if not servers:
        return ()
    place = vm.place("network", "dns")
    return tuple(
        str(findings.attempt(place / index, ipv4, server, None)) for index, server in enumerate(servers)
    )


def _mac(vm: MergedVM, address: IPv4Interface | None, findings: Findings) -> str | None:
    given: str | None = vm.table("network").get("mac")
    if given is not None:
        return findings.attempt(partial(vm.place, "network", "mac"), mac_address, given, None)
    return ":".join(("06", "00", *(f"{byte:02x}" for byte in address.ip.packed))) if address else None


def _tap(vm: MergedVM, mode: str, shared: SharedNetwork | None) -> str | None:
    """A VM on a bridge has a device there, whoever sets its address."""
    given: str | None = vm.table("network").get("tap")
    has_one = mode != "none" or (shared is not None and shared.bridge is not None)
    return default_tap(vm.name) if given is None and has_one else given
