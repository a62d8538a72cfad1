"""Images with network managers, as their distributions ship them: what tells of the managers, and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild.guest.network_managers.network_manager import Guest, Interface
from bangerbuild.guest.services import services
from tests.guest.view import OPENRC, SYSTEMD, guest

if TYPE_CHECKING:
    from collections.abc import Mapping

INTERFACE = Interface("06:00:ac:10:00:0a", "172.16.0.10/24", "172.16.0.1", ("9.9.9.9", "1.1.1.1"))

UNITS = "/usr/lib/systemd/system"
ETC = "/etc/systemd/system"
BINARY = b"\x7fELF"


def enabled(*units: str, target: str = "multi-user.target") -> dict[str, bytes]:
    """Units and what `systemctl enable` makes of them; a link is a file here, only its name counts."""
    paths = (f"{where}/{unit}" for unit in units for where in (UNITS, f"{ETC}/{target}.wants"))
    return dict.fromkeys(paths, b"[Unit]\n")


ARCH: Mapping[str, bytes] = {
    **SYSTEMD,
    **enabled("systemd-networkd.service", "sshd.service"),
    **enabled("systemd-networkd.socket", target="sockets.target"),
    **enabled("systemd-networkd-wait-online.service", target="network-online.target"),
    "/etc/systemd/network/20-wired.network": b"[Match]\nName=en*\nName=eth*\n\n[Network]\nDHCP=yes\n",
    "/usr/lib/systemd/network/80-container-host0.network": b"[Match]\nKind=veth\nName=host0\n",
    "/usr/lib/systemd/network/99-default.link": b"[Match]\nOriginalName=*\n",
}
"""Arch's official cloud image."""

FEDORA: Mapping[str, bytes] = {
    **SYSTEMD,
    **enabled("NetworkManager.service", "sshd.service"),
    **enabled("NetworkManager-wait-online.service", target="network-online.target"),
    **enabled("cloud-init-local.service", "cloud-init.service", target="cloud-init.target"),
    "/etc/NetworkManager/NetworkManager.conf": b"[main]\n#plugins=keyfile,ifcfg-rh\n",
    "/etc/NetworkManager/conf.d/22-wifi-mac-addr.conf": b"[connection.22]\nmatch-device=type:wifi\n",
    "/etc/cloud/cloud.cfg": b"users:\n - default\n",
    "/etc/cloud/cloud.cfg.d/05_logging.cfg": b"output: {}\n",
}
"""Fedora Cloud Base: NetworkManager makes a connection by itself, and cloud-init may write one."""

DEBIAN_CLOUD: Mapping[str, bytes] = {
    **SYSTEMD,
    **enabled("ssh.service"),
    **enabled("cloud-init-local.service", "cloud-init.service", target="cloud-init.target"),
    f"{UNITS}/systemd-networkd.service": b"[Unit]\n",
    "/usr/lib/systemd/system-generators/netplan": BINARY,
    "/etc/netplan/90-default.yaml": (
        b"network:\n    version: 2\n    ethernets:\n        all-en:\n            match:\n"
        b"                name: en*\n            dhcp4: true\n"
    ),
    "/etc/cloud/cloud.cfg": b"users:\n - default\n",
    "/etc/cloud/cloud.cfg.d/01_debian_cloud.cfg": b"apt_preserve_sources_list: true\n",
}
"""Debian 12 genericcloud: netplan starts networkd, which is not enabled."""

INTERFACES = """\
# This file describes the network interfaces available on your system
source /etc/network/interfaces.d/*

# The loopback network interface
auto lo
iface lo inet loopback

# The primary network interface
allow-hotplug ens3
iface ens3 inet dhcp
# This is an autoconfigured IPv6 interface
iface ens3 inet6 auto
"""
"""What the installer of Debian writes."""

DEBIAN: Mapping[str, bytes] = {
    **SYSTEMD,
    **enabled("networking.service", "ssh.service"),
    "/usr/sbin/ifup": BINARY,
    "/usr/lib/udev/rules.d/80-ifupdown.rules": b'SUBSYSTEM=="net", RUN+="ifupdown-hotplug"\n',
    "/etc/network/interfaces": INTERFACES.encode(),
}
"""Debian as its installer leaves it."""

ALPINE_INTERFACES = """\
auto lo
iface lo inet loopback

auto eth0
iface eth0 inet dhcp
\thostname alpine
"""

ALPINE: Mapping[str, bytes] = {
    **OPENRC,
    "/sbin/ifup": BINARY,
    "/etc/init.d/networking": b"#!/sbin/openrc-run\n",
    "/etc/runlevels/boot/networking": b"",
    "/etc/runlevels/default/sshd": b"",
    "/etc/network/interfaces": ALPINE_INTERFACES.encode(),
}
"""Alpine after setup-alpine."""

MMDEBSTRAP: Mapping[str, bytes] = {
    **SYSTEMD,
    **enabled("ssh.service"),
    f"{UNITS}/systemd-networkd.service": b"[Unit]\n",
    f"{UNITS}/initrd.target.wants/systemd-networkd.service": b"[Unit]\n",
    "/usr/lib/systemd/network/80-container-host0.network": b"[Match]\nKind=veth\n",
    "/usr/lib/systemd/system-preset/90-systemd.preset": b"enable systemd-networkd.service\n",
}
"""A minimal Debian, which has networkd and does not start it."""


def image(files: Mapping[str, bytes], *, keeps_machine_id: bool = False) -> Guest:
    """An image with these files, as a network manager sees it."""
    view = guest(files)
    return Guest(view, services(view, keeps_machine_id=keeps_machine_id))
