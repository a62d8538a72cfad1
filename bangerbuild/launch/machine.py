"""A VM as its VMM sees it: processors, memory, drives in their order, a network card.

Every path is relative to the VM's directory in the store, so that a store can be moved or copied.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bangerbuild.disk.attachment import Attachment, Drive

if TYPE_CHECKING:
    from bangerbuild.declared import Network


@dataclass(frozen=True)
class Card:
    """A network card and the addresses its guest gives it."""

    mac: str
    tap: str | None = None
    """The host's device; None: the VM has no card, unless QEMU is told to give it one."""
    address: str | None = None
    """IPv4 with prefix length."""
    gateway: str | None = None


@dataclass(frozen=True)
class Boot:
    """What a VM with a kernel of its own starts with."""

    kernel: str
    """As the distribution packs it, for QEMU."""
    vmlinux: str
    """Unpacked, for Firecracker and cloud-hypervisor."""
    initrd: str | None
    cmdline: str
    """Without `root=`, which Firecracker adds itself."""
    vcpus: int
    memory_mib: int
    card: Card


@dataclass(frozen=True)
class Machine:
    """A VM's drives and, if its image has a kernel, all else it takes to start it."""

    name: str
    root: Attachment
    """How the disk is got at that is mounted on /."""
    disks: tuple[Drive, ...] = ()
    """The work disk, then data disks as they were declared."""
    boot: Boot | None = None

    @property
    def drives(self) -> tuple[Drive, ...]:
        """In the order in which the guest finds them."""
        return (*self.root.drives, *self.disks)


def card(name: str, network: Network) -> Card:
    """The card of the VM of this name. Without a declared MAC address it has one made of the name.

    So it is the same at every start and under every VMM, and a DHCP server knows the guest again.
    """
    return Card(network.mac or _mac(name), network.tap, network.address, network.gateway)


def _mac(name: str) -> str:
    """06:01 is locally administered, and beside the 06:00 of those made of an address."""
    return ":".join(("06", "01", *(f"{byte:02x}" for byte in hashlib.sha256(name.encode()).digest()[:4])))


def plain(machine: Machine) -> dict[str, Any] | None:
    """What it takes to start a machine, in values of Python alone; None: it has no kernel to start with.

    What has to be set up before is left out: it shows in the drive that is there afterwards.
    """
    if machine.boot is None:
        return None
    return {
        "name": machine.name,
        "root": [_plain_drive(drive) for drive in machine.root.drives],
        "refusals": dict(machine.root.refusals),
        "disks": [_plain_drive(drive) for drive in machine.disks],
        "boot": vars(machine.boot) | {"card": dict(vars(machine.boot.card))},
    }


def _plain_drive(drive: Drive) -> dict[str, Any]:
    return vars(drive) | {"options": {vmm: dict(options) for vmm, options in drive.options.items()}}


def of_plain(values: dict[str, Any]) -> Machine:
    """The machine of such values."""
    boot = values["boot"]
    return Machine(
        values["name"],
        Attachment(tuple(Drive(**one) for one in values["root"]), refusals=values["refusals"]),
        tuple(Drive(**one) for one in values["disks"]),
        Boot(**boot | {"card": Card(**boot["card"])}),
    )
