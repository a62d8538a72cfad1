from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import BangerError, ToolError, UsageError
from bangerbuild.host import search
from bangerbuild.launch.session import FREE_PORT
from bangerbuild.running import kvm, starting, taps
from bangerbuild.running.starting import Wish
from tests.launch.samples import DISKS_ONLY, PLAIN, WEB

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bangerbuild.launch.machine import Machine
    from bangerbuild.running.starting import Planned

PROGRAMS = ("qemu-system-x86_64", "cloud-hypervisor", "firecracker")


class Host:
    """What a plan looks at, made up."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kvm = "there is no /dev/kvm"
        self.tap = "there is no tap device tap-web"
        self.programs = set(PROGRAMS)
        monkeypatch.setattr(kvm, "trouble", lambda **_: self.kvm)
        monkeypatch.setattr(taps, "trouble", lambda _: self.tap)
        monkeypatch.setattr(search, "which", self.which)

    def which(self, program: str) -> str | None:
        return f"/bin/{program}" if program in self.programs else None

    def plan(self, wish: Wish, machine: Machine = WEB, taken: Mapping[int, str] | None = None) -> Planned:
        return starting.plan(machine, "bookworm", wish, taken or {})


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    return Host(monkeypatch)


def test_qemu_is_first_and_emulates_where_kvm_does_not_work(host: Host) -> None:
    planned = host.plan(Wish())
    assert planned.start.vmm == "qemu"
    assert "q35,accel=tcg" in planned.start.argv
    assert planned.notes == (
        "KVM does not work here (there is no /dev/kvm); QEMU is started, which emulates (TCG), slowly",
    )
    host.kvm = ""
    planned = host.plan(Wish())
    assert "q35,accel=kvm:tcg" in planned.start.argv
    assert planned.notes == ()


def test_without_qemu_one_that_needs_kvm_is_taken_if_it_works(host: Host) -> None:
    host.programs.remove("qemu-system-x86_64")
    with pytest.raises(ToolError) as caught:
        host.plan(Wish())
    assert caught.value.details == (
        "QEMU: 'qemu-system-x86_64' is not installed\n"
        "cloud-hypervisor: there is no /dev/kvm\n"
        "Firecracker: there is no /dev/kvm"
    )
    host.kvm = ""
    assert host.plan(Wish()).start.vmm == "cloud-hypervisor"
    host.programs.remove("cloud-hypervisor")
    assert host.plan(Wish()).start.vmm == "firecracker"


@pytest.mark.parametrize(
    ("wish", "programs", "brief"),
    [
        (Wish(network="tap", forwards=((8080, 80),)), PROGRAMS, "--forward is of the user network"),
        (Wish("firecracker", "user"), PROGRAMS, "Firecracker can't start 'web': it has no network 'user'"),
        (Wish("firecracker"), PROGRAMS[:2], "'firecracker' is not installed"),
        (Wish(), (), "nothing here can start 'web'"),
        (Wish(forwards=((8081, 80),)), PROGRAMS, "port 8081 of this host leads to 'db' already"),
    ],
)
def test_what_no_vm_could_be_started_with_is_told_before_one_is_built(
    host: Host, wish: Wish, programs: tuple[str, ...], brief: str
) -> None:
    starting.refuse("web", Wish(), {})
    host.programs = set(programs)
    with pytest.raises(BangerError, match=re.escape(brief)):
        starting.refuse("web", wish, {8081: "db"})


def test_a_root_that_a_vmm_can_not_use_is_not_given_to_it(host: Host) -> None:
    root = replace(WEB.root, refusals={"qemu": "too modern", "firecracker": "raw disks only"})
    machine = replace(WEB, root=root)
    host.kvm = ""
    assert host.plan(Wish(), machine).start.vmm == "cloud-hypervisor"
    with pytest.raises(UsageError, match="Firecracker can't start 'web': raw disks only"):
        host.plan(Wish(vmm="firecracker"), machine)


def test_a_vmm_that_was_asked_for_is_started_though_kvm_does_not_work(host: Host) -> None:
    """It says itself what is wrong."""
    planned = host.plan(Wish(vmm="cloud-hypervisor"))
    assert planned.start.vmm == "cloud-hypervisor"
    assert "cloud-hypervisor is started, which it can't do without" in planned.notes[0]


def test_the_tap_device_is_taken_where_it_can_be_used(host: Host) -> None:
    host.tap = ""
    start = host.plan(Wish()).start
    assert start.ssh == "172.16.0.10:22"
    assert not start.chooses_port
    assert any("ifname=tap-web" in word for word in start.argv)
    assert any("ifname=tap-web" in word for word in host.plan(Wish(network="tap")).start.argv)
    user = host.plan(Wish(network="user")).start
    assert user.ssh == f"127.0.0.1:{FREE_PORT}"
    assert user.chooses_port


def test_ports_that_are_forwarded_ask_for_the_user_network(host: Host) -> None:
    host.tap = host.kvm = ""
    start = host.plan(Wish(forwards=((18099, 80),))).start
    assert start.ports == [18099]
    assert any("hostfwd=tcp:127.0.0.1:18099-:80" in word for word in start.argv)
    host.programs = {"cloud-hypervisor"}
    with pytest.raises(ToolError, match="nothing here can start 'web'"):
        host.plan(Wish(forwards=((18099, 80),)))


def test_a_port_that_leads_to_another_vm_is_refused(host: Host) -> None:
    with pytest.raises(ToolError, match="port 18099 of this host leads to 'db' already"):
        host.plan(Wish(forwards=((18099, 80),)), taken={18099: "db"})


def test_a_vm_without_a_tap_device_has_the_user_network(host: Host) -> None:
    host.tap = ""
    assert host.plan(Wish(), PLAIN).start.ssh == f"127.0.0.1:{FREE_PORT}"
    with pytest.raises(ToolError, match="it declares no address, and so has no tap device"):
        host.plan(Wish(network="tap"), PLAIN)


@pytest.mark.parametrize(
    ("up", "hint"),
    [
        (None, "sudo ip tuntap add tap-web mode tap user $USER; sudo ip link set tap-web up"),
        (
            "a store/net/lan/up.sh",
            "bangerbuild apply --target network.lan, then sudo 'a store/net/lan/up.sh'",
        ),
    ],
)
def test_a_missing_tap_device_is_told_with_what_makes_it(host: Host, up: str | None, hint: str) -> None:
    with pytest.raises(ToolError, match="there is no tap device tap-web") as caught:
        starting.plan(WEB, "bookworm", Wish(network="tap"), {}, Path(up) if up else None)
    assert caught.value.hint == hint


def test_without_any_network_that_is_said(host: Host) -> None:
    host.kvm = ""
    planned = host.plan(Wish(vmm="firecracker"))
    assert planned.start.ssh == ""
    assert planned.notes == (
        "'web' has no network: there is no tap device tap-web, and Firecracker has no other",
    )


def test_a_vm_without_a_kernel_is_refused(host: Host) -> None:
    with pytest.raises(UsageError, match="'disks' has no kernel"):
        host.plan(Wish(), DISKS_ONLY)


@pytest.mark.parametrize(("text", "ports"), [("8080:80", (8080, 80)), ("1:65535", (1, 65535))])
def test_a_forward_is_two_ports(text: str, ports: tuple[int, int]) -> None:
    assert starting.forward(text) == ports


def test_an_sshd_is_waited_for_only_where_the_guest_has_an_address(host: Host) -> None:
    assert host.plan(Wish()).start.image == "bookworm"
    assert host.plan(Wish(), PLAIN).start.image == ""
