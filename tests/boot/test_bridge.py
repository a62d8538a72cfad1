"""Two guests on a network's bridge: they reach each other, the host, and through NAT a server elsewhere.

The host is a network namespace, and the server elsewhere is in another that knows no way back to the guests.
Both VMs are started by their own qemu.sh, as the user whom the tap devices belong to.
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from shlex import quote
from typing import TYPE_CHECKING, Any

import pytest
import tomli_w

from tests.boot.busybox import write_rootfs
from tests.boot.conftest import Project
from tests.boot.debian import KERNEL, tarball
from tests.boot.initrd import MOUNT_RAW, unpack_kernel
from tests.boot.launched import NO_KVM
from tests.boot.machine import END, fail_with_console, parse_report, probe_script
from tests.bridging.namespaces import Namespace, namespace
from tests.need import need
from tests.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.boot.account import Account

pytestmark = pytest.mark.boot

GUESTS = {"web": "172.16.0.10", "a-long-name-of-a-vm": "172.16.0.11"}
SERVER = """\
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Client(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.client_address[0].encode())
ThreadingHTTPServer(("0.0.0.0", 7000), Client).serve_forever()
"""
"""Tells its clients where they seem to come from."""

START = """\
/usr/local/sbin/bangerbuild-network
mkdir -p /run/www
hostname >/run/www/name
httpd -p 7000 -h /run/www
report
sleep 1000000
"""
FETCH = """\
#!/bin/sh
# What a server answers, asked again until it does. Busybox has a wget, which crashes in so small a guest.
while :; do
    answer=$(printf 'GET /name HTTP/1.0\\r\\n\\r\\n' | nc -w 10 "$1" 7000 2>/dev/null | tail -n 1)
    [ -z "$answer" ] || break
    sleep 1
done
echo "$answer"
"""
QUESTIONS = {
    **{name: f"fetch {address}" for name, address in GUESTS.items()},
    "host": "fetch 172.16.0.1",
    "elsewhere": "fetch 10.77.0.2",
    "routes": "ip route",
    "resolv.conf": "cat /etc/resolv.conf",
}
START_VM = """\
mount -t tmpfs tmpfs /dev/net
mknod -m 666 /dev/net/tun c 10 200
exec setpriv --reuid={uid} --regid={uid} --clear-groups {command}
"""
"""Some machines keep /dev/net/tun for root; udev gives it to all."""

MANIFEST: dict[str, Any] = {
    "image": {"busybox": {"kernel": "vmlinuz", "initrd": "initrd.img", "rootfs": {"directory": "rootfs"}}},
    "network": {"lan": {"subnet": "172.16.0.0/16", "dns": ["9.9.9.9"], "bridge": "br-lan", "nat": True}},
    "defaults": {
        "image": "busybox",
        "memory": "256MiB",
        "root": {"format": "raw"},
        "network": {"name": "lan"},
    },
    "vm": {name: {"network": {"address": address}} for name, address in GUESTS.items()},
}


@dataclass(frozen=True)
class Ran:
    """What each guest reported, and the host before all and after it."""

    reports: dict[str, dict[str, str]]
    before: dict[str, Any]
    after: dict[str, Any]


@pytest.fixture(scope="module")
def ran(scratch: Path, account: Account) -> Iterator[Ran]:
    """The network is set up, both VMs run until they have reported, and it is taken down."""
    with ExitStack() as stack:
        host, outside = (stack.enter_context(namespace()) for _ in range(2))
        project = build(scratch / "bridge", scratch / "bridge-bin", account)
        connect(host, outside)
        before = host.state()
        network = project.directory / "build" / "net" / "lan"
        host.ask(str(network / "up.sh"))
        with ExitStack() as running:
            for one in (host, outside):
                log = scratch / f"{one.name}.log"
                running.enter_context(started(one, f"exec {sys.executable} -c {quote(SERVER)}", log))
            reports = guests(running, host, project, scratch)
        host.ask(str(network / "down.sh"))
        yield Ran(reports, before, host.state())


def build(directory: Path, programs: Path, account: Account) -> Project:
    directory.mkdir()
    (directory / "vm.toml").write_text(tomli_w.dumps(MANIFEST))
    unpack_kernel(tarball(KERNEL), directory, MOUNT_RAW)
    write_rootfs(directory / "rootfs", programs, START)
    for name, text in (("report", probe_script(QUESTIONS, power_off="")), ("fetch", FETCH)):
        (directory / "rootfs" / "bin" / name).write_text(text)
        (directory / "rootfs" / "bin" / name).chmod(0o755)
    account.take(directory)
    project = Project(directory, account)
    project.bangerbuild("apply")
    return project


def connect(host: Namespace, outside: Namespace) -> None:
    """A cable between the two."""
    host.ask(f"ip link add up0 type veth peer name eth0 netns {outside.name}")
    host.ask("ip address add 10.77.0.1/24 dev up0 && ip link set up0 up")
    outside.ask("ip address add 10.77.0.2/24 dev eth0 && ip link set eth0 up")


@contextmanager
def started(one: Namespace, script: str, output: Path) -> Iterator[None]:
    """A script in a namespace, killed on leaving."""
    command = [need("ip", "iproute2"), "netns", "exec", one.name, need("sh"), "-c", script]
    with (
        output.open("wb") as file,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT) as process,
    ):
        try:
            yield
        finally:
            process.kill()


def guests(running: ExitStack, host: Namespace, project: Project, scratch: Path) -> dict[str, dict[str, str]]:
    """Start the VMs and wait for their reports."""
    need("setpriv", "util-linux")
    files = {name: (scratch / f"{name}.console", scratch / f"{name}.report") for name in GUESTS}
    for name, (console, report) in files.items():
        report.touch()
        report.chmod(0o666)
        command = [str(project.vm(name) / "qemu.sh"), *NO_KVM, "-serial", f"file:{report}"]
        uid = project.directory.stat().st_uid
        script = START_VM.format(uid=uid, command=" ".join(map(quote, command)))
        running.enter_context(started(host, script, console))
    for console, report in files.values():
        wait(console, report)
    return {name: parse_report(report.read_text()) for name, (_, report) in files.items()}


def wait(console: Path, report: Path) -> None:
    try:
        eventually(lambda: END in report.read_text(errors="replace"))
    except AssertionError:
        fail_with_console(f"no report: {report.read_text(errors='replace')}", console)


@pytest.mark.parametrize("guest", GUESTS)
def test_a_guest_reaches_the_other_the_host_and_a_server_that_sees_the_hosts_address(
    ran: Ran, guest: str
) -> None:
    report = ran.reports[guest]
    assert {name: report[name].strip() for name in (*GUESTS, "host", "elsewhere")} == {
        **{name: name for name in GUESTS},
        "host": GUESTS[guest],
        "elsewhere": "10.77.0.1",
    }


@pytest.mark.parametrize("guest", GUESTS)
def test_a_guest_has_the_gateway_and_the_name_servers_of_its_network(ran: Ran, guest: str) -> None:
    assert "default via 172.16.0.1 dev eth0" in ran.reports[guest]["routes"]
    assert ran.reports[guest]["resolv.conf"].strip() == "nameserver 9.9.9.9"


def test_the_host_is_as_it_was_when_the_network_is_taken_down(ran: Ran) -> None:
    assert ran.after == ran.before
