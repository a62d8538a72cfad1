"""A cloud image of Debian (cloud-init, grub, an EFI partition) as a disk, booted by its own qemu.sh."""

from __future__ import annotations

import json
import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import tomli_w

from tests.boot.conftest import Project
from tests.boot.debian import CLOUD, Added, add, copy_with
from tests.boot.launched import SshClient, launched
from tests.boot.machine import interview, parse_report
from tests.need import need
from tests.virtual_disk.making import BIOS, EFI, ROOT_X86_64, Part, converted, disk, fat

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.boot.account import Account

pytestmark = pytest.mark.boot

ADDRESS = "172.16.0.10"
PART_UUID = "5f5b2a0c-7e1f-4a52-9f0a-5bb0b46ff4a1"
FSTAB = f"""\
PARTUUID={PART_UUID} / ext4 rw,discard,errors=remount-ro,x-systemd.growfs 0 1
UUID=1234-ABCD /boot/efi vfat defaults 0 0
"""
NETPLAN = """\
network:
  version: 2
  ethernets:
    all-en:
      match: {name: "e*"}
      dhcp4: true
"""
SOURCES = "datasource_list: [ NoCloud, ConfigDrive, OpenStack, Ec2, GCE, Azure, None ]\n"
MANIFEST: dict[str, Any] = {
    "image": {
        "debian": {
            "rootfs": {"disk_image": "cloud.qcow2"},
            "kernel": {"guest": "/boot/vmlinuz-*"},
            "initrd": {"guest": "/boot/initrd.img-*"},
            "cmdline": "console=ttyS0 reboot=k panic=1 quiet no_timer_check",
        }
    },
    "vm": {
        "web": {
            "image": "debian",
            "memory": "512MiB",
            "root": {"format": "qcow2", "size": "3GiB"},
            "work": False,
            "ssh_authorized_keys": ["./id_ed25519.pub"],
            "network": {"address": f"{ADDRESS}/24", "gateway": "172.16.0.1"},
        }
    },
}
QUESTIONS = {
    "system": "systemctl is-system-running --wait",
    "failed units": "systemctl --failed --no-legend --plain",
    "status": "cloud-init status --wait --format json",
    "asked": "sh -c 'grep 169.254.169.254 /var/log/cloud-init.log; true'",
    "waited": "sh -c 'journalctl -b -o cat | grep -i \"timed out\"; true'",
    "data source": "cat /run/cloud-init/ds-identify.log",
    "addresses": "ip -4 -j addr",
    "hostname": "hostname",
    "mounts": "findmnt -J --list -o TARGET,FSTYPE",
    "root size": "findmnt -b -n -o SIZE /",
    "machine-id": "cat /etc/machine-id",
    "fstab": "cat /etc/fstab",
    "keys": "cat /root/.ssh/authorized_keys",
}


@pytest.fixture(scope="module")
def client(scratch: Path) -> SshClient:
    """Who logs in."""
    return SshClient.with_new_key(scratch / "disk-image-client")


@pytest.fixture(scope="module")
def project(scratch: Path, account: Account, client: SshClient) -> Project:
    """A VM on the image, before its first boot."""
    directory = scratch / "disk-image"
    directory.mkdir()
    (directory / "vm.toml").write_text(tomli_w.dumps(MANIFEST))
    (directory / "id_ed25519.pub").write_text(client.public_key)
    account.take(directory)
    _make_disk(directory, Project(directory, account))
    account.take(directory)
    return Project(directory, account)


def _make_disk(directory: Path, maker: Project) -> None:
    """The disk, as debian-cloud-images lays it out."""
    copy_with(CLOUD, directory / "root.tar", "/etc/fstab", FSTAB)
    files = (
        Added("/etc/netplan/50-cloud-init.yaml", NETPLAN, 0o600),
        Added("/etc/cloud/cloud.cfg.d/90_dpkg.cfg", f"{SOURCES}locale: false\n"),
        Added("/etc/machine-id", "0123456789abcdef0123456789abcdef\n"),
    )
    add(directory / "root.tar", files)
    root = maker.bangerbuild("image", "import", "--store", "maker", "--size", "1600MiB", "root.tar", "root")
    esp = fat(directory / "esp", 16)
    (directory / "grub.cfg").write_text("configfile /boot/grub/grub.cfg\n")
    copy = [need("mcopy", "mtools"), "-i", str(esp), str(directory / "grub.cfg"), "::grub.cfg"]
    subprocess.run(copy, check=True)
    parts = (
        Part(3, BIOS, number=14),
        Part(16, EFI, esp, number=15),
        Part(1600, ROOT_X86_64, directory / os.fsdecode(root).strip(), uuid=PART_UUID, number=1),
    )
    raw = disk(directory / "cloud.raw", parts, mib=30 << 10)
    converted(raw, directory / "cloud.qcow2", "qcow2", "-c", "-m", "2")
    for name in ("root.tar", "esp", "cloud.raw"):
        (directory / name).unlink()


@pytest.fixture(scope="module")
def planned(project: Project) -> dict[str, Any]:
    """What the first plan says."""
    document: dict[str, Any] = json.loads(project.bangerbuild("plan", "--json"))
    return document


@pytest.fixture(scope="module")
def applied(project: Project, planned: dict[str, Any]) -> dict[str, Any]:
    """What the first apply says."""
    assert planned["actions"]
    return project.apply()


@pytest.fixture(scope="module")
def report(project: Project, applied: dict[str, Any], client: SshClient, scratch: Path) -> dict[str, str]:
    """What the VM says over ssh; it has powered off cleanly since."""
    assert applied["summary"]["failed"] == 0
    with launched(project, "web", scratch / "disk-image.console") as machine:
        machine.wait_for_sshd()
        answers = client.run(machine, "sh -s", script=interview(QUESTIONS))
        assert answers.returncode == 0, answers.stderr
        client.run(machine, "systemctl poweroff")
        machine.wait_until_off()
    return parse_report(answers.stdout)


def test_the_plan_said_which_partition_is_taken(planned: dict[str, Any]) -> None:
    (action,) = [one for one in planned["actions"] if one["id"] == "image.debian.rootfs"]
    assert action["notes"] == [
        "partition 1: ext4, 1.6 GiB, Linux root (x86-64) is taken: its type is Linux root (x86-64)"
    ]


def test_lines_for_partitions_are_commented_out(report: dict[str, str]) -> None:
    lines = report["fstab"].splitlines()
    assert [line for line in FSTAB.splitlines() if f"# {line}" not in lines] == []


def test_the_guest_is_up_and_nothing_in_it_failed_or_was_waited_for(report: dict[str, str]) -> None:
    assert (report["system"], report["failed units"]) == ("running\n", "")
    assert report["waited"] == ""


def test_cloud_init_ran_without_a_data_source_and_asked_nobody(report: dict[str, str]) -> None:
    status = json.loads(report["status"])
    assert (status["status"], status["errors"], status["datasource"]) == ("done", [], "none")
    assert report["asked"] == ""


def test_the_guest_has_the_declared_address_and_name(report: dict[str, str]) -> None:
    cards = json.loads(report["addresses"])
    found = {entry["local"] for card in cards for entry in card["addr_info"]} - {"127.0.0.1"}
    assert (found, report["hostname"]) == ({ADDRESS}, "web\n")


def test_the_root_has_the_size_of_the_manifest(report: dict[str, str]) -> None:
    assert int(report["root size"]) > 2 << 30


def test_the_guest_is_no_copy_of_the_machine_that_the_image_was(report: dict[str, str]) -> None:
    assert report["machine-id"] != "0123456789abcdef0123456789abcdef\n"


def test_cloud_init_left_the_keys_of_root_alone(report: dict[str, str], client: SshClient) -> None:
    assert report["keys"] == client.public_key


@pytest.fixture
def text(project: Project) -> Callable[[str], str]:
    """A file of the image."""
    (image,) = (project.directory / "build/images/debian").glob("*/rootfs.ext4")
    return lambda path: project.bangerbuild("cat", str(image), path).decode()


def test_the_image_itself_has_the_fstab_of_the_machine(
    report: dict[str, str], text: Callable[[str], str]
) -> None:
    assert report
    assert text("/etc/fstab") == FSTAB
