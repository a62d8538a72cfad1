"""A guest with neither systemd nor OpenRC: busybox, whose start script sets the network as told."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import tomli_w

from tests.boot.busybox import write_rootfs
from tests.boot.conftest import Project
from tests.boot.debian import KERNEL, tarball
from tests.boot.initrd import MOUNT_RAW, unpack_kernel
from tests.boot.launched import launched
from tests.boot.machine import parse_report, probe_script
from tests.need import need

if TYPE_CHECKING:
    from pathlib import Path

    from tests.boot.account import Account

# All in one file: `--dist loadscope` gives it to one worker, so the machine is built and booted once.
pytestmark = pytest.mark.boot

SCRIPT = "/usr/local/sbin/bangerbuild-network"
START = f"ip -4 addr show dev eth0 >/run/before\n{SCRIPT}\nreport\n"
QUESTIONS = {
    "before": "cat /run/before",
    "address": "ip -4 addr show dev eth0",
    "link": "ip link show dev eth0",
    "routes": "ip route",
    "gateway": "ping -c 1 -W 10 172.16.0.1",
    "again": SCRIPT,
    "hostname": "hostname",
    "mounts": "cat /proc/mounts",
}

MANIFEST: dict[str, Any] = {
    "image": {"busybox": {"kernel": "vmlinuz", "initrd": "initrd.img", "rootfs": {"directory": "rootfs"}}},
    "vm": {
        "tiny": {
            "image": "busybox",
            "memory": "256MiB",
            "root": {"format": "raw", "size": "256MiB"},
            "work": {"size": "16MiB"},
            "network": {"address": "172.16.0.10/24", "gateway": "172.16.0.1"},
        }
    },
}


@dataclass(frozen=True)
class Ran:
    """What the first `apply` said, and what the guest reported before it powered itself off."""

    project: Project
    said: str
    report: dict[str, str]


@pytest.fixture(scope="module")
def ran(scratch: Path, account: Account) -> Ran:
    """The VM of MANIFEST, built and run once."""
    directory = scratch / "busybox"
    directory.mkdir()
    (directory / "vm.toml").write_text(tomli_w.dumps(MANIFEST))
    unpack_kernel(tarball(KERNEL), directory, MOUNT_RAW)
    rootfs = directory / "rootfs"
    write_rootfs(rootfs, scratch / "busybox-bin", START)
    (rootfs / "bin" / "report").write_text(probe_script(QUESTIONS, power_off="poweroff"))
    (rootfs / "bin" / "report").chmod(0o755)
    account.take(directory)
    applied = account.bangerbuild("apply", cwd=directory)
    assert applied.returncode == 0, applied.stderr.decode()
    project, report = Project(directory, account), scratch / "busybox.report"
    report.touch()
    report.chmod(0o666)
    with launched(project, "tiny", scratch / "busybox.console", "-serial", f"file:{report}") as machine:
        machine.wait_until_off()
    return Ran(project, applied.stderr.decode(), parse_report(report.read_text()))


def test_apply_says_that_nothing_in_the_image_sets_the_address(ran: Ran) -> None:
    warnings = [line for line in ran.said.splitlines() if line.startswith("warning: vm.tiny.root.patch:")]
    assert any("neither systemd nor OpenRC" in line and SCRIPT in line for line in warnings), ran.said


def test_the_start_script_gives_the_card_its_address(ran: Ran) -> None:
    assert "inet" not in ran.report["before"]
    assert "inet 172.16.0.10/24" in ran.report["address"]
    assert "UP" in ran.report["link"]
    assert "06:00:ac:10:00:0a" in ran.report["link"]


def test_the_guest_reaches_its_gateway(ran: Ran) -> None:
    assert "default via 172.16.0.1 dev eth0" in ran.report["routes"]
    assert "1 packets received" in ran.report["gateway"]


def test_the_script_may_be_run_a_second_time(ran: Ran) -> None:
    assert ran.report["again"] == ""


def test_busybox_reads_the_hostname_and_mounts_the_work_disk_by_its_label(ran: Ran) -> None:
    assert ran.report["hostname"] == "tiny\n"
    fields = [line.split()[:3] for line in ran.report["mounts"].splitlines()]
    assert ["/dev/vdb", "/root", "ext4"] in fields


@pytest.mark.parametrize("disk", ["root", "work"])
def test_every_disk_is_clean_after_the_shutdown(ran: Ran, disk: str) -> None:
    command = [need("e2fsck", "e2fsprogs"), "-fn", str(ran.project.vm("tiny") / f"{disk}.ext4")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
