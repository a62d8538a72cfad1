"""Guests whose root is joined inside of them: busybox, and Debian with its own initrd."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import tomli_w

from tests.boot.account import PROJECT
from tests.boot.busybox import write_rootfs
from tests.boot.conftest import Project
from tests.boot.debian import BOOTABLE, KERNEL, Added, add, copy_with, tarball
from tests.boot.initrd import MOUNT_READ_ONLY, unpack_kernel
from tests.boot.launched import SshClient, launched
from tests.boot.machine import interview, parse_report, probe_script
from tests.disk.ext4_tools import assert_clean
from tests.need import need

if TYPE_CHECKING:
    from pathlib import Path

    from tests.boot.account import Account

# All in one file: `--dist loadscope` gives it to one worker, so the machines are built and booted once.
pytestmark = pytest.mark.boot

INIT_LINE = re.compile(r"^bangerbuild-overlay-init: (.*?)\r*$", re.MULTILINE)
ROOT = "root.upper.ext4"
CHOSEN = """\
#!/bin/sh
echo "$@" >/etc/arguments
exec /sbin/init
"""
"""An init that the manifest names; what it is given is told to it by the kernel."""
CHANGES = """\
rm -rf /srv/gone /srv/anew
mkdir /srv/anew
echo own >/srv/anew/own
mv /srv/file /srv/moved
chmod 600 /srv/kept
ln /srv/kept /srv/second
rm /etc/declared
"""
QUESTIONS = {
    "arguments": "cat /etc/arguments",
    "mounts": "cat /proc/mounts",
    "before": "find /srv",
    "later": "cat /etc/later",
    "motd": "cat /etc/motd",
}
TINY: dict[str, Any] = {"image": "busybox", "memory": "256MiB", "guest": {"sshd": False, "identity": False}}
FAILING = {
    "lost": "there is no /dev/vdb, the disk with the changes to the image",
    "damaged": "/dev/vdb can't be mounted: it is damaged, or no ext4",
    "protected": "/dev/vdb is read-only: no changes can be written",
    "other": "/dev/vdb is not the disk with the changes to the image",
    "plain": "kernel RELEASE has no overlayfs, neither built in nor as a module of this image",
}
"""What goes wrong in a VM, by its name, and the line on its console."""
MANIFEST: dict[str, Any] = {
    "defaults": {"root": {"format": "overlay"}},
    "image": {
        "busybox": {
            "kernel": "vmlinuz",
            "initrd": "initrd.img",
            "cmdline": "console=ttyS0 reboot=k panic=1 init=/sbin/chosen -- one two",
            "rootfs": {"directory": "rootfs", "overlay_init": True},
        },
        "plain": {"kernel": "vmlinuz", "initrd": "plain.img", "rootfs": {"image": "busybox"}},
    },
    "vm": {
        "tiny": {**TINY, "file": [{"guest": "/etc/declared", "content": "declared\n"}]},
        **dict.fromkeys(FAILING, TINY),
        "plain": {**TINY, "image": "plain"},
    },
}


@dataclass(frozen=True)
class Ran:
    """The project after its guests ran, what the tiny one reported each time, and what was said between."""

    project: Project
    reports: tuple[dict[str, str], dict[str, str]]
    between: dict[str, Any]
    """The plan after the first run."""
    consoles: dict[str, str]
    """Of those that fail."""


@pytest.fixture(scope="module")
def project(scratch: Path, account: Account) -> Project:
    """The busybox VMs of MANIFEST, built."""
    directory = scratch / "overlay"
    directory.mkdir()
    (directory / "vm.toml").write_text(tomli_w.dumps(MANIFEST))
    _, initrd = unpack_kernel(tarball(KERNEL), directory, MOUNT_READ_ONLY)
    initrd.rename(directory / "plain.img")
    # No kernel that Debian packages has overlayfs built in (all have CONFIG_OVERLAY_FS=m). One whose initrd
    # loads it before the init runs is the same to the init: the kernel knows it, and nothing is loaded.
    unpack_kernel(tarball(KERNEL), directory, MOUNT_READ_ONLY, ("overlay",))
    rootfs = directory / "rootfs"
    write_rootfs(rootfs, scratch / "overlay-busybox", "echo started\nreport\n")
    (rootfs / "srv" / "gone").mkdir(parents=True)
    (rootfs / "srv" / "anew" / "deep").mkdir(parents=True)
    for name in ("file", "kept", "gone/file", "anew/deep/file"):
        (rootfs / "srv" / name).write_text(name)
    for name, text in {
        "bin/report": probe_script(QUESTIONS, power_off=f"{CHANGES}poweroff"),
        "sbin/chosen": CHOSEN,
    }.items():
        (rootfs / name).write_text(text)
        (rootfs / name).chmod(0o755)
    account.take(directory)
    made = Project(directory, account)
    made.apply()
    return made


def run(project: Project, vm: str, console: Path) -> dict[str, str]:
    """Run a VM until it powers itself off; its report."""
    report = console.with_suffix(".report")
    report.touch()
    report.chmod(0o666)
    with launched(project, vm, console, "-serial", f"file:{report}") as machine:
        machine.wait_until_off()
    return parse_report(report.read_text())


def spoil(project: Project) -> None:
    """Make the VMs of FAILING what their names say."""
    scripts = {name: project.vm(name) / "qemu.sh" for name in ("lost", "protected")}
    texts = {name: script.read_text() for name, script in scripts.items()}
    drive = f"    -drive file={ROOT},format=raw,if=virtio"
    assert all(drive in text for text in texts.values())
    scripts["lost"].write_text(texts["lost"].replace(f"{drive} \\\n", ""))
    scripts["protected"].write_text(texts["protected"].replace(drive, f"{drive},readonly=on"))
    with (project.vm("damaged") / ROOT).open("r+b") as disk:
        disk.seek(4096)
        disk.write(b"\xff" * 4096)  # the group descriptors
    with (project.vm("other") / ROOT).open("r+b") as disk:
        disk.truncate(0)
        disk.truncate(16 << 20)
    subprocess.run([need("mke2fs", "e2fsprogs"), "-qF", str(project.vm("other") / ROOT)], check=True)


@pytest.fixture(scope="module")
def ran(project: Project, scratch: Path) -> Ran:
    """The tiny VM is run, patched, and run again; the others are run once."""
    spoil(project)
    first = run(project, "tiny", scratch / "overlay-1.console")
    between = json.loads(project.bangerbuild("plan", "--json", "--target", "vm.tiny"))
    manifest = {**MANIFEST, "vm": {**MANIFEST["vm"]}}
    manifest["vm"]["tiny"] = {**MANIFEST["vm"]["tiny"]}
    manifest["vm"]["tiny"]["file"] = [
        *MANIFEST["vm"]["tiny"]["file"],
        {"guest": "/etc/later", "content": "later\n"},
        {"guest": "/etc/motd", "content": "patched\n"},
    ]
    (project.directory / "vm.toml").write_text(tomli_w.dumps(manifest))
    project.bangerbuild("apply", "--target", "vm.tiny")
    assert_clean(project.vm("tiny") / ROOT)
    second = run(project, "tiny", scratch / "overlay-2.console")
    with ThreadPoolExecutor(2) as pool:
        consoles = dict(
            zip(FAILING, pool.map(lambda vm: _console(project, vm, scratch), FAILING), strict=True)
        )
    return Ran(project, (first, second), between, consoles)


def _console(project: Project, vm: str, scratch: Path) -> str:
    console = scratch / f"overlay-{vm}.console"
    with launched(project, vm, console) as machine:
        machine.wait_until_off()
    return console.read_text(errors="replace")


def mounts(report: dict[str, str]) -> dict[str, list[str]]:
    """The fields of the last mount on each point."""
    return {fields[1]: fields for line in report["mounts"].splitlines() if (fields := line.split())}


def test_the_root_is_joined_of_the_image_and_the_disk_and_the_init_of_the_manifest_runs_on_it(
    ran: Ran,
) -> None:
    first = ran.reports[0]
    found = mounts(first)
    assert found["/"][:3] == ["overlay", "/", "overlay"]
    assert "rw" in found["/"][3].split(",")
    assert found["/run/initramfs/bangerbuild/lower"][::3][0] == "/dev/vda"
    assert found["/run/initramfs/bangerbuild/lower"][3].startswith("ro")
    assert first["arguments"] == "one two\n"


def test_what_the_guest_changed_is_seen_from_outside_as_from_inside(ran: Ran) -> None:
    kept = {"/srv", "/srv/anew", "/srv/anew/own", "/srv/kept", "/srv/moved", "/srv/second"}
    assert set(ran.reports[1]["before"].split()) == kept
    disk = str(ran.project.vm("tiny") / ROOT)
    assert ran.project.bangerbuild("ls", disk, "/srv").decode().split() == ["anew", "kept", "moved", "second"]
    assert ran.project.bangerbuild("ls", disk, "/srv/anew") == b"own\n"
    assert ran.project.bangerbuild("cat", disk, "/srv/moved") == b"file"
    shown = ran.project.bangerbuild("ls", "-l", disk, "/srv").decode().splitlines()
    assert shown[1].split()[:2] == ["-rw-------", "2"]


def test_the_plan_names_what_the_guest_changed_of_what_is_declared(ran: Ran) -> None:
    (patch,) = (action for action in ran.between["actions"] if action["id"] == "vm.tiny.root.patch")
    assert patch["action"] == "update"
    codes = [(reason["code"], reason.get("guest")) for reason in patch["reasons"]]
    assert codes == [("file-differs", "/etc/declared")]


def test_a_patch_of_what_the_guest_wrote_to_is_there_in_its_next_boot(ran: Ran) -> None:
    first, second = ran.reports
    assert "No such file" in first["later"]
    assert (second["later"], second["motd"]) == ("later\n", "patched\n")


@pytest.mark.parametrize("vm", FAILING)
def test_what_keeps_a_guest_from_its_root_is_said_in_one_line_and_nothing_else_is_started(
    ran: Ran, vm: str
) -> None:
    (line,) = INIT_LINE.findall(ran.consoles[vm])
    wanted = re.escape(FAILING[vm]).replace("RELEASE", r"\S+")
    assert re.fullmatch(wanted, line), ran.consoles[vm][-2000:]
    assert "started" not in ran.consoles[vm].splitlines()


# A Debian, whose initrd has no overlayfs, with systemd

FSTAB = "LABEL=cloudimg-rootfs\t/ ext4\tdiscard,errors=remount-ro 0 1\n"
DEBIAN: dict[str, Any] = {
    "image": {
        "bookworm": {
            "kernel": {"guest": "/boot/vmlinuz-*"},
            "initrd": {"guest": "/boot/initrd.img-*"},
            "rootfs": {"tar": "bookworm.tar", "overlay_init": True},
        }
    },
    "vm": {
        "deb": {
            "image": "bookworm",
            "memory": "384MiB",
            "root": {"format": "overlay"},
            "ssh_authorized_keys": ["./id_ed25519.pub"],
            "network": {"address": "172.16.0.10/24", "gateway": "172.16.0.1"},
            "file": [{"guest": "/etc/app.conf", "content": "port = 80\n"}],
        }
    },
}
ASKED = {
    "system": "systemctl is-system-running --wait",
    "failed units": "systemctl --failed --no-legend --plain",
    "root": "findmnt -no FSTYPE,OPTIONS /",
    "machine-id": "cat /etc/machine-id",
    "change": "sh -c 'echo port = 81 >/etc/app.conf; rm /etc/issue; echo x >/var/tmp/from-guest'",
}


@dataclass(frozen=True)
class Visited:
    """A project whose guest has powered off, and what that said."""

    project: Project
    report: dict[str, str]


@pytest.fixture(scope="module")
def visited(scratch: Path, account: Account) -> Visited:
    """The VM of DEBIAN, built, run and left."""
    directory = scratch / "overlay-debian"
    directory.mkdir()
    (directory / "vm.toml").write_text(tomli_w.dumps(DEBIAN))
    client = SshClient.with_new_key(directory / "key")
    (directory / "id_ed25519.pub").write_text(client.public_key)
    copy_with(BOOTABLE, directory / "bookworm.tar", "/etc/machine-id", "0123456789abcdef0123456789abcdef\n")
    add(directory / "bookworm.tar", (Added("/etc/fstab", FSTAB),))
    account.take(directory)
    project = Project(directory, account)
    project.apply()
    with launched(project, "deb", scratch / "overlay-debian.console") as machine:
        machine.wait_for_sshd()
        answers = client.run(machine, "sh -s", script=interview(ASKED))
        client.run(machine, "systemctl poweroff")
        machine.wait_until_off()
    return Visited(project, parse_report(answers.stdout))


def test_systemd_has_nothing_to_complain_of(visited: Visited) -> None:
    assert (visited.report["system"], visited.report["failed units"]) == ("running\n", "")
    assert visited.report["root"].startswith("overlay rw")
    machine_id = visited.report["machine-id"].strip()
    assert len(machine_id) == 32
    assert machine_id != "0123456789abcdef0123456789abcdef"


def test_the_disk_is_clean_after_a_shutdown(visited: Visited) -> None:
    disk = visited.project.vm("deb") / ROOT
    told = subprocess.run(
        [need("dumpe2fs", "e2fsprogs"), "-h", str(disk)], check=True, capture_output=True, text=True
    ).stdout
    assert "needs_recovery" not in told
    assert_clean(disk)


def test_the_line_of_its_image_for_the_root_is_no_longer_in_force(visited: Visited) -> None:
    disk = str(visited.project.vm("deb") / ROOT)
    lines = visited.project.bangerbuild("cat", disk, "/etc/fstab").decode().splitlines()
    assert lines[0].startswith("# Commented out by bangerbuild: / is joined of two disks")
    assert lines[1] == f"# {FSTAB.rstrip()}"


def test_verify_and_plan_see_what_it_wrote(visited: Visited) -> None:
    disk = str(visited.project.vm("deb") / ROOT)
    assert "issue" not in visited.project.bangerbuild("ls", disk, "/etc").decode().split()
    assert visited.project.bangerbuild("cat", disk, "/var/tmp/from-guest") == b"x\n"  # its own
    planned = json.loads(visited.project.bangerbuild("plan", "--json"))
    (patch,) = (action for action in planned["actions"] if action["id"] == "vm.deb.root.patch")
    codes = [(reason["code"], reason.get("guest")) for reason in patch["reasons"]]
    assert codes == [("file-differs", "/etc/app.conf")]
    visited.project.bangerbuild("apply")
    visited.project.bangerbuild("verify")
    assert visited.project.bangerbuild("cat", disk, "/etc/app.conf") == b"port = 80\n"


def test_the_example_starts_as_its_comments_say(scratch: Path, account: Account) -> None:
    directory = scratch / "overlay-example"
    shutil.copytree(PROJECT / "examples" / "vms" / "overlay", directory)
    text = (directory / "vm.toml").read_text()
    for key in ("kernel", "initrd"):
        assert f"# {key} = " in text
        text = text.replace(f"# {key} = ", f"{key} = ")
    (directory / "vm.toml").write_text(text)
    end = "grep ' / ' /proc/mounts\ncat /etc/motd\npoweroff\n"
    write_rootfs(directory / "rootfs", scratch / "overlay-example-busybox", end)
    unpack_kernel(tarball(KERNEL), directory, MOUNT_READ_ONLY, ("overlay",))
    account.take(directory)
    project = Project(directory, account)
    project.apply()
    console = scratch / "overlay-example.console"
    with launched(project, "thin", console) as machine:
        machine.wait_until_off()
    assert "overlay / overlay rw," in console.read_text(errors="replace")
    assert "changed nothing of its image but this line" in console.read_text(errors="replace")
