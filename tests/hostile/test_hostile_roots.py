"""VMs on root filesystems set against us: right work or a clear error, and nothing outside the store."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.hostile.roots import HOST, LONGEST_NAME, ROOTS, Root, make_root
from tests.hostile.running import Ran, digest, everything_but, refusal, run
from tests.manifests import KEY
from tests.projects import Disk, Project
from tests.steps.guest_disks import as_guest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FORMATS = ("snapshot", "raw")
SOUND = [root for root in ROOTS if root.error is None]
IMAGE = '[image.{0}.rootfs]\next4 = "{0}.ext4"\n'
VM = """
[vm.{name}-{form}]
image = "{name}"
root.format = "{form}"
network = {{ address = "10.0.0.{number}/24", dns = ["{dns}"], tap = "t{number}" }}
"""
COMMON = """
[defaults]
ssh_authorized_keys = ["{key}"]
[[file]]
guest = "/etc/app/app.conf"
content = "{dns}"
owner = "www-data:www-data"
"""


@dataclass(frozen=True)
class Built:
    """All roots built, run by their guests, and built once more with other declarations."""

    project: Project
    outside: Mapping[str, str]
    """What was there before the first run, the store apart."""
    images: Mapping[str, str]
    """Digests of the images after the first run."""
    runs: Mapping[str, Ran]

    def actions(self, run: str) -> dict[str, dict[str, Any]]:
        """What a run said of each step."""
        return {action["id"]: action for action in json.loads(self.runs[run].stdout)["actions"]}

    def disk(self, root: Root, form: str) -> Disk:
        """A VM's root as e2fsprogs sees it."""
        if form == "raw":
            return Disk(raw_root(self.project, root))
        return self.project.guest(f"{root.name}-snapshot")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    project = Project(tmp_path_factory.mktemp("roots"))
    top = project.directory
    for root in ROOTS:
        make_root(root, top / f"{root.name}.ext4")
    declare(project, "10.0.0.1")
    outside = everything_but(project.store, top)
    runs = {"first": run("apply", "-k", "-q", "--json", cwd=top)}
    made = images(project)
    for root in SOUND:
        be_its_guest(project, root)
    declare(project, "10.0.0.2")
    runs["plan"] = run("plan", "--json", cwd=top)
    runs["second"] = run("apply", "-k", "-q", "--json", cwd=top)
    runs["third"] = run("apply", "-k", "-q", "--json", cwd=top)
    declare(project, "10.0.0.1")
    return Built(project, outside, made, runs)


def declare(project: Project, dns: str) -> None:
    parts = [COMMON.format(dns=dns, key=KEY)]
    for number, root in enumerate(ROOTS):
        parts.append(IMAGE.format(root.name))
        for own, form in enumerate(FORMATS):
            parts.append(VM.format(name=root.name, form=form, dns=dns, number=2 * number + own + 10))
    project.write("".join(parts))


def images(project: Project) -> dict[str, str]:
    return {str(path): digest(path) for path in project.store.glob("images/*/*/rootfs.ext4")}


def raw_root(project: Project, root: Root) -> Path:
    return project.store / f"vms/{root.name}-raw/root.ext4"


def be_its_guest(project: Project, root: Root) -> None:
    """Write a file to both roots, so that they are changed in place from then on."""
    with project.as_guest(f"{root.name}-snapshot") as disk:
        disk.write_file("/srv/sentinel", b"the guest's")
    with as_guest(raw_root(project, root)) as disk:
        disk.write_file("/srv/sentinel", b"the guest's")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("root", SOUND, ids=lambda root: root.name)
def test_a_root_that_can_be_patched_is_and_stays_sound(built: Built, root: Root, form: str) -> None:
    disk = built.disk(root, form)
    disk.assert_clean()
    assert disk.text("/etc/hostname") == f"{root.name}-{form}\n"
    assert disk.text("/etc/resolv.conf") == "nameserver 10.0.0.2\n"
    assert disk.text("/etc/hosts").startswith("127.0.0.1 localhost\n")
    assert b"tmpfs /tmp tmpfs" in disk.read("/etc/fstab")
    assert disk.text("/etc/app/app.conf") == "10.0.0.2"
    assert disk.stat("/etc/app/app.conf").owner == "33:33"
    assert disk.read("/etc/machine-id") == b""
    assert disk.text("/root/.ssh/authorized_keys") == f"{KEY}\n"
    assert disk.text("/srv/sentinel") == "the guest's"
    for step in (f"vm.{root.name}-{form}.root", f"vm.{root.name}-{form}.root.patch"):
        assert built.actions("third")[step]["action"] == "keep"


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("root", [root for root in ROOTS if root.error], ids=lambda root: root.name)
def test_a_root_that_cannot_be_patched_says_why_and_is_not_made(built: Built, root: Root, form: str) -> None:
    vm = f"{root.name}-{form}"
    action = built.actions("second")[f"vm.{vm}.root.patch"]
    error, way_out = refusal(action)
    assert str(root.error) in error
    assert f"'vms/{vm}/root." in error or f"images/{root.name}/" in error
    assert way_out
    assert list((built.project.store / "vms").glob(f"{vm}/root.*")) == []


@pytest.mark.parametrize("name", ["first", "plan", "second", "third"])
def test_every_run_ends_in_time_and_in_bounds(built: Built, name: str) -> None:
    built.runs[name].assert_fine(0 if name == "plan" else 1, disks=len(ROOTS))


def test_nothing_is_written_but_into_the_store(built: Built) -> None:
    assert everything_but(built.project.store, built.project.directory).items() >= built.outside.items()
    assert not os.path.lexists(HOST)


def test_no_image_changes_under_its_roots(built: Built) -> None:
    assert images(built.project) == built.images


def test_what_led_out_of_the_guest_stays_inside(built: Built) -> None:
    root = next(root for root in ROOTS if root.name == "ssh-leads-out")
    drop_in = "/ssh/sshd_config.d/00-bangerbuild.conf"
    for form in FORMATS:
        assert "PermitRootLogin" in built.disk(root, form).text(f"/outside-of-the-guest{drop_in}")


def test_other_names_of_a_replaced_file_keep_what_it_was(built: Built) -> None:
    root = next(root for root in ROOTS if root.name == "hostname-has-another-name")
    for form in FORMATS:
        disk = built.disk(root, form)
        assert (disk.text("/etc/other-name"), disk.stat("/etc/other-name").links) == ("image\n", 1)


def test_names_that_no_terminal_likes_are_removed_and_kept_as_others_are(built: Built) -> None:
    root = next(root for root in ROOTS if root.name == "names-of-255-bytes")
    for form in FORMATS:
        disk = built.disk(root, form)
        assert disk.text(f"/etc/{LONGEST_NAME}") == "kept"
        assert [name for name in disk.names("/etc/ssh") if name.startswith("ssh_host")] == []


@pytest.mark.parametrize("form", FORMATS)
def test_ls_and_cat_read_inside_such_roots(built: Built, form: str) -> None:
    extension = "cow" if form == "snapshot" else "ext4"
    top = built.project.directory
    disk = f"build/vms/ssh-leads-out-{form}/root.{extension}"
    shown = run("cat", disk, "/etc/ssh/sshd_config.d/00-bangerbuild.conf", cwd=top)
    shown.assert_fine(0)
    assert b"PermitRootLogin" in shown.stdout
    listed = run("ls", "-l", f"build/vms/hostname-is-a-fifo-{form}/root.{extension}", "/etc", cwd=top)
    listed.assert_fine(0)
    assert b" hostname\n" in listed.stdout
