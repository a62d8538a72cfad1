"""Two Debian VMs that an ordinary user boots, logs in to, leaves and stops, with QEMU itself and no KVM."""

from __future__ import annotations

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
import tomli_w

from tests.boot.conftest import Project
from tests.boot.debian import BOOTABLE, tarball
from tests.boot.launched import SshClient
from tests.boot.machine import TIMEOUT_SECONDS
from tests.need import need

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from tests.boot.account import Account

# All in one file: `--dist loadscope` gives it to one worker, so the machines are built and booted once.
pytestmark = pytest.mark.boot

MANIFEST: dict[str, Any] = {
    "image": {
        "bookworm": {
            "kernel": {"guest": "/boot/vmlinuz-*"},
            "initrd": {"guest": "/boot/initrd.img-*"},
            "rootfs": {"tar": "bookworm.tar"},
        }
    },
    "defaults": {
        "image": "bookworm",
        "memory": "384MiB",
        "root": {"format": "qcow2"},
        "ssh_authorized_keys": ["./id_ed25519.pub"],
    },
    "vm": {
        "web": {"network": {"address": "172.16.0.10/24", "gateway": "172.16.0.1", "dns": ["172.16.0.2"]}},
        "db": {"network": {"address": "10.1.2.3/16", "gateway": "10.1.0.1"}},
    },
}
VMS = tuple(MANIFEST["vm"])
NO_KVM = ("--", "-machine", "accel=tcg")
PANICS = ("--", "-machine", "accel=tcg", "-append", "console=ttyS0 panic=1 rdinit=/none root=/dev/none")


@dataclass
class Course:
    """What both VMs said while they ran, and how they were stopped."""

    project: Project
    booted: dict[str, subprocess.CompletedProcess[bytes]] = field(default_factory=dict)
    listed: dict[str, Any] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    codes: dict[str, int] = field(default_factory=dict)
    words: str = ""
    to_gateway: str = ""
    again: subprocess.CompletedProcess[bytes] | None = None
    applied: subprocess.CompletedProcess[bytes] | None = None
    destroyed: subprocess.CompletedProcess[bytes] | None = None
    logs: dict[str, bytes] = field(default_factory=dict)
    stopped: subprocess.CompletedProcess[bytes] | None = None
    left: dict[str, Any] = field(default_factory=dict)
    panicked: subprocess.CompletedProcess[bytes] | None = None
    kept: str = ""

    def run(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        """A command as the ordinary user."""
        return self.project.account.bangerbuild(*arguments, cwd=self.project.directory)

    def ps(self) -> dict[str, Any]:
        """What runs, by name."""
        return {vm["vm"]: vm for vm in json.loads(self.run("ps", "--json").stdout)["vms"]}


@pytest.fixture(scope="module")
def project(scratch: Path, account: Account) -> Iterator[Project]:
    """The VMs of MANIFEST, not built yet, in a directory with a path as long as a store's may be."""
    need("ssh", "openssh-client")
    directory = scratch / ("running" + "-" * 190)
    directory.mkdir()
    (directory / "vm.toml").write_text(tomli_w.dumps(MANIFEST))
    (directory / "bookworm.tar").symlink_to(tarball(BOOTABLE))
    SshClient.with_new_key(directory)
    account.take(directory)
    project = Project(directory, account)
    yield project
    account.bangerbuild("stop", "--all", "--kill", cwd=directory)


@pytest.fixture(scope="module")
def course(project: Project) -> Course:
    """Both are booted by one command each, which builds them too; then they are visited, and stopped."""
    course = Course(project)
    course.run("apply", "-q")

    def boot(vm: str) -> subprocess.CompletedProcess[bytes]:
        return course.run("boot", vm, "-d", f"--wait={TIMEOUT_SECONDS}", "--net", "user", *NO_KVM)

    with ThreadPoolExecutor() as pool:
        course.booted = dict(zip(VMS, pool.map(boot, VMS), strict=True))
    for done in course.booted.values():
        assert done.returncode == 0, done.stderr.decode()
    course.listed = course.ps()
    for vm in VMS:
        course.names[vm] = course.run("ssh", vm, "--", "hostname").stdout.decode()
    for command in (("exit 7",), ("sh", "-c", "exit 8"), ("true",), ("no-such-program",)):
        course.codes[" ".join(command)] = course.run("ssh", "web", "--", *command).returncode
    course.words = course.run("ssh", "web", "--", "printf", "%s|", "a  b", "$HOME", "*").stdout.decode()
    course.to_gateway = course.run(
        "ssh", "web", "--", "ip -4 route; ip -4 -o addr show scope global"
    ).stdout.decode()
    course.again = course.run("boot", "web", "-d")
    course.applied = course.run("apply", "-q")
    course.destroyed = course.run("destroy", "--target", "vm.web", "--yes")
    course.run("ssh", "db", "--", "echo kept >/var/tmp/kept; sync")
    os.kill(course.listed["db"]["pid"], signal.SIGKILL)
    course.logs = {vm: course.run("logs", vm).stdout for vm in VMS}
    course.stopped = course.run("stop", "web", "db", f"--timeout={TIMEOUT_SECONDS}")
    course.left = course.ps()
    course.panicked = course.run("boot", "web", "--no-apply", "--net", "none", *PANICS)
    course.kept = course.run("cat", str(project.vm("db") / "root.qcow2"), "/var/tmp/kept").stdout.decode()
    return course


def test_both_answer_ssh_and_are_listed(course: Course) -> None:
    assert course.listed.keys() == set(VMS)
    for vm in VMS:
        assert b"its sshd answers after " in course.booted[vm].stdout
        assert course.listed[vm]["vmm"] == "qemu"
    assert course.listed["web"]["ssh"] != course.listed["db"]["ssh"]
    assert course.names == {"web": "web\n", "db": "db\n"}


def test_a_commands_exit_code_is_its_own(course: Course) -> None:
    assert course.codes == {"exit 7": 7, "sh -c exit 8": 8, "true": 0, "no-such-program": 127}


def test_a_commands_words_arrive_as_they_are(course: Course) -> None:
    assert course.words == "a  b|$HOME|*|"


def test_the_declared_address_and_gateway_are_right(course: Course) -> None:
    assert "default via 172.16.0.1" in course.to_gateway
    assert "172.16.0.10/24" in course.to_gateway


def test_a_vm_that_runs_is_left_alone(course: Course) -> None:
    assert course.again is not None
    assert course.applied is not None
    assert course.destroyed is not None
    assert (course.again.returncode, course.applied.returncode, course.destroyed.returncode) == (4, 0, 4)
    assert b"'web' is already running (qemu, process " in course.again.stderr
    assert b"'web' is running: nothing was removed" in course.destroyed.stderr


def test_the_console_is_kept_from_the_start(course: Course) -> None:
    for vm in VMS:
        assert b"Linux version" in course.logs[vm]
        assert course.logs[vm].count(b"Command line: ") == 1


def test_the_guest_that_can_powers_down_and_the_killed_one_does_not_run(course: Course) -> None:
    assert course.stopped is not None
    assert course.stopped.returncode == 0
    assert course.stopped.stdout == b"web: powered down\n"
    assert course.stopped.stderr == b"db: not running\n"
    assert course.left == {}


def test_what_a_killed_guest_had_synced_is_there(course: Course) -> None:
    assert course.kept == "kept\n"


def test_a_guest_that_panics_ends_the_command_badly(course: Course) -> None:
    assert course.panicked is not None
    assert course.panicked.returncode == 1
    assert b"Kernel panic - not syncing" in course.panicked.stdout
    assert b"error: the guest of 'web' panicked" in course.panicked.stderr
