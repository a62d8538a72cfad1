"""Debian with its SELinux policy enforced: sshd and the network script read what is written for them.

The init is a script: it loads the policy, goes on in the domain of an init, and starts what is judged.
systemd needs many minutes to come up with this policy under emulation, and tells no more of these files.
"""

from __future__ import annotations

import subprocess
import tarfile
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest
import tomli_w

from tests.boot.conftest import Project
from tests.boot.debian import KERNEL, SELINUX, tarball
from tests.boot.initrd import MOUNT_RAW, unpack_kernel
from tests.boot.launched import SshClient, launched
from tests.boot.machine import interview, parse_report
from tests.need import need

if TYPE_CHECKING:
    from pathlib import Path

    from tests.boot.account import Account

pytestmark = pytest.mark.boot

INIT = """\
#!/bin/sh
# First in the domain of the kernel; then, by this file's own label, in that of an init.
export PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin
if [ "$1" != loaded ]; then
    mount -t proc proc /proc
    mount -t sysfs sysfs /sys
    mount -a
    mkdir -p /run/sshd
    load_policy -i
    restorecon -RF /dev /run /tmp
    exec /sbin/init loaded
fi
bangerbuild-network
ssh-keygen -A
/usr/sbin/sshd
while :; do
    sleep 1
done
"""
TRY = """\
set -eu
try() {
    ssh -F /dev/null -i /run/key -o BatchMode=yes -o StrictHostKeyChecking=no root@127.0.0.1 'echo let in' \\
        2>/dev/null || echo refused
}
ssh-keygen -q -t ed25519 -N '' -f /run/key
cat /run/key.pub >>/root/.ssh/authorized_keys
try
chcon -t shadow_t /root/.ssh/authorized_keys
try
restorecon /root/.ssh/authorized_keys
try
"""
MANIFEST: dict[str, Any] = {
    "image": {
        "enforcing": {
            "rootfs": {"tar": "labelled.tar"},
            "kernel": "vmlinuz",
            "initrd": "initrd.img",
            "cmdline": "console=ttyS0 reboot=k panic=1 quiet no_timer_check security=selinux enforcing=1",
            "file": [
                {"guest": "/etc/selinux/config", "content": "SELINUX=enforcing\nSELINUXTYPE=default\n"},
                {"guest": "/usr/sbin/init", "mode": "0755", "content": INIT},
                {"guest": "/usr/local/sbin/try", "mode": "0755", "content": TRY},
            ],
        }
    },
    "vm": {
        "strict": {
            "image": "enforcing",
            "memory": "384MiB",
            "root": {"format": "raw"},
            "work": {"size": "16MiB"},
            "ssh_authorized_keys": ["./id_ed25519.pub"],
            "network": {"address": "172.16.0.10/24", "gateway": "172.16.0.1", "dns": ["9.9.9.9"]},
            "file": [{"guest": "/etc/systemd/system/app.service", "content": "[Service]\nExecStart=true\n"}],
        }
    },
}
OURS = (
    "/etc/hosts /etc/hostname /etc/resolv.conf /etc/fstab /etc/ssh /etc/bangerbuild /etc/systemd/system "
    "/usr/local/sbin /root"
)
QUESTIONS = {
    "mode": "getenforce",
    "sshd": "sh -c 'cat /proc/$(cat /run/sshd.pid)/attr/current'",
    "session": "cat /proc/self/attr/current",
    "address": "ip -4 addr",
    "relabelled": f"restorecon -nvR {OURS}",
    "denied": "sh -c \"dmesg | grep 'avc:  denied'\"",
    "tries": "try",
}


def _labelled(source: Path, target: Path, directory: Path) -> None:
    """Copy a tarball; each file gets the label that libselinux finds for it in the tarball's own policy."""
    files = "./etc/selinux/default/contexts/files"
    with tarfile.open(source) as old:
        old.extractall(directory, [one for one in old if one.name.startswith(files)], filter="data")
        kinds = defaultdict(list)
        for one in old:
            kinds["dir" if one.isdir() else "lnk_file" if one.issym() else "file"].append(one.name)
        labels: dict[str, str] = {}
        for kind, names in kinds.items():
            found = _contexts(directory / files / "file_contexts", kind, names)
            labels |= dict(zip(names, found, strict=True))
        with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as new:
            for one in old:
                if labels[one.name] != "<<none>>":
                    one.pax_headers = {"SCHILY.xattr.security.selinux": f"{labels[one.name]}\0"}
                new.addfile(one, old.extractfile(one) if one.isreg() else None)


def _contexts(contexts: Path, kind: str, names: list[str]) -> list[str]:
    found = []
    for at in range(0, len(names), 1000):
        paths = [name.removeprefix(".").rstrip("/") or "/" for name in names[at : at + 1000]]
        command = [need("matchpathcon", "selinux-utils"), "-f", str(contexts), "-n", "-m", kind, *paths]
        found += subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    return found


@pytest.fixture(scope="module")
def report(scratch: Path, account: Account) -> dict[str, str]:
    """What the guest said of itself; it has powered off since."""
    client = SshClient.with_new_key(scratch / "selinux-client")
    directory = scratch / "selinux"
    directory.mkdir()
    (directory / "vm.toml").write_text(tomli_w.dumps(MANIFEST))
    (directory / "id_ed25519.pub").write_text(client.public_key)
    _labelled(tarball(SELINUX), directory / "labelled.tar", scratch / "policy")
    unpack_kernel(tarball(KERNEL), directory, MOUNT_RAW)
    account.take(directory)
    project = Project(directory, account)
    project.apply()
    with launched(project, "strict", scratch / "selinux.console") as machine:
        machine.wait_for_sshd()
        answers = client.run(machine, "sh -s", script=interview(QUESTIONS))
        assert answers.returncode == 0, answers.stderr
        client.run(machine, "sync; echo o >/proc/sysrq-trigger")
        machine.wait_until_off()
    return parse_report(answers.stdout)


def test_the_policy_is_enforced_on_sshd_and_what_it_started(report: dict[str, str]) -> None:
    assert report["mode"] == "Enforcing\n"
    assert ":sshd_t:" in report["sshd"]
    assert ":kernel_t:" not in report["session"]


def test_the_network_script_gave_the_card_its_address(report: dict[str, str]) -> None:
    assert "inet 172.16.0.10/24" in report["address"]


def test_restorecon_would_label_nothing_of_what_is_written_otherwise(report: dict[str, str]) -> None:
    assert report["relabelled"] == ""


def test_nothing_was_denied_but_the_consoles_of_the_kernel(report: dict[str, str]) -> None:
    assert [line for line in report["denied"].splitlines() if 'dev="rootfs"' not in line] == []


def test_with_another_label_the_same_keys_let_nobody_in(report: dict[str, str]) -> None:
    assert report["tries"].split("\n") == ["let in", "refused", "let in", ""]
