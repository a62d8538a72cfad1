"""up.sh and down.sh, run by dash in network namespaces: what they set up, leave alone and refuse."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from bangerbuild.bridging.scripts import down, up
from tests.bridging.namespaces import Namespace, namespace, written
from tests.bridging.samples import DMZ, EMPTY, LAN, PLAIN
from tests.need import need

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bangerbuild.bridging.bridge import Bridge

FORWARD = "cat /proc/sys/net/ipv4/ip_forward"


@pytest.fixture
def host() -> Iterator[Namespace]:
    with namespace() as made:
        yield made


@pytest.fixture
def lan(tmp_path: Path) -> Path:
    return written(tmp_path / "a store's $HOME" / "net" / "lan", LAN)


def quoted(script: Path) -> str:
    return '"' + str(script).replace("$", "\\$") + '"'


def ups(host: Namespace, directory: Path) -> str:
    return host.ask(f"dash {quoted(directory / 'up.sh')}")


def downs(host: Namespace, directory: Path) -> str:
    return host.ask(f"dash {quoted(directory / 'down.sh')}")


def refused(host: Namespace, directory: Path, script: str = "up.sh", before: str = "") -> str:
    """What a script says that must fail."""
    done = host.run(f"{before} dash {quoted(directory / script)}")
    assert done.returncode == 1, done
    return done.stderr


def carrying(host: Namespace, *commands: str) -> None:
    """Another interface of the host, and what is done with it."""
    host.ask("ip link add v0 type veth peer name v1 && ip link set v0 up && ip link set v1 up")
    for command in commands:
        host.ask(command)


# The texts


@pytest.mark.parametrize("bridge", [LAN, PLAIN, EMPTY])
def test_shellcheck_finds_nothing_and_dash_reads_the_scripts(tmp_path: Path, bridge: Bridge) -> None:
    for name, text in (("up.sh", up(bridge)), ("down.sh", down(bridge))):
        (tmp_path / name).write_text(text)
        for judge in (("shellcheck",), ("dash", "-n")):
            command = [need(judge[0]), *judge[1:], str(tmp_path / name)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_without_root_nothing_is_tried(tmp_path: Path) -> None:
    need("ip", "iproute2")
    (tmp_path / "up.sh").write_text(up(PLAIN))
    tmp_path.chmod(0o755)
    user = 65534 if os.geteuid() == 0 else None
    command = [need("dash"), "-c", up(PLAIN).replace("cd -P", ": cd -P"), "up.sh"]
    done = subprocess.run(command, user=user, capture_output=True, text=True, check=False, cwd="/")
    assert (done.returncode, done.stderr) == (1, "up.sh: needs root\n")


# What is set up


def test_the_bridge_has_the_gateway_and_the_taps_which_are_the_owners_of_the_directory(
    host: Namespace, lan: Path
) -> None:
    assert ups(host, lan) == "The network lan is up: br-lan has the address 172.16.0.1/16.\n"
    (bridge,) = host.listed("-d addr show dev br-lan")
    assert [(one["local"], one["prefixlen"]) for one in bridge["addr_info"] if one["family"] == "inet"] == [
        ("172.16.0.1", 16)
    ]
    assert bridge["address"] == LAN.mac
    assert bridge["linkinfo"]["info_data"]["forward_delay"] == 0
    ports = host.listed("link show master br-lan")
    assert {port["ifname"] for port in ports if "UP" in port["flags"]} == set(LAN.taps)
    taps = host.ask("ip tuntap show").splitlines()
    assert sorted(taps) == [f"{tap}: tap persist user 65534" for tap in LAN.taps]
    assert host.ask(FORWARD) == "1\n"
    assert "masquerade" in host.ask("nft list table inet bangerbuild-br-lan")


def test_up_twice_changes_nothing_and_down_leaves_everything_as_it_was(host: Namespace, lan: Path) -> None:
    host.ask("echo 0 >/proc/sys/net/ipv4/conf/all/accept_redirects")
    carrying(host, "ip address add 10.0.0.1/24 dev v0", "echo 1 >/proc/sys/net/ipv4/conf/v0/forwarding")
    host.ask("nft add table inet other")
    before = host.state()
    ups(host, lan)
    once = host.state()
    assert once != before
    ups(host, lan)
    assert host.state() == once
    assert downs(host, lan) == "The network lan is down.\n"
    assert host.state() == before
    downs(host, lan)
    assert host.state() == before


def test_a_host_that_forwards_already_goes_on_to(host: Namespace, lan: Path) -> None:
    host.ask("echo 1 >/proc/sys/net/ipv4/ip_forward")
    before = host.state()
    ups(host, lan)
    downs(host, lan)
    assert host.state() == before


@pytest.mark.parametrize("first_down", [0, 1])
def test_of_two_networks_the_last_one_puts_the_sysctls_back(
    host: Namespace, tmp_path: Path, first_down: int
) -> None:
    networks = [written(tmp_path / one.network, one) for one in (LAN, DMZ)]
    before = host.state()
    for network in networks:
        ups(host, network)
    downs(host, networks[first_down])
    assert host.ask(FORWARD) == "1\n"
    downs(host, networks[1 - first_down])
    assert host.state() == before


def test_a_network_without_nat_forwards_nothing(host: Namespace, tmp_path: Path) -> None:
    before = host.state()
    ups(host, written(tmp_path / "lan", PLAIN))
    assert host.ask(FORWARD) == "0\n"
    assert host.ask("nft list ruleset") == ""
    downs(host, tmp_path / "lan")
    assert host.state() == before


def test_what_the_manifest_says_anew_is_brought_about(host: Namespace, tmp_path: Path) -> None:
    states = [
        PLAIN,
        replace(PLAIN, taps=(*PLAIN.taps, "tap-x")),
        LAN,
        replace(LAN, address="172.16.0.2/24"),
        EMPTY,
    ]
    directory, before = tmp_path / "lan", host.state()
    for bridge, after in pairwise((*states, states[0])):
        ups(host, written(directory, bridge))
        ups(host, written(directory, after))
        assert host.ask("ip -4 -o address show dev br-lan").split()[3] == after.address
        ports = {port["ifname"] for port in host.listed("link show master br-lan")}
        assert ports >= set(after.taps)
        rules = host.ask("nft list ruleset")
        assert (after.subnet in rules) == after.nat
        assert host.ask(FORWARD) == f"{int(after.nat)}\n"
    downs(host, directory)
    assert host.state() == before


def test_taps_of_vms_that_are_declared_no_more_go_unless_they_are_open_or_not_ours(
    host: Namespace, tmp_path: Path
) -> None:
    directory = written(tmp_path / "lan", replace(PLAIN, taps=(*PLAIN.taps, "tap-old", "tap-open")))
    ups(host, directory)
    host.ask("ip tuntap add dev tap-mine mode tap && ip link set tap-mine master br-lan up")
    host.ask(f"ip tuntap add dev tap-root mode tap && ip link set tap-root group {PLAIN.group}")
    written(tmp_path / "lan", PLAIN)
    opened = f"{sys.executable} -c '{OPEN_TAP}' tap-open dash {quoted(directory / 'up.sh')}"
    done = host.run(opened)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "up.sh: tap-open stays, as the VM that it was made for still runs\n"
    assert taps(host) == {*PLAIN.taps, "tap-open", "tap-mine", "tap-root"}
    ups(host, directory)
    assert taps(host) == {*PLAIN.taps, "tap-mine", "tap-root"}


OPEN_TAP = """\
import fcntl, os, struct, subprocess, sys
fd = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(fd, 0x400454CA, struct.pack("16sH22x", sys.argv[1].encode(), 0x5002))
sys.exit(subprocess.run(sys.argv[2:]).returncode)
"""
"""Runs a command while a tap device is open (linux/if_tun.h)."""


def taps(host: Namespace) -> set[str]:
    """The names of all tap devices."""
    return {line.partition(":")[0] for line in host.ask("ip tuntap show").splitlines()}


def test_a_run_waits_for_another_one_of_the_same_network(host: Namespace, lan: Path) -> None:
    held = os.open(lan, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    command = ["ip", "netns", "exec", host.name, need("dash"), str(lan / "up.sh")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as waiting:
        assert waiting.stderr is not None
        assert waiting.stderr.readline() == "up.sh: waits for another run\n"
        assert "br-lan" not in host.ask("ip -o link show")
        os.close(held)
        said, errors = waiting.communicate()
    assert (waiting.returncode, errors) == (0, "")
    assert said == "The network lan is up: br-lan has the address 172.16.0.1/16.\n"


def test_a_tap_that_was_taken_off_the_bridge_is_put_back_on_it(host: Namespace, lan: Path) -> None:
    ups(host, lan)
    host.ask("ip link set dev tap-web nomaster down && ip link delete tap-db")
    ups(host, lan)
    ports = host.listed("link show master br-lan up")
    assert {port["ifname"] for port in ports} == set(LAN.taps)


def test_a_thousand_taps_are_set_up_and_taken_down(host: Namespace, tmp_path: Path) -> None:
    many = replace(PLAIN, taps=tuple(f"tap-runner-{number:04}" for number in range(1000)))
    directory, before = written(tmp_path / "lan", many), host.state()
    ups(host, directory)
    assert len(host.listed("link show master br-lan up")) == 1000
    ups(host, directory)
    downs(host, directory)
    assert host.state() == before


# What is refused, before anything is changed


NOT_MADE = "already, which was not made for the network lan: "
IN_USE = "the subnet 172.16.0.0/16 is in use: "
TAP_HINT = "network.tap in the manifest, or remove it: ip link delete tap-web"
IN_THE_WAY = {
    "a bridge of somebody else": (
        ("ip link add br-lan type bridge",),
        f"there is a device br-lan {NOT_MADE}name another bridge in the manifest, or remove that one",
    ),
    "a tap of somebody else": (
        ("ip tuntap add dev tap-web mode tap",),
        f"there is a device tap-web {NOT_MADE}name another {TAP_HINT}",
    ),
    "the gateway on another interface": (
        ("ip address add 172.16.0.1/32 dev v0",),
        f"{IN_USE}172.16.0.1 is an address of v0",
    ),
    "an address of the subnet": (
        ("ip address add 172.16.9.9/24 dev v0",),
        f"{IN_USE}172.16.9.9 is an address of v0",
    ),
    "a route into the subnet": (
        ("ip address add 10.0.0.1/24 dev v0", "ip route add 172.16.5.0/24 via 10.0.0.2"),
        f"{IN_USE}there is a route 172.16.5.0/24 via 10.0.0.2 dev v0",
    ),
    "a wider network of the host": (
        ("ip address add 172.20.0.1/12 dev v0",),
        f"{IN_USE}there is a route 172.16.0.0/12 dev v0 proto kernel scope link src 172.20.0.1",
    ),
}


@pytest.mark.parametrize("case", IN_THE_WAY)
def test_what_is_in_the_way_is_told_before_anything_is_changed(host: Namespace, lan: Path, case: str) -> None:
    commands, said = IN_THE_WAY[case]
    carrying(host, *commands)
    before = host.state()
    assert refused(host, lan) == f"up.sh: {said}\n"
    assert host.state() == before


def test_a_wider_route_past_a_gateway_is_not_in_the_way(host: Namespace, lan: Path) -> None:
    carrying(host, "ip address add 10.0.0.1/24 dev v0", "ip route add 172.16.0.0/12 via 10.0.0.2")
    host.ask("ip route add default via 10.0.0.2")
    before = host.state()
    ups(host, lan)
    downs(host, lan)
    assert host.state() == before


@pytest.mark.parametrize(
    ("program", "package"), [("nft", "nftables"), ("ip", "iproute2"), ("flock", "util-linux")]
)
def test_a_missing_program_is_named_with_its_package(
    host: Namespace, lan: Path, program: str, package: str
) -> None:
    before = host.state()
    hide = f"for f in $(which -a {program}); do mount --bind /dev/null $f; done;"
    said = refused(host, lan, before=hide)
    assert said == f"up.sh: there is no {program} here: it comes with {package}\n"
    assert host.state() == before


def test_rules_that_nft_does_not_take_are_told_before_anything_is_changed(host: Namespace, lan: Path) -> None:
    (lan / "nat.nft").write_text("table inet x { chain }\n")
    before = host.state()
    assert refused(host, lan).endswith("up.sh: nft does not take nat.nft\n")
    assert host.state() == before


def test_a_missing_tun_device_is_told_before_anything_is_changed(host: Namespace, lan: Path) -> None:
    before = host.state()
    said = refused(host, lan, before="mount -t tmpfs tmpfs /dev/net;")
    assert said == "up.sh: there is no /dev/net/tun: modprobe tun\n"
    assert host.state() == before


def test_taps_of_another_user_are_not_handed_over(host: Namespace, lan: Path) -> None:
    ups(host, lan)
    os.chown(lan, 1000, -1)
    before = host.state()
    assert refused(host, lan) == "up.sh: tap-db does not belong to the user 1000: run down.sh first\n"
    assert host.state() == before


def test_what_fails_half_way_is_taken_down_again(host: Namespace, tmp_path: Path) -> None:
    broken = written(tmp_path / "lan", LAN)
    text = up(LAN).replace("tap-web", "no/device")
    (broken / "up.sh").write_text(text)
    before = host.state()
    assert "up.sh: taking down what was set up so far" in refused(host, broken)
    assert host.state() == before


def test_a_bridge_of_somebody_else_is_not_taken_down(host: Namespace, lan: Path) -> None:
    host.ask("ip link add br-lan type bridge")
    before = host.state()
    said = refused(host, lan, "down.sh")
    assert said == "down.sh: br-lan was not made for the network lan: nothing is taken down\n"
    assert host.state() == before


def test_taps_are_taken_down_though_somebody_has_deleted_the_bridge(host: Namespace, lan: Path) -> None:
    ups(host, lan)
    host.ask("ip link delete br-lan")
    downs(host, lan)
    assert {one["ifname"] for one in host.listed("link")} == {"lo"}
    assert host.ask("nft list ruleset") == ""
