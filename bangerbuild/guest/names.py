"""The guest's host name and name resolution: `/etc/hostname`, `/etc/hosts` and `/etc/resolv.conf`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild.tree import GuestFile

if TYPE_CHECKING:
    from collections.abc import Sequence

HOSTNAME = "/etc/hostname"
HOSTS = "/etc/hosts"
RESOLV_CONF = "/etc/resolv.conf"


def hostname_file(hostname: str) -> GuestFile:
    """`/etc/hostname`, hostname(5)."""
    return GuestFile(HOSTNAME, f"{hostname}\n".encode())


def hosts_file(hostname: str) -> GuestFile:
    """`/etc/hosts`, hosts(5): the loopback, and this machine by its full name and its first label."""
    label = hostname.partition(".")[0]
    names = hostname if label == hostname else f"{hostname} {label}"
    return GuestFile(HOSTS, f"127.0.0.1 localhost\n127.0.1.1 {names}\n".encode())


def resolv_conf_file(servers: Sequence[str]) -> GuestFile:
    """`/etc/resolv.conf`, resolv.conf(5).

    The image's own file is often a symlink into `/run`; it is replaced.
    """
    return GuestFile(RESOLV_CONF, "".join(f"nameserver {server}\n" for server in servers).encode())
