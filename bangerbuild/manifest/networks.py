"""`[network.NAME]`: subnets that VMs share, and what no two of them may have in common."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from functools import partial
from ipaddress import IPv4Address, IPv4Network
from itertools import combinations
from typing import TYPE_CHECKING, Any

from bangerbuild.declared import SharedNetwork
from bangerbuild.manifest.addresses import end_of, ipv4
from bangerbuild.manifest.files import Location, ManifestFile, Table
from bangerbuild.manifest.problems import Findings, InvalidValueError, quoted
from bangerbuild.neighbours import near

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bangerbuild.declared import VM
    from bangerbuild.manifest.merge import MergedVM

MOST_VMS = 1023
"""As many ports as a bridge has (net/bridge/br_if.c; number 0 is none)."""
_WIDEST, _NARROWEST = 8, 30
_PREFIX = re.compile(r"[0-9]{1,2}")
_NO_DEVICES = {"lo", "all", "default"}
"""The loopback device, and what has these names among the sysctls of devices."""


def networks(documents: Sequence[ManifestFile], findings: Findings) -> dict[str, SharedNetwork]:
    """The networks of all files; those of which too little is known are left out."""
    found = {}
    for document in documents:
        for name, table in document.tree.get("network", {}).items():
            place = Location(document, ("network", name))
            network = _network(name, table, place, findings)
            if network and not document.is_refused_below(place.key):
                found[name] = network
    return found


def subnet(text: str) -> IPv4Network:
    """An IPv4 network with its prefix length, with room for a gateway and a VM."""
    host, slash, prefix = text.partition("/")
    address = ipv4(host)
    if not slash:
        raise InvalidValueError(f"subnet is '{text}', without a prefix length", f"such as {text}/24")
    if not _PREFIX.fullmatch(prefix) or not _WIDEST <= int(prefix) <= _NARROWEST:
        raise InvalidValueError(f"subnet is {quoted(text)}: its prefix length is none of 8 to 30")
    found = IPv4Network(text, strict=False)
    if found.network_address != address:
        raise InvalidValueError(f"subnet is '{text}', an address within {found}", f"write {found}")
    if found.is_multicast or found.is_loopback or found.is_reserved or found.network_address.packed[0] == 0:
        raise InvalidValueError(f"subnet is '{text}', which has no addresses for hosts")
    return found


def address_range(text: str, inside: IPv4Network) -> tuple[str, str]:
    """The first and the last address of a range, which lies in a subnet."""
    first, _, last = (part.strip() for part in text.partition("-"))
    ends = ipv4(first), ipv4(last or first)
    for address in ends:
        if address not in inside:
            raise InvalidValueError(f"reserve is {quoted(text)}, and {address} is not in the subnet {inside}")
    if ends[0] > ends[1]:
        raise InvalidValueError(f"reserve is {quoted(text)}, which ends before it begins", "swap the two")
    return str(ends[0]), str(ends[1])


def free_address(network: SharedNetwork) -> str:
    """The first address that is neither the gateway's nor reserved; the last one where all are."""
    hosts = IPv4Network(network.subnet)
    ranges = [(IPv4Address(first), IPv4Address(last)) for first, last in network.reserve]
    ranges.append((IPv4Address(network.gateway), IPv4Address(network.gateway)))
    address = hosts.network_address + 1
    while taken := [last for first, last in ranges if first <= address <= last]:
        address = max(taken) + 1
    return str(min(address, hosts.broadcast_address - 1))


def check_named(vms: Sequence[MergedVM], documents: Sequence[ManifestFile], findings: Findings) -> None:
    """Every network that a VM joins is there, in whichever file."""
    known = dict.fromkeys(name for document in documents for name in document.names["network"])
    for vm in vms:
        name = vm.table("network").get("name")
        if name is not None and name not in known:
            hint = near(name, known) or f"define it in [network.{name}]"
            findings.add(vm.place("network", "name"), f"unknown network '{name}'", hint)


def check_networks(
    networks: Mapping[str, SharedNetwork],
    pairs: Sequence[tuple[MergedVM, VM]],
    documents: Sequence[ManifestFile],
    findings: Findings,
) -> None:
    """No two networks may overlap or share a bridge, and a bridge has room for its VMs."""
    for one, other in combinations(networks.values(), 2):
        if IPv4Network(one.subnet).overlaps(IPv4Network(other.subnet)):
            findings.add(
                _place(other, documents) / "subnet",
                f"subnet is '{other.subnet}', which overlaps {one.subnet} of network '{one.name}'",
                "give each network addresses of its own",
            )
    _check_bridges([network for network in networks.values() if network.bridge], documents, findings)
    _check_taps(networks, pairs, findings)
    _check_ports(networks, pairs, documents, findings)


def _check_bridges(
    bridged: Sequence[SharedNetwork], documents: Sequence[ManifestFile], findings: Findings
) -> None:
    for one, other in combinations(bridged, 2):
        if one.bridge == other.bridge:
            message = f"bridge is '{other.bridge}', as that of network '{one.name}'"
            findings.add(
                _place(other, documents) / "bridge", message, "give each network a bridge of its own"
            )


def _check_taps(
    networks: Mapping[str, SharedNetwork], pairs: Sequence[tuple[MergedVM, VM]], findings: Findings
) -> None:
    bridges = {network.bridge: network.name for network in networks.values() if network.bridge}
    for merged, vm in pairs:
        if vm.network.tap in bridges:
            message = f"tap device is '{vm.network.tap}', the bridge of network '{bridges[vm.network.tap]}'"
            findings.add(merged.place("network", "tap"), message, "name one of the two otherwise")


def _check_ports(
    networks: Mapping[str, SharedNetwork],
    pairs: Sequence[tuple[MergedVM, VM]],
    documents: Sequence[ManifestFile],
    findings: Findings,
) -> None:
    joined = Counter((vm.network.name, vm.node) for _, vm in pairs)  # each node has a bridge of its own
    most: defaultdict[str | None, int] = defaultdict(int)
    for (name, _), count in joined.items():
        most[name] = max(most[name], count)
    for network in networks.values():
        if network.bridge and most[network.name] > MOST_VMS:
            findings.add(
                _place(network, documents) / "bridge",
                f"{most[network.name]} VMs join network '{network.name}', and a bridge takes {MOST_VMS}",
                "spread them over several networks",
            )


def _network(name: str, table: Table, place: Location, findings: Findings) -> SharedNetwork | None:
    if "subnet" not in table:  # the schema has told of it
        return None
    addresses = findings.attempt(place / "subnet", subnet, table["subnet"], None)
    bridge = table.get("bridge")
    if bridge in _NO_DEVICES:
        findings.add(place / "bridge", f"bridge is '{bridge}', which is no name for it", "such as br-lan")
    if table.get("nat") and bridge is None and not place.document.is_refused_below((*place.key, "bridge")):
        findings.add(place / "nat", "nat is true, but there is no bridge", 'give bridge, such as "br-lan"')
    dns = tuple(_dns(table, place, findings))
    if addresses is None:
        return None
    return SharedNetwork(
        name,
        str(addresses),
        str(_gateway(table, addresses, place, findings)),
        dns,
        tuple(_reserved(table, addresses, place, findings)),
        bridge,
        table.get("nat", False),
    )


def _gateway(table: Table, inside: IPv4Network, place: Location, findings: Findings) -> IPv4Address:
    first = inside.network_address + 1
    if "gateway" not in table:
        return first
    gateway = findings.attempt(place / "gateway", ipv4, table["gateway"], first)
    fault = end_of(gateway, inside) if gateway in inside else f"which is not in the subnet {inside}"
    if fault:
        findings.add(place / "gateway", f"gateway is '{gateway}', {fault}", f"such as {first}")
    return gateway


def _dns(table: Table, place: Location, findings: Findings) -> Iterator[str]:
    servers: list[Any] = table.get("dns", [])
    for index, server in enumerate(servers):
        yield str(findings.attempt(place / "dns" / index, ipv4, server, None))


def _reserved(
    table: Table, inside: IPv4Network, place: Location, findings: Findings
) -> Iterator[tuple[str, str]]:
    read = partial(address_range, inside=inside)
    for index, text in enumerate(table.get("reserve", ())):
        found = findings.attempt(place / "reserve" / index, read, text, None)
        if found:
            yield found


def _place(network: SharedNetwork, documents: Sequence[ManifestFile]) -> Location:
    defining = (document for document in documents if network.name in document.tree.get("network", {}))
    return Location(next(defining), ("network", network.name))
