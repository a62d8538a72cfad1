"""The guest's host name and name resolution: `/etc/hostname`, `/etc/hosts` and `/etc/resolv.conf`."""

from __future__ import annotations

import functools
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


def hosts_file(hostname: str, image: bytes = b"") -> GuestFile:
    """`/etc/hosts`, hosts(5): the loopback, this machine by its name and first label, the image's rest.

    Of the image go its own name, which is what stands at 127.0.1.1, and a line that says of 127.0.0.1 no more
    than `localhost`. All other lines stay byte for byte, those of IPv6 too. Applied to its own result, the
    function changes nothing.
    """
    label = hostname.partition(".")[0]
    names = hostname if label == hostname else f"{hostname} {label}"
    ours = f"127.0.0.1 localhost\n127.0.1.1 {names}\n".encode()
    return GuestFile(HOSTS, ours + _others(image))


@functools.lru_cache(maxsize=64)
def _others(image: bytes) -> bytes:
    # Not splitlines(), which also splits at a carriage return.
    lines = image.removesuffix(b"\n").split(b"\n") if image else []
    return b"".join(line + b"\n" for line in lines if not _is_replaced(line))


def _is_replaced(line: bytes) -> bool:
    address, *names = line.partition(b"#")[0].split() or [b""]
    return address == b"127.0.1.1" or (address == b"127.0.0.1" and set(names) == {b"localhost"})


def resolv_conf_file(servers: Sequence[str]) -> GuestFile:
    """`/etc/resolv.conf`, resolv.conf(5).

    The image's own file is often a symlink into `/run`; it is replaced.
    """
    return GuestFile(RESOLV_CONF, "".join(f"nameserver {server}\n" for server in servers).encode())
