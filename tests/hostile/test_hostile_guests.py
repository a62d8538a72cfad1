"""Guests that turn against whoever patches their root: it is patched, or left byte for byte as it is."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.hostile.damage import make_target
from tests.hostile.roots import HOST, debugfs_write
from tests.hostile.running import Ran, digest, everything_but, refusal, run
from tests.manifests import KEY
from tests.projects import Disk, Project
from tests.steps.guest_disks import as_guest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bangerbuild.disk.ext4 import Filesystem

HEAD = """
[image.small]
rootfs.ext4 = "small.ext4"
[defaults]
image = "small"
root.format = "raw"
ssh_authorized_keys = ["{key}"]
network.dns = ["{dns}"]
[[file]]
guest = "/etc/motd"
content = "{dns}"
owner = "www-data:www-data"
"""


@dataclass(frozen=True)
class Guest:
    """What a guest does, and what is said of it then; None: its root is patched all the same."""

    does: Callable[[Filesystem], object] = lambda _: None
    requests: tuple[str, ...] = ()
    """What it does through debugfs."""
    error: str | None = None


def _directory(disk: Filesystem) -> None:
    disk.remove("/etc/hostname")
    disk.make_directory("/etc/hostname/below")


def _loop(disk: Filesystem) -> None:
    disk.remove("/etc", recursive=True)
    disk.make_symlink("/etc", "loop")
    disk.make_symlink("/loop", "etc")


def _deep(disk: Filesystem) -> None:
    for depth in range(1, 16):
        disk.make_directory("/etc/ssh" + f"/{'d' * 255}" * depth)


GUESTS: dict[str, Guest] = {
    "hostname-is-a-directory": Guest(_directory, error="'/etc/hostname' is a directory in"),
    "etc-is-a-loop": Guest(_loop, error="goes through more than 40 symlinks"),
    "hosts-leads-out": Guest(lambda disk: disk.make_symlink("/etc/hosts", f"{HOST}/hosts")),
    "ssh-leads-out": Guest(
        lambda disk: (disk.remove("/etc/ssh", recursive=True), disk.make_symlink("/etc/ssh", f"{HOST}/ssh"))
    ),
    "hosts-of-empty-lines": Guest(lambda disk: disk.write_file("/etc/hosts", b"\n" * (1 << 20))),
    "hosts-of-noise": Guest(lambda disk: disk.write_file("/etc/hosts", os.urandom(1 << 20))),
    "motd-speaks": Guest(lambda disk: disk.write_file("/etc/motd", b"\x1b]0;owned\x07\x9b2J")),
    "passwd-of-lines": Guest(
        lambda disk: disk.write_file("/etc/passwd", b"\n" * (2 << 20)), error="too much to read at once"
    ),
    "passwd-of-64-gib": Guest(
        requests=("set_inode_field /etc/passwd size 0x1000000000",), error="too much to read at once"
    ),
    "hosts-of-64-gib": Guest(requests=("set_inode_field /etc/hosts size 0x1000000000",)),
    "hostname-is-a-fifo": Guest(requests=("rm /etc/hostname", "cd /etc", "mknod hostname p")),
    "motd-is-immutable": Guest(requests=("set_inode_field /etc/motd flags 0x80030",)),
    "deep-below-ssh": Guest(_deep),
}


@dataclass(frozen=True)
class Used:
    """A project whose guests have done what they do, and what the commands said then."""

    project: Project
    before: Mapping[str, str]
    """Digests of the disks, as the guests left them."""
    outside: Mapping[str, str]
    runs: Mapping[str, Ran]

    def actions(self, run: str) -> dict[str, dict[str, Any]]:
        """What a run said of each step."""
        return {action["id"]: action for action in json.loads(self.runs[run].stdout)["actions"]}

    def disk(self, name: str) -> Disk:
        """A VM's root as e2fsprogs sees it."""
        return Disk(self.project.store / f"vms/{name}/root.ext4")


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Used:
    project = Project(tmp_path_factory.mktemp("used"))
    top = project.directory
    make_target(top / "small.ext4")
    declare(project, "10.0.0.1")
    run("apply", "-q", cwd=top).assert_fine(0)
    for name, guest in GUESTS.items():
        path = project.store / f"vms/{name}/root.ext4"
        with as_guest(path) as disk:
            disk.write_file("/srv/sentinel", b"the guest's")
            guest.does(disk)
        debugfs_write(path, *guest.requests)
    before = {name: digest(project.store / f"vms/{name}/root.ext4") for name in GUESTS}
    declare(project, "10.0.0.2")
    outside = everything_but(project.store, top)
    runs = {
        "plan": run("plan", "--json", cwd=top),
        "shown": run("plan", cwd=top),
        "apply": run("apply", "-k", "-q", "--json", cwd=top),
        "again": run("plan", "--json", cwd=top),
    }
    return Used(project, before, outside, runs)


def declare(project: Project, dns: str) -> None:
    project.write(HEAD.format(key=KEY, dns=dns) + "".join(f"[vm.{name}]\n" for name in GUESTS))


@pytest.mark.parametrize("name", [name for name, guest in GUESTS.items() if guest.error is None])
def test_a_root_that_can_be_patched_is(used: Used, name: str) -> None:
    assert used.actions("apply")[f"vm.{name}.root.patch"]["result"] == "done"
    disk = used.disk(name)
    if name != "hosts-of-64-gib":
        disk.assert_clean()
    assert disk.text("/etc/hostname") == f"{name}\n"
    assert disk.text("/etc/motd") == "10.0.0.2"
    assert disk.read("/etc/hosts").startswith(b"127.0.0.1 localhost\n")
    assert disk.text("/srv/sentinel") == "the guest's"
    assert used.actions("again")[f"vm.{name}.root.patch"]["action"] == "keep"


@pytest.mark.parametrize("name", [name for name, guest in GUESTS.items() if guest.error is not None])
def test_a_root_that_cannot_be_patched_stays_as_it_is(used: Used, name: str) -> None:
    action = used.actions("apply")[f"vm.{name}.root.patch"]
    said, _ = refusal(action)
    assert str(GUESTS[name].error) in said
    assert f"'vms/{name}/root.ext4'" in said
    assert digest(used.disk(name).path) == used.before[name]


def test_plans_are_made_in_time_and_show_nothing_that_speaks_to_the_terminal(used: Used) -> None:
    for name in ("plan", "shown", "again"):
        used.runs[name].assert_fine(0)
    used.runs["apply"].assert_fine(1)
    shown = used.runs["shown"].stdout + used.runs["shown"].stderr.encode()
    assert not [byte for byte in shown if byte < 32 and byte not in b"\t\n"]


def test_nothing_is_written_but_into_the_store(used: Used) -> None:
    assert everything_but(used.project.store, used.project.directory) == used.outside
    assert not os.path.lexists(HOST)
