"""The kernel's command line (Documentation/admin-guide/kernel-parameters.txt)."""

from __future__ import annotations

from ipaddress import IPv4Interface
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bangerbuild.declared import Network

DEFAULT = "console=ttyS0 reboot=k panic=1"
"""A serial console; and the guest's reboot, which ends a microVM, by way of the keyboard controller."""
KERNEL_NAME_SERVERS = 2
"""As many as `ip=` has room for."""


def with_network(cmdline: str, network: Network, hostname: str) -> str:
    """The command line with `ip=` for the kernel to set the address by, if that is its mode."""
    if network.mode != "cmdline" or network.address is None:
        return cmdline
    return _with(cmdline, "ip", _ip(network, IPv4Interface(network.address), hostname))


def with_root(cmdline: str, *, is_read_only: bool = False) -> str:
    """The command line with the first virtio disk as the root, for a VMM that does not say so itself."""
    return _with(cmdline, "root", f"/dev/vda {'ro' if is_read_only else 'rw'}")


def with_words(cmdline: str, words: Sequence[str]) -> str:
    """The command line with further parameters, which hold: the kernel takes the last of a name."""
    if not words:
        return cmdline
    kernel, dashes, init = f" {cmdline} ".partition(" -- ")
    return f"{' '.join((kernel.strip(), *words))}{dashes}{init}".strip()


def _ip(network: Network, interface: IPv4Interface, hostname: str) -> str:
    """`client:server:gateway:netmask:hostname:device:autoconf:dns0:dns1` (admin-guide/nfs/nfsroot.rst)."""
    servers = network.dns[:KERNEL_NAME_SERVERS]
    gateway = network.gateway or ""
    return ":".join(
        (str(interface.ip), "", gateway, str(interface.netmask), hostname, "eth0", "off", *servers)
    )


def _with(cmdline: str, name: str, value: str) -> str:
    """A parameter that the command line has already stays as it is; what follows `--` is init's."""
    kernel, dashes, init = f" {cmdline} ".partition(" -- ")
    if not any(word.startswith(f"{name}=") for word in kernel.split()):
        kernel = f"{kernel.rstrip()} {name}={value}"
    return f"{kernel}{dashes}{init}".strip()
