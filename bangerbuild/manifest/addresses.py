"""IPv4 addresses as a manifest has them; each function takes one or refuses it."""

from __future__ import annotations

import re
from ipaddress import (
    AddressValueError,
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
)

from bangerbuild.manifest.problems import InvalidValueError, quoted

_SMALLEST_WITH_BROADCAST = 30  # a /31 or /32 has neither a network nor a broadcast address (RFC 3021)
_PREFIX = re.compile(r"[0-9]{1,2}")


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
    if end := end_of(found.ip, found.network):
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


def end_of(address: IPv4Address, network: IPv4Network) -> str | None:
    """What else an address is that no host may have."""
    if network.prefixlen > _SMALLEST_WITH_BROADCAST:
        return None
    ends = {network.network_address: "network", network.broadcast_address: "broadcast"}
    return f"the {ends[address]} address of {network}" if address in ends else None


def _is_ipv6(text: str) -> bool:
    try:
        IPv6Address(text)
    except AddressValueError:
        return False
    return True
