"""A network as its host sees it: a bridge, the tap devices on it, and whether it leads to the outside."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from ipaddress import IPv4Interface

_GROUPS = 0x62 << 24
"""Device groups from here on are ours: nobody numbers groups by hand so high, and an int holds them."""


@dataclass(frozen=True)
class Bridge:
    """One network's."""

    network: str
    """The network's name."""
    device: str
    address: str
    """The gateway of the VMs, with prefix length."""
    nat: bool
    taps: tuple[str, ...]

    @property
    def subnet(self) -> str:
        """The network's addresses, with prefix length."""
        return str(IPv4Interface(self.address).network)

    @property
    def mac(self) -> str:
        """The bridge's own, so that it does not change with its ports; 06:00 and 06:01 are those of VMs."""
        return ":".join(("06", "02", *(f"{byte:02x}" for byte in IPv4Interface(self.address).ip.packed)))

    @property
    def group(self) -> int:
        """The device group that says which devices are ours, and by which all are deleted at once."""
        digest = hashlib.sha256(f"{self.network} {self.device}".encode()).digest()
        return _GROUPS | int.from_bytes(digest[:3], "big")

    @property
    def table(self) -> str:
        """The name of the table in nftables."""
        return f"bangerbuild-{self.device}"
