"""The files for systemd-networkd, judged by systemd-networkd in a namespace."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bangerbuild.bridging.networkd import names, texts
from tests.bridging.namespaces import Namespace, namespace, written
from tests.bridging.samples import EMPTY, LAN, PLAIN
from tests.need import lacking
from tests.waiting import PATIENCE_SECONDS

if TYPE_CHECKING:
    from bangerbuild.bridging.bridge import Bridge

DAEMON = Path("/lib/systemd/systemd-networkd")
PREPARE = """\
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/network /run/systemd/netif
chown systemd-network:systemd-network /run/systemd/netif
mount -t tmpfs tmpfs /etc/systemd/network
mount -t tmpfs tmpfs /dev/net
mknod -m 666 /dev/net/tun c 10 200
mount -o remount,ro /sys
cp {directory}/7* /etc/systemd/network
{daemon} >/dev/null 2>{log} &
i=0
until {done}; do
    i=$((i + 1))
    [ $i -lt {attempts} ] || break
    sleep 0.1
done
kill $!
"""
"""networkd waits for udev unless /sys is read-only, as in a container."""


def ran(host: Namespace, directory: Path, bridge: Bridge, done: str) -> None:
    """Run networkd with a network's files until a command says that it has done its work."""
    if not DAEMON.exists() or "systemd-network" not in Path("/etc/passwd").read_text():
        lacking("no systemd-networkd here: apt-get install systemd")
    script = PREPARE.format(
        directory=written(directory, bridge),
        daemon=DAEMON,
        log=directory.parent / "networkd.log",
        done=done,
        attempts=10 * PATIENCE_SECONDS,
    )
    host.run(script)


@pytest.mark.skipif(shutil.which("ip") is None, reason="no ip here: apt-get install iproute2")
def test_networkd_sets_up_what_up_sh_sets_up(tmp_path: Path) -> None:
    with namespace() as host:
        done = "ip -o link show master br-lan up | grep -q tap-web && ip -4 addr show br-lan | grep -q inet"
        ran(host, tmp_path / "lan", LAN, f"{done} && [ $(ip -o link show master br-lan up | wc -l) = 2 ]")
        log = (tmp_path / "networkd.log").read_text()
        assert {one["ifname"] for one in host.listed("link show master br-lan")} == set(LAN.taps), log
        (bridge,) = host.listed("-d addr show dev br-lan")
        assert [f"{one['local']}/{one['prefixlen']}" for one in bridge["addr_info"]] == [LAN.address]
        assert (bridge["address"], bridge["linkinfo"]["info_data"]["forward_delay"]) == (LAN.mac, 0)
        assert host.ask("ip tuntap show").count("user 65534") == 2
        assert "Unknown" not in log


def test_without_vms_no_file_is_for_ports_which_would_match_every_device() -> None:
    assert names(EMPTY) == ("70-br-lan.netdev", "70-br-lan.network")
    assert all("Name=" in text for text in texts(EMPTY, 0))


def test_packets_are_forwarded_with_nat_only() -> None:
    assert [sum("IPForward" in text for text in texts(bridge, 0)) for bridge in (LAN, PLAIN)] == [1, 0]
