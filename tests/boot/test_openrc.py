"""Debian with OpenRC, whose `networking` is told to use DHCP, where no DHCP server is in reach.

Its root is joined of two disks by overlayfs; OpenRC knows nothing of the one that takes its changes.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import tomli_w

from tests.boot.conftest import Project
from tests.boot.debian import KERNEL, OPENRC, tarball
from tests.boot.initrd import MOUNT_READ_ONLY, unpack_kernel
from tests.boot.launched import Launched, SshClient, launched
from tests.boot.machine import interview, parse_report
from tests.disk.ext4_tools import assert_clean
from tests.need import need

if TYPE_CHECKING:
    from pathlib import Path

    from tests.boot.account import Account

pytestmark = pytest.mark.boot

MAC = "06:00:ac:10:00:0a"
SERVER = "9.9.9.9"
INTERFACES = """\
auto lo
iface lo inet loopback

auto eth0
iface eth0 inet dhcp
    up echo configured >/run/eth0.configured

auto eth1
iface eth1 inet dhcp
    up echo configured >/run/eth1.configured
"""
MANIFEST: dict[str, Any] = {
    "image": {
        "openrc": {
            "rootfs": {"tar": "openrc.tar", "overlay_init": True},
            "kernel": "vmlinuz",
            "initrd": "initrd.img",
            "cmdline": "console=ttyS0 reboot=k panic=1 quiet no_timer_check net.ifnames=0",
            "file": [{"guest": "/etc/network/interfaces", "content": INTERFACES}],
        }
    },
    "vm": {
        "tiny": {
            "image": "openrc",
            "memory": "384MiB",
            "root": {"format": "overlay"},
            "work": {"size": "16MiB"},
            "ssh_authorized_keys": ["./id_ed25519.pub"],
            "network": {"address": "172.16.0.10/24", "gateway": "172.16.0.1", "dns": [SERVER]},
        }
    },
}
QUESTIONS = {
    "services": "rc-status --all --nocolor",
    "crashed": "rc-status --crashed --nocolor",
    "cards": "ip -j addr",
    "routes": "ip -4 -j route",
    "resolv.conf": "cat /etc/resolv.conf",
    "clients": "pgrep -a dhclient",
    "hooks": "ls /run/eth0.configured /run/eth1.configured",
    "hostname": "hostname",
    "mounts": "findmnt -n -o FSTYPE,LABEL /root",
    "root": "findmnt -n -o FSTYPE,OPTIONS /",
    "change": "sh -c 'echo own >/etc/issue; rm /etc/motd; cat /etc/issue'",
}


def cards(port: int) -> tuple[str, ...]:
    """Our card is alone on its network; a second one finds a DHCP server, and leads to sshd."""
    return (
        *("-netdev", "hubport,id=net0,hubid=0"),
        *("-device", f"virtio-net-pci,netdev=net0,mac={MAC},romfile="),
        *("-netdev", f"user,id=net1,net=192.168.77.0/24,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22"),
        *("-device", "virtio-net-pci,netdev=net1,romfile="),
    )


@dataclass(frozen=True)
class Visited:
    """The project of a guest that has powered off, and what it said of itself in its first boot."""

    project: Project
    report: dict[str, str]


@pytest.fixture(scope="module")
def visited(scratch: Path, account: Account) -> Visited:
    """The guest was built, booted, asked and left."""
    client = SshClient.with_new_key(scratch / "openrc-client")
    directory = scratch / "openrc"
    directory.mkdir()
    (directory / "vm.toml").write_text(tomli_w.dumps(MANIFEST))
    (directory / "id_ed25519.pub").write_text(client.public_key)
    shutil.copyfile(tarball(OPENRC), directory / "openrc.tar")
    unpack_kernel(tarball(KERNEL), directory, MOUNT_READ_ONLY, ("overlay",))
    account.take(directory)
    project = Project(directory, account)
    project.apply()
    with launched(project, "tiny", scratch / "openrc.console", cards=cards) as machine:
        return Visited(project, _ask(client, machine))


@pytest.fixture(scope="module")
def report(visited: Visited) -> dict[str, str]:
    """What the guest said of itself."""
    return visited.report


def _ask(client: SshClient, machine: Launched) -> dict[str, str]:
    machine.wait_for_sshd()
    answers = client.run(machine, "sh -s", script=interview(QUESTIONS))
    assert answers.returncode == 0, answers.stderr
    client.run(machine, "poweroff")
    machine.wait_until_off()
    return parse_report(answers.stdout)


def addresses(report: dict[str, str], name: str) -> list[str]:
    """The IPv4 addresses of a card, as `ip` shows them."""
    (card,) = (link for link in json.loads(report["cards"]) if link["ifname"] == name)
    return [f"{one['local']}/{one['prefixlen']}" for one in card["addr_info"] if one["family"] == "inet"]


def started(report: dict[str, str]) -> set[str]:
    """The services that OpenRC says are started."""
    lines = (line.split() for line in report["services"].splitlines())
    return {words[0] for words in lines if "started" in words}


def test_the_card_has_the_declared_address_and_route_and_no_other(report: dict[str, str]) -> None:
    assert addresses(report, "eth0") == ["172.16.0.10/24"]
    defaults = [route for route in json.loads(report["routes"]) if route["dst"] == "default"]
    assert [(route["gateway"], route["dev"]) for route in defaults] == [("172.16.0.1", "eth0")]
    assert report["resolv.conf"] == f"nameserver {SERVER}\n"


def test_openrc_started_networking_and_our_scripts_and_nothing_crashed(report: dict[str, str]) -> None:
    assert {"networking", "bangerbuild-network", "bangerbuild-host-keys", "ssh"} <= started(report)
    assert report["crashed"] == "exit status 1\n"  # none to be listed


def test_nobody_asks_a_dhcp_server_for_our_card(report: dict[str, str]) -> None:
    assert "eth0" not in report["clients"]
    assert "/run/eth0.configured': No such file" in report["hooks"]


def test_a_further_card_keeps_its_dhcp(report: dict[str, str]) -> None:
    assert addresses(report, "eth1") == ["192.168.77.15/24"]
    assert "eth1" in report["clients"]
    assert "/run/eth1.configured\n" in report["hooks"]


def test_sysvinit_sets_the_hostname_and_mounts_the_work_disk(report: dict[str, str]) -> None:
    assert (report["hostname"], report["mounts"].split()) == ("tiny\n", ["ext4", "work"])


def test_it_runs_on_the_image_and_its_own_disk_joined(visited: Visited) -> None:
    assert visited.report["root"].startswith("overlay rw,")
    assert visited.report["change"] == "own\n"


def test_what_it_wrote_is_seen_from_outside_and_stays_when_it_is_patched(visited: Visited) -> None:
    project, disk = visited.project, visited.project.vm("tiny") / "root.upper.ext4"

    def sees_its_changes() -> bool:
        names = project.bangerbuild("ls", str(disk), "/etc").decode().split()
        return "motd" not in names and project.bangerbuild("cat", str(disk), "/etc/issue") == b"own\n"

    assert sees_its_changes()
    assert "needs_recovery" in features(
        disk
    )  # it goes down with the disk mounted: its init does not know of it
    vm = {**MANIFEST["vm"]["tiny"], "file": [{"guest": "/etc/later", "content": "later\n"}]}
    (project.directory / "vm.toml").write_text(tomli_w.dumps({**MANIFEST, "vm": {"tiny": vm}}))
    project.apply()
    assert "needs_recovery" not in features(disk)
    assert_clean(disk)
    assert sees_its_changes()
    assert project.bangerbuild("cat", str(disk), "/etc/later") == b"later\n"


def features(disk: Path) -> str:
    """What dumpe2fs says of a disk."""
    command = [need("dumpe2fs", "e2fsprogs"), "-h", str(disk)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
