"""What a program that configures interfaces is told, so that a guest ends with the declared address."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
from typing import TYPE_CHECKING, Protocol

from bangerbuild.guest.services import services

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bangerbuild.guest.services import Services
    from bangerbuild.guest.view import GuestView
    from bangerbuild.tree import GuestEdits


@dataclass(frozen=True)
class Interface:
    """The one interface that is declared for a guest."""

    mac: str
    """Lower case."""
    address: str
    """IPv4 with prefix length, `172.16.0.10/24`."""
    gateway: str | None = None
    dns: tuple[str, ...] = ()
    declares_resolv_conf: bool = False
    """Whether the root's /etc/resolv.conf is written by us, so that nothing else may write it."""

    @property
    def ipv4(self) -> IPv4Interface:
        """The address with its network."""
        return IPv4Interface(self.address)

    @property
    def has_distant_gateway(self) -> bool:
        """Whether the gateway is outside of the address's own network."""
        return self.gateway is not None and IPv4Address(self.gateway) not in self.ipv4.network


@dataclass(frozen=True)
class Guest:
    """What a network manager may ask of the image."""

    view: GuestView
    services: Services
    keeps_cloud_init: bool = False
    """Whether cloud-init is to do what it does elsewhere."""


def guest_of(view: GuestView, *, keeps_machine_id: bool, keeps_cloud_init: bool = False) -> Guest:
    """The image with its services, see `services`."""
    return view.once(
        ("guest of network managers", keeps_machine_id, keeps_cloud_init),
        lambda image: Guest(image, services(image, keeps_machine_id=keeps_machine_id), keeps_cloud_init),
    )


class NetworkManager(Protocol):
    """A program that configures the interfaces of a guest unless it is told otherwise.

    One file for each kind; the registry is `NETWORK_MANAGERS` in `network_managers/__init__.py`.
    """

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths at which it writes content that differs between VMs."""

    def runs(self, guest: Guest) -> bool:
        """Whether the guest has it, and starts it at boot."""

    def changes(self, interface: Interface, guest: Guest) -> GuestEdits:
        """What gives it the address in its own language, or has it leave the interface alone."""


def sorted_first(candidates: tuple[str, ...], names: Iterable[str]) -> str:
    """The first candidate that sorts before all names, in the order of bytes; else the last candidate."""
    first = min((name for name in names if name not in candidates), default=None)
    return next((one for one in candidates if first is None or one < first), candidates[-1])


def sorted_last(candidates: tuple[str, ...], names: Iterable[str]) -> str:
    """The first candidate that sorts after all names, in the order of bytes; else the last candidate."""
    last = max((name for name in names if name not in candidates), default="")
    return next((one for one in candidates if one > last), candidates[-1])
