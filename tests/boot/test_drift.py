"""Drift: a guest changes what is declared and what is not, shuts down, is patched, is killed in mid-write.

The same VM is booted twice: its root is a snapshot, its work disk a raw one.
"""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import tomli_w

from tests.boot.busybox import write_rootfs
from tests.boot.conftest import Project
from tests.boot.debian import KERNEL, tarball
from tests.boot.exceptions import merge
from tests.boot.initrd import unpack_kernel
from tests.boot.machine import END, TIMEOUT_SECONDS, Machine, fail_with_console
from tests.disk.ext4_tools import assert_clean
from tests.need import need

if TYPE_CHECKING:
    from tests.boot.account import Account

# All in one file: `--dist loadscope` gives it to one worker, so the machine is built once and booted twice.
pytestmark = pytest.mark.boot

START = "#!/bin/sh\nexec >/dev/ttyS1 2>&1\nstty -F /dev/ttyS1 raw -echo\n"
CHANGE = f"""{START}
echo changed >/etc/app.conf
chmod 0600 /etc/mode.conf
rm /etc/gone.conf
echo changed >/root/tool
echo own >/etc/own.conf
echo own >/root/own
echo '=== {END}'
poweroff
"""
WRITE = f"""{START}
echo kept >/var/kept
echo kept >/root/kept
sync
n=0
while mkdir "/var/d$n" "/root/d$n"; do
    head -c 50000 /dev/urandom >"/var/d$n/data"
    head -c 50000 /dev/urandom >"/root/d$n/data"
    echo "$n" >/etc/app.conf
    echo "$n" >/root/tool
    mv "/var/d$n/data" "/var/d$n/moved"
    sync
    n=$((n + 1))
    echo "round $n"
done
"""
ROUNDS = 8
"""After which the guest is killed; it would go on."""
DECLARED = {
    "/etc/app.conf": b"port = 80\n",
    "/etc/mode.conf": b"mode\n",
    "/etc/gone.conf": b"gone\n",
    "/root/tool": b"tool\n",
    "/etc/left.conf": b"left alone\n",
}


def manifest(script: str) -> dict[str, Any]:
    files = {path: {"guest": path, "content": text.decode()} for path, text in DECLARED.items()}
    return {
        "image": {"busybox": {"rootfs": {"directory": "rootfs", "size": "32MiB"}}},
        "vm": {
            "tiny": {
                "image": "busybox",
                "work": {"size": "32MiB"},
                "file": [*files.values(), {"guest": "/bin/drill", "content": script, "mode": "0755"}],
            }
        },
    }


Pending = dict[str, list[tuple[str, str | None]]]


@dataclass(frozen=True)
class VM:
    """The project and the machine that runs its VM."""

    project: Project
    machine: Machine

    def declare(self, script: str) -> None:
        """The manifest, with what the guest does when it is booted."""
        (self.project.directory / "vm.toml").write_text(tomli_w.dumps(manifest(script)))

    def raw(self, disk: str) -> Path:
        """A disk as one raw file."""
        if disk == "work":
            return self.project.vm("tiny") / "work.ext4"
        return merge(self.machine.base, self.machine.store, self.machine.directory / "merged.ext4")

    def features(self, disk: str) -> str:
        """What dumpe2fs says of a filesystem's features."""
        command = [need("dumpe2fs"), "-h", str(self.raw(disk))]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        (line,) = (line for line in said.splitlines() if line.startswith("Filesystem features:"))
        return line

    def pending(self) -> Pending:
        """What the next apply would do other than keep, with the codes and guest paths of the reasons."""
        plan = json.loads(self.project.bangerbuild("plan", "--json"))
        return {
            action["id"]: [(reason["code"], reason.get("guest")) for reason in action["reasons"]]
            for action in plan["actions"]
            if action["action"] != "keep"
        }

    def cat(self, path: str) -> bytes:
        """A guest's file, wherever it lies; paths on the work disk are the disk's own."""
        on_work = path.startswith("/root/")
        disk = "work.ext4" if on_work else "root.cow"
        return self.project.bangerbuild(
            "cat", str(self.project.vm("tiny") / disk), path.removeprefix("/root") if on_work else path
        )

    def kill_in_mid_write(self) -> None:
        """Boot the guest, and end QEMU while it writes."""
        self.machine.report.unlink()
        with subprocess.Popen(self.machine.argv(), stdin=subprocess.DEVNULL) as process:
            deadline = time.monotonic() + TIMEOUT_SECONDS
            while f"round {ROUNDS}" not in self._said():
                if process.poll() is not None or time.monotonic() > deadline:
                    process.kill()
                    fail_with_console("the guest does not write", self.machine.console)
                time.sleep(0.02)
            process.kill()

    def _said(self) -> str:
        report = self.machine.report
        return report.read_text(errors="replace") if report.exists() else ""


@dataclass(frozen=True)
class Story:
    """What was seen on the way."""

    vm: VM
    drift: Pending
    """After the guest had shut down."""
    features: dict[str, str]
    """Of each disk once the guest was killed."""
    planned: Pending
    """Then."""


@pytest.fixture(scope="module")
def story(scratch: Path, account: Account) -> Story:
    """The VM is built, runs until it shuts down, is patched, killed in mid-write, and patched again."""
    vm = _built(scratch, account)
    vm.machine.boot()
    drift = vm.pending()
    vm.declare(WRITE)
    vm.project.apply()
    vm.kill_in_mid_write()
    features = {disk: vm.features(disk) for disk in ("root", "work")}
    planned = vm.pending()
    vm.project.apply()
    return Story(vm, drift, features, planned)


def _built(scratch: Path, account: Account) -> VM:
    directory, machines = scratch / "drift", scratch / "drift-machine"
    directory.mkdir()
    write_rootfs(directory / "rootfs", machines, "/bin/drill\n")
    vm = VM(Project(directory, account), _machine(directory, machines))
    vm.declare(CHANGE)
    account.take(directory)
    vm.project.apply()
    (base,) = directory.glob("build/images/busybox/*/rootfs.ext4")
    return replace(vm, machine=replace(vm.machine, base=base))


def _machine(directory: Path, machines: Path) -> Machine:
    kernel, initrd = unpack_kernel(tarball(KERNEL), machines)
    disks = directory / "build" / "vms" / "tiny"
    work = ("-drive", f"file={disks / 'work.ext4'},format=raw,if=virtio")
    mac = "06:00:ac:10:00:0c"
    return Machine("drift", kernel, initrd, Path(), disks / "root.cow", mac, machines, more=work)


def test_the_plan_names_the_declared_files_that_the_guest_changed_and_no_others(story: Story) -> None:
    on_root = ("/etc/app.conf", "/etc/gone.conf", "/etc/mode.conf")
    assert story.drift == {
        "vm.tiny.root.patch": [("file-differs", path) for path in on_root],
        "vm.tiny.work.patch": [("file-differs", "/root/tool")],
    }


@pytest.mark.parametrize("disk", ["root", "work"])
def test_a_killed_guest_leaves_a_journal_to_replay(story: Story, disk: str) -> None:
    assert "needs_recovery" in story.features[disk]


def test_the_plan_sees_through_the_journals(story: Story) -> None:
    assert story.planned == {
        "vm.tiny.root.patch": [("file-differs", "/etc/app.conf")],
        "vm.tiny.work.patch": [("file-differs", "/root/tool")],
    }


@pytest.mark.parametrize("disk", ["root", "work"])
def test_the_next_apply_replays_them_and_leaves_the_disks_clean(story: Story, disk: str) -> None:
    assert_clean(story.vm.raw(disk))
    assert "needs_recovery" not in story.vm.features(disk)


def test_then_every_declared_file_is_as_declared(story: Story) -> None:
    found = {path: story.vm.cat(path) for path in DECLARED}
    assert found == DECLARED


def test_what_the_guest_wrote_and_synced_is_there(story: Story) -> None:
    own = {path: story.vm.cat(path) for path in ("/etc/own.conf", "/root/own", "/var/kept", "/root/kept")}
    assert own == dict(zip(own, [b"own\n", b"own\n", b"kept\n", b"kept\n"], strict=True))
    for number in range(ROUNDS):
        assert len(story.vm.cat(f"/var/d{number}/moved")) == 50_000
        assert len(story.vm.cat(f"/root/d{number}/data")) == 50_000


def test_and_nothing_is_left_to_do(story: Story) -> None:
    assert story.vm.pending() == {}
