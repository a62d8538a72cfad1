"""The script as a guest runs it, with an `ip` and a /sys of the test's own.

The host's network must stay out of reach. So the interfaces have names that no host has, and busybox's shell
only checks the syntax: Debian's prefers its own `ip` to any other, wherever PATH leads.
"""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from bangerbuild.declared import Network
from bangerbuild.guest.network import bootstrap
from bangerbuild.guest.network_scripts import OPENRC_SCRIPT, SCRIPT, SCRIPT_PATH
from tests.guest.view import guest, written
from tests.need import need

if TYPE_CHECKING:
    from pathlib import Path

MAC = "06:00:ac:10:00:0a"
NETWORK = Network("bootstrap", "172.16.0.10/24", "172.16.0.1", (), MAC, "tap-web")
SET_UP = [
    "ip link set dev lo up",
    "ip addr replace 172.16.0.10/24 dev none0",
    "ip link set dev none0 up",
    "ip route replace default via 172.16.0.1 dev none0",
]


@dataclass
class Machine:
    """A directory that stands for a guest: `net/` is its /sys/class/net, `bin/` comes first in its PATH."""

    top: Path
    shell: list[str]
    network: Network = NETWORK

    def interface(self, name: str, mac: str, *, device: bool = True) -> None:
        (self.top / "net" / name).mkdir(parents=True)
        (self.top / "net" / name / "address").write_text(f"{mac}\n")
        if device:
            (self.top / "net" / name / "device").mkdir()

    def program(self, name: str, text: str) -> None:
        path = self.top / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'#!/bin/sh\nTOP="{self.top}"\necho "{name} $*" >>"$TOP/log"\n{text}\n')
        path.chmod(0o755)

    def run(self, **environment: str) -> subprocess.CompletedProcess[str]:
        files = written(bootstrap(self.network, guest()))
        (self.top / "script").write_bytes(files[SCRIPT_PATH])
        (self.top / "conf").write_bytes(files["/etc/bangerbuild/network.conf"])
        ours = {
            "PATH": f"{self.top}/bin:{os.defpath}",
            "BANGERBUILD_NETWORK_CONF": f"{self.top}/conf",
            "SYS_CLASS_NET": f"{self.top}/net",
        }
        command = [*self.shell, f"{self.top}/script"]
        return subprocess.run(command, env=ours | environment, capture_output=True, text=True, check=False)

    def log(self) -> list[str]:
        path = self.top / "log"
        return path.read_text().splitlines() if path.exists() else []


SHELLS = {"dash": ["dash"], "bash": ["bash", "--posix"]}
CHECKERS = {**SHELLS, "busybox": ["busybox", "sh"]}


def shell_command(name: str) -> list[str]:
    program, *arguments = CHECKERS[name]
    return [need(program), *arguments]


@pytest.fixture(params=SHELLS)
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Machine:
    machine = Machine(tmp_path, shell_command(request.param))
    machine.interface("lo", "00:00:00:00:00:00", device=False)
    machine.program("ip", "exit 0")
    machine.program("sleep", "exit 0")
    return machine


@pytest.mark.parametrize("text", [SCRIPT, OPENRC_SCRIPT])
@pytest.mark.parametrize("name", CHECKERS)
def test_every_shell_finds_the_scripts_well_formed(name: str, text: str) -> None:
    checked = subprocess.run(
        [*shell_command(name), "-n"], input=text, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stderr) == (0, "")


def test_the_interface_with_the_mac_gets_address_and_route(machine: Machine) -> None:
    machine.interface("dummy0", "06:00:00:00:00:01")
    machine.interface("none0", MAC)
    done = machine.run()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert machine.log() == SET_UP


def test_a_second_run_does_the_same_again(machine: Machine) -> None:
    machine.interface("none0", MAC)
    machine.run()
    assert machine.run().returncode == 0
    assert machine.log() == SET_UP + SET_UP


def test_without_a_gateway_no_route_is_set(machine: Machine) -> None:
    machine.network = Network("bootstrap", "172.16.0.10/24", mac=MAC)
    machine.interface("none0", MAC)
    assert machine.run().returncode == 0
    assert machine.log() == SET_UP[:-1]


def test_a_gateway_outside_the_network_gets_a_route_of_its_own(machine: Machine) -> None:
    machine.interface("none0", MAC)
    refusing = 'case "$*" in *default*) [ -e "$TOP/reachable" ] || { echo unreachable >&2; exit 2; };; '
    machine.program("ip", refusing + '*/32*) : >"$TOP/reachable";; esac')
    done = machine.run()
    assert (done.returncode, done.stderr) == (0, "")
    assert machine.log()[3:] == [SET_UP[3], "ip route replace 172.16.0.1/32 dev none0", SET_UP[3]]


def test_an_interface_that_comes_late_is_waited_for(machine: Machine) -> None:
    appears = f'mkdir "$TOP/net/none0"; echo {MAC} >"$TOP/net/none0/address"'
    machine.program("sleep", f'[ "$(grep -c sleep "$TOP/log")" -lt 3 ] || {{ {appears}; }}')
    assert machine.run().returncode == 0
    assert machine.log() == ["sleep 0.2"] * 3 + SET_UP


def test_an_interface_renamed_while_it_is_set_up_is_looked_up_again(machine: Machine) -> None:
    machine.interface("none0", MAC)
    renamed = '[ -e "$TOP/net/none0" ] && mv "$TOP/net/none0" "$TOP/net/renamed0"'
    machine.program("ip", f'case "$*" in *addr*none0*) {renamed}; echo no such device >&2; exit 1;; esac')
    done = machine.run()
    assert (done.returncode, done.stderr) == (0, "")
    assert machine.log()[-3:] == [line.replace("none0", "renamed0") for line in SET_UP[1:]]


def test_the_only_interface_is_taken_when_none_has_the_mac(machine: Machine) -> None:
    machine.interface("none0", "52:54:00:12:34:56")
    machine.interface("sit0", "00:00:00:00", device=False)
    (machine.top / "net" / "bonding_masters").write_text("")
    assert machine.run(GRACE_SECONDS="2").returncode == 0
    assert machine.log() == ["sleep 0.2"] * 10 + SET_UP


def test_of_two_interfaces_without_the_mac_neither_is_taken(machine: Machine) -> None:
    machine.interface("none0", "52:54:00:12:34:56")
    machine.interface("none1", "52:54:00:12:34:57")
    done = machine.run(WAIT_SECONDS="2", GRACE_SECONDS="1")
    assert done.returncode == 1
    assert MAC in done.stderr
    assert machine.log() == ["sleep 0.2"] * 10


def test_a_sleep_that_knows_no_fractions_still_waits_as_long(machine: Machine) -> None:
    machine.program("sleep", 'case "$1" in *.*) exit 1;; esac')
    assert machine.run(WAIT_SECONDS="3").returncode == 1
    assert machine.log() == ["sleep 0.2"] + ["sleep 1"] * 3


def test_what_ip_said_last_is_shown_once_when_time_is_up(machine: Machine) -> None:
    machine.interface("none0", MAC)
    machine.program("ip", 'case "$1" in addr) echo "RTNETLINK answers: bad" >&2; exit 2;; esac')
    done = machine.run(WAIT_SECONDS="1")
    assert (done.returncode, done.stderr) == (1, "bangerbuild-network: RTNETLINK answers: bad\n")


def test_without_settings_it_says_which_file_is_missing(machine: Machine) -> None:
    done = machine.run(BANGERBUILD_NETWORK_CONF="/nowhere/network.conf")
    assert (done.returncode, done.stderr) == (
        1,
        "bangerbuild-network: /nowhere/network.conf cannot be read\n",
    )
