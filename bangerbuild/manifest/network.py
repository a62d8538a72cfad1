"""`[vm.NAME.network]`: addresses that fit one another, and the defaults made of them."""

from __future__ import annotations

import re
from ipaddress import (
    AddressValueError,
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
)
from typing import TYPE_CHECKING, Any

from bangerbuild.declared import Network
from bangerbuild.manifest.problems import Findings, InvalidValueError, quoted
from bangerbuild.manifest.values import tap_name

if TYPE_CHECKING:
    from bangerbuild.manifest.merge import MergedVM

_SMALLEST_WITH_BROADCAST = 30  # a /31 or /32 has neither a network nor a broadcast address (RFC 3021)
_PREFIX = re.compile(r"[0-9]{1,2}")


def network(vm: MergedVM, findings: Findings) -> Network:
    """The network of a VM, its defaults filled in."""
    table: dict[str, Any] = vm.table("network")
    address = None
    if "address" in table:
        address = findings.attempt(vm.place("network", "address"), interface, table["address"], None)
    mode = table.get("mode", "bootstrap" if "address" in table else "none")
    if mode != "none" and "address" not in table and not vm.is_refused("network"):
        place = vm.own / "network" / "mode"
        findings.add(place, f"mode is '{mode}', but there is no address", "give network.address")
    return Network(
        mode=mode,
        address=str(address) if address else None,
        gateway=_gateway(vm, address, findings),
        dns=_dns(vm, findings),
        mac=_mac(vm, address, findings),
        tap=_tap(vm, mode, findings),
    )


def interface(text: str) -> IPv4Interface:
    """A host's address with its prefix length."""
    host, slash, prefix = text.partition("/")
    address = ipv4(host)
    if not slash:
        raise InvalidValueError(f"address is '{text}', without a prefix length", f"such as {text}/24")
    if not _PREFIX.fullmatch(prefix) or int(prefix) > address.max_prefixlen:
        raise InvalidValueError(f"address is {quoted(text)}: its prefix length is none of 0 to 32")
    found = IPv4Interface(text)
    if address.is_multicast or address.is_unspecified or address.is_loopback:
        raise InvalidValueError(f"address is '{text}', which is no address for a host")
    if end := _end(found.ip, found.network):
        raise InvalidValueError(f"address is '{found}', {end}")
    return found


def ipv4(text: str) -> IPv4Address:
    """An IPv4 address."""
    try:
        return IPv4Address(text)
    except AddressValueError as err:
        if _is_ipv6(text):
            raise InvalidValueError(f"{quoted(text)} is an IPv6 address: only IPv4 is supported") from err
        raise InvalidValueError(f"{quoted(text)} is no IPv4 address") from err


def mac_address(text: str) -> str:
    """A MAC address in lower case; the schema has seen to its form."""
    if int(text[:2], 16) & 1:
        raise InvalidValueError(
            f"mac is '{text}', a multicast address", "make the first byte even, such as 06"
        )
    if not int(text.replace(":", ""), 16):
        raise InvalidValueError(f"mac is '{text}', which is no address for an interface")
    return text.lower()


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except AddressValueError:
        return False
    return True


def _gateway(vm: MergedVM, address: IPv4Interface | None, findings: Findings) -> str | None:
    """The gateway; one from the defaults means nothing to a VM without an address."""
    table = vm.table("network")
    if "gateway" not in table:
        return None
    gateway = findings.attempt(vm.place("network", "gateway"), ipv4, table["gateway"], None)
    place = vm.own / "network" / "gateway"
    if gateway and address and (fault := _gateway_fault(gateway, address)):
        findings.add(place, f"gateway is '{gateway}', {fault}")
    is_alone = "address" not in table and not vm.is_refused("network")
    if is_alone and vm.place("network", "gateway") == place:
        findings.add(place, f"gateway is '{gateway}', but there is no address", "give network.address")
    return str(gateway) if address else None


def _gateway_fault(gateway: IPv4Address, address: IPv4Interface) -> str | None:
    network = address.network
    if gateway == address.ip:
        return "the VM's own address"
    if gateway not in network:
        return f"which is not in the address's network {network}"
    return _end(gateway, network)


def _end(address: IPv4Address, network: IPv4Network) -> str | None:
    """What else an address is that no host may have."""
    if network.prefixlen > _SMALLEST_WITH_BROADCAST:
        return None
    ends = {network.network_address: "network", network.broadcast_address: "broadcast"}
    return f"the {ends[address]} address of {network}" if address in ends else None


def _dns(vm: MergedVM, findings: Findings) -> tuple[str, ...]:
    place = vm.place("network", "dns")
    servers = vm.table("network").get("dns", ())
    return tuple(
        str(findings.attempt(place / index, ipv4, server, None)) for index, server in enumerate(servers)
    )


def _mac(vm: MergedVM, address: IPv4Interface | None, findings: Findings) -> str | None:
    given: str | None = vm.table("network").get("mac")
    if given is not None:
        return findings.attempt(vm.place("network", "mac"), mac_address, given, None)
    return ":".join(("06", "00", *(f"{byte:02x}" for byte in address.ip.packed))) if address else None


def _tap(vm: MergedVM, mode: str, findings: Findings) -> str | None:
    given: str | None = vm.table("network").get("tap")
    if given is not None or mode == "none":
        return given
    return findings.attempt(vm.own / "network" / "tap", tap_name, f"tap-{vm.name}", None)
