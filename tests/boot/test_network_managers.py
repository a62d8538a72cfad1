"""Debian with each network manager told to use DHCP, with and without a DHCP server in reach."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import tomli_w

from tests.boot.conftest import Project
from tests.boot.debian import KERNEL, MANAGED, tarball
from tests.boot.initrd import MOUNT_RAW, unpack_kernel
from tests.boot.launched import Launched, SshClient, launched
from tests.boot.machine import interview, parse_report

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.boot.account import Account

# All in one file: `--dist loadscope` gives it to one worker, so the machines are built and booted once.
pytestmark = pytest.mark.boot

SYSTEMD = "/etc/systemd/system"
SERVICES = (
    *(
        "NetworkManager",
        "NetworkManager-wait-online",
        "networking",
        "dhcpcd",
        "connman",
        "connman-wait-online",
    ),
)
"""What Debian's packages enable."""

WANTS_ONLINE = """\
[Unit]
Description=Something that waits for the network, as many services do
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=true
"""

ANY_DHCP = """\
[Match]
Name=en* eth*

[Network]
DHCP=yes
"""

NETPLAN = """\
network:
  version: 2
  ethernets:
    all-en:
      match: {name: "e*"}
      dhcp4: true
"""

PROFILE = """\
[connection]
id=wired
type=ethernet
autoconnect-priority=100

[ipv4]
method=auto
"""

EXCEPT = """\
[keyfile]
unmanaged-devices=*,except:type:ethernet

[device-image]
match-device=type:ethernet
managed=1
"""
"""What desktop images have, so that NetworkManager has every card."""

INTERFACES = """\
auto lo
iface lo inet loopback

# The first card
auto eth0
iface eth0 inet dhcp
    up echo configured >/run/eth0.configured

allow-hotplug eth1
iface eth1 inet dhcp
"""

MANAGERS: dict[str, tuple[tuple[str, ...], dict[str, str]]] = {
    "networkd": (
        (),
        {"/etc/systemd/network/20-wired.network": ANY_DHCP, "/etc/netplan/50-cloud-init.yaml": NETPLAN},
    ),
    "nm": (
        ("NetworkManager", "NetworkManager-wait-online"),
        {
            "/etc/NetworkManager/system-connections/wired.nmconnection": PROFILE,
            "/etc/NetworkManager/conf.d/50-image.conf": EXCEPT,
        },
    ),
    "ifupdown": (("networking",), {"/etc/network/interfaces": INTERFACES}),
}
"""For each image what is enabled, and the files that make it use DHCP on every card."""

GATEWAY = "172.16.0.1"
SERVER = "9.9.9.9"
OTHER_MAC = "06:00:00:00:00:99"

CLOUD_INIT = """\
from cloudinit.stages import Init
init = Init()
init.read_cfg()
print(*init._find_networking_config())
"""

QUESTIONS = {
    "system": "systemctl is-system-running --wait",
    "failed units": "systemctl --failed --no-legend --plain",
    "online": "systemctl is-active network-online.target",
    "cards": "ip -j addr",
    "routes": "ip -4 -j route",
    "resolv.conf": "cat /etc/resolv.conf",
    "networkd": "networkctl list --no-legend",
    "nm": "nmcli -t -f DEVICE,STATE device",
    "hook": "cat /run/eth0.configured",
    "clients": "pgrep -a dhclient",
    "stanza": "ifquery eth0",
    "cloud-init": f"python3 -c '{CLOUD_INIT}'",
}


def _image(name: str) -> dict[str, Any]:
    enabled, files = MANAGERS[name]
    masked = [{"guest": f"{SYSTEMD}/{one}.service", "content": ""} for one in SERVICES if one not in enabled]
    modes = {path: "0600" if path.endswith(".nmconnection") else "0644" for path in files}
    written = [{"guest": path, "content": text, "mode": modes[path]} for path, text in files.items()]
    return {
        "rootfs": {"image": "managed"},
        "kernel": "vmlinuz",
        "initrd": "initrd.img",
        "cmdline": "console=ttyS0 reboot=k panic=1 quiet no_timer_check"
        + (" net.ifnames=0" if name == "ifupdown" else ""),
        "file": [*masked, *written],
        "file_sync": [{"host": name, "guest": SYSTEMD}],
    }


ADDRESSES = {name: f"172.16.0.{10 + number}" for number, name in enumerate(MANAGERS)}

MANIFEST: dict[str, Any] = {
    "defaults": {
        "memory": "384MiB",
        "root": {"format": "raw"},
        "work": {"size": "16MiB"},
        "ssh_authorized_keys": ["./id_ed25519.pub"],
        "network": {"gateway": GATEWAY, "dns": [SERVER]},
    },
    "image": {"managed": {"rootfs": {"tar": "managed.tar"}}, **{name: _image(name) for name in MANAGERS}},
    "vm": {
        name: {"image": name, "network": {"address": f"{address}/24"}} for name, address in ADDRESSES.items()
    },
}


def mac(vm: str) -> str:
    """The MAC address that a VM has by default."""
    return "06:00:" + ":".join(f"{int(part):02x}" for part in ADDRESSES[vm].split("."))


def without_dhcp(vm: str) -> Callable[[int], tuple[str, ...]]:
    """Our card is alone on its network; a second one finds a DHCP server, and leads to sshd."""

    def cards(port: int) -> tuple[str, ...]:
        forwarded = f"hostfwd=tcp:127.0.0.1:{port}-:22"
        return (
            *("-netdev", "hubport,id=net0,hubid=0"),
            *("-device", f"virtio-net-pci,netdev=net0,mac={mac(vm)},romfile="),
            *("-netdev", f"user,id=net1,net=192.168.77.0/24,restrict=on,{forwarded}"),
            *("-device", f"virtio-net-pci,netdev=net1,mac={OTHER_MAC},romfile="),
        )

    return cards


@dataclass(frozen=True)
class Visits:
    """What a VM said where its card finds a DHCP server, and where it finds none but has a second card."""

    with_dhcp: dict[str, str]
    without_dhcp: dict[str, str]


@pytest.fixture(scope="module")
def client(scratch: Path) -> SshClient:
    """Who logs in."""
    return SshClient.with_new_key(scratch / "network-managers-client")


@pytest.fixture(scope="module")
def project(scratch: Path, account: Account, client: SshClient) -> Project:
    """The VMs of MANIFEST after their first `apply`."""
    directory = scratch / "managers"
    directory.mkdir()
    (directory / "vm.toml").write_text(tomli_w.dumps(MANIFEST))
    (directory / "id_ed25519.pub").write_text(client.public_key)
    shutil.copyfile(tarball(MANAGED), directory / "managed.tar")
    unpack_kernel(tarball(KERNEL), directory, MOUNT_RAW)
    for name in MANAGERS:
        _write_units(directory / name)
    account.take(directory)
    project = Project(directory, account)
    project.apply()
    return project


def _write_units(directory: Path) -> None:
    """A tree for /etc/systemd/system with a unit that waits for the network."""
    wanted = directory / "multi-user.target.wants"
    wanted.mkdir(parents=True)
    (directory / "wants-online.service").write_text(WANTS_ONLINE)
    (wanted / "wants-online.service").symlink_to("../wants-online.service")
    if directory.name == "networkd":
        online = directory / "network-online.target.wants"
        online.mkdir()
        unit = "/usr/lib/systemd/system/systemd-networkd"
        (wanted / "systemd-networkd.service").symlink_to(f"{unit}.service")
        (online / "systemd-networkd-wait-online.service").symlink_to(f"{unit}-wait-online.service")


@pytest.fixture(scope="module")
def visits(project: Project, client: SshClient, scratch: Path) -> dict[str, Visits]:
    """Each VM is booted twice, asked, and powered off from inside."""

    def visit(vm: str) -> Visits:
        with launched(project, vm, scratch / f"{vm}.console") as machine:
            with_dhcp = _ask(client, machine)
        with launched(project, vm, scratch / f"{vm}.console", cards=without_dhcp(vm)) as machine:
            return Visits(with_dhcp, _ask(client, machine))

    with ThreadPoolExecutor() as pool:
        return dict(zip(MANAGERS, pool.map(visit, MANAGERS), strict=True))


def _ask(client: SshClient, machine: Launched) -> dict[str, str]:
    machine.wait_for_sshd()
    answers = client.run(machine, "sh -s", script=interview(QUESTIONS))
    assert answers.returncode == 0, answers.stderr
    client.run(machine, "systemctl poweroff")
    machine.wait_until_off()
    return parse_report(answers.stdout)


def card(report: dict[str, str], address: str) -> dict[str, Any]:
    """The network card with this MAC address, as `ip` shows it."""
    (found,) = (link for link in json.loads(report["cards"]) if link["address"] == address)
    return dict(found)


def addresses(report: dict[str, str], mac_address: str) -> list[tuple[str, int]]:
    """The addresses of a card, but for the link's own."""
    found = card(report, mac_address)["addr_info"]
    return [(entry["local"], entry["prefixlen"]) for entry in found if entry["scope"] != "link"]


@pytest.fixture(params=["with_dhcp", "without_dhcp"])
def situation(request: pytest.FixtureRequest) -> str:
    """Which of the two boots of a VM is looked at."""
    return str(request.param)


@pytest.fixture(params=MANAGERS)
def vm(request: pytest.FixtureRequest) -> str:
    """The VM that is looked at."""
    return str(request.param)


@pytest.fixture
def report(visits: dict[str, Visits], vm: str, situation: str) -> dict[str, str]:
    """What that VM said of itself in that boot."""
    return dict(getattr(visits[vm], situation))


def test_the_card_has_the_declared_address_and_no_other(report: dict[str, str], vm: str) -> None:
    found = [one for one in addresses(report, mac(vm)) if one[0].count(".") == 3]
    assert found == [(ADDRESSES[vm], 24)]
    assert "UP" in card(report, mac(vm))["flags"]


def test_the_only_default_route_is_the_declared_one(report: dict[str, str], vm: str) -> None:
    defaults = [route for route in json.loads(report["routes"]) if route["dst"] == "default"]
    assert [(route["gateway"], route["dev"]) for route in defaults] == [
        (GATEWAY, card(report, mac(vm))["ifname"])
    ]


def test_the_guest_asks_the_declared_name_server(report: dict[str, str]) -> None:
    assert report["resolv.conf"] == f"nameserver {SERVER}\n"


def test_what_waits_for_the_network_was_started_and_no_unit_failed(report: dict[str, str]) -> None:
    assert (report["system"], report["failed units"]) == ("running\n", "")
    assert report["online"] == "active\n"


def test_a_further_card_keeps_its_dhcp(visits: dict[str, Visits], vm: str) -> None:
    assert ("192.168.77.15", 24) in addresses(visits[vm].without_dhcp, OTHER_MAC)


def test_networkd_takes_no_address_from_routers(visits: dict[str, Visits], situation: str) -> None:
    report = getattr(visits["networkd"], situation)
    assert addresses(report, mac("networkd")) == [(ADDRESSES["networkd"], 24)]


def test_each_manager_has_what_it_was_told(visits: dict[str, Visits], situation: str) -> None:
    def said(vm: str, question: str) -> str:
        return str(getattr(visits[vm], situation)[question])

    def ours(vm: str) -> str:
        return str(card(getattr(visits[vm], situation), mac(vm))["ifname"])

    states = {line.split()[1]: line.split()[2:] for line in said("networkd", "networkd").splitlines()}
    assert states[ours("networkd")] == ["ether", "routable", "configured"]
    assert f"{ours('nm')}:unmanaged" in said("nm", "nm").splitlines()
    assert ours("ifupdown") not in said("ifupdown", "clients")
    assert "No such file" in said("ifupdown", "hook")
    assert said("ifupdown", "stanza") == ""


def test_cloud_init_finds_its_network_disabled(report: dict[str, str]) -> None:
    assert report["cloud-init"] == "None system_cfg\n"
