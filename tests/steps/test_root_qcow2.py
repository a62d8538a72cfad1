"""What the plan makes of a qcow2 root whose file was changed by qemu-img."""

from __future__ import annotations

import os
import socket
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk import in_use
from bangerbuild.disk.formats.qcow2 import Qcow2
from bangerbuild.model import Verb
from tests.disk.ext4_tools import debugfs
from tests.disk.qemu_img import checked, converted
from tests.need import need
from tests.projects import DEBIAN, Project, reasons, write_tar
from tests.waiting import PATIENCE_SECONDS, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIB = 1 << 20
MANIFEST = """\
[image.debian.rootfs]
tar = "rootfs.tar"
size = "24MiB"
[vm.web]
image = "debian"
root = {{ format = "qcow2"{size} }}
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    write_tar(tmp_path / "rootfs.tar", DEBIAN)
    made = Project(tmp_path)
    declare(made)
    made.build()
    return made


def declare(project: Project, size: str | None = None) -> None:
    project.write(MANIFEST.format(size=f', size = "{size}"' if size else ""))


def root_of(project: Project) -> Path:
    return project.store / "vms/web/root.qcow2"


def resize(project: Project, size: str) -> None:
    subprocess.run([need("qemu-img", "qemu-utils"), "resize", "-q", root_of(project), size], check=True)


def test_an_image_that_is_gone_or_another_root_in_its_place_is_told_and_nothing_is_touched(
    project: Project,
) -> None:
    root, image = root_of(project), project.image("debian")
    kept = root.read_bytes()
    aside = image.with_name("aside.ext4")
    with root.open("r+b") as file:  # its guest has been at work
        file.seek(0, os.SEEK_END)
        file.write(bytes(4096))
    written = root.read_bytes()
    image.rename(aside)
    planned = project.plan()
    assert planned["image.debian.rootfs"].verb is Verb.CREATE  # the same bytes, under the same name
    assert planned["vm.web.root"].verb is Verb.KEEP
    assert root.read_bytes() == written
    aside.rename(image)
    other = "../../images/debian/other/rootfs.ext4"
    subprocess.run(
        [need("qemu-img", "qemu-utils"), "rebase", "-u", "-F", "raw", "-b", other, root], check=True
    )
    moved = root.read_bytes()
    blocked = project.plan()["vm.web.root"]
    assert blocked.verb is Verb.BLOCKED
    assert reasons(blocked)[-1]["code"] == "base-unknown"
    project.apply()
    assert root.read_bytes() == moved
    root.write_bytes(kept)
    assert project.plan()["vm.web.root"].verb is Verb.KEEP


def test_a_root_that_nobody_touched_is_not_opened(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def opened(*_: object) -> None:
        raise AssertionError

    for name in ("inspect", "size_of", "opened"):
        monkeypatch.setattr(Qcow2, name, opened)
    assert {action.verb for action in project.plan().values()} == {Verb.KEEP}


def test_its_size_is_that_of_its_disk(project: Project) -> None:
    assert project.facts("vm.web.root")["file_bytes"] == 24 * MIB


def test_one_that_its_user_made_larger_is_kept_and_its_filesystem_grows_as_declared(project: Project) -> None:
    resize(project, "48M")
    assert project.plan()["vm.web.root"].verb is Verb.KEEP
    declare(project, "32MiB")
    planned = project.plan()["vm.web.root"]
    assert planned.verb is Verb.BLOCKED
    assert {"code": "size-shrink", "old": 48 * MIB, "new": 32 * MIB} in reasons(planned)
    declare(project, "64MiB")
    assert project.plan()["vm.web.root"].verb is Verb.GROW
    project.build()
    assert project.facts("vm.web.root")["file_bytes"] == 64 * MIB
    assert {action.verb for action in project.plan().values()} == {Verb.KEEP}


def test_one_that_is_damaged_is_blocked_though_nothing_has_to_be_done_to_it(project: Project) -> None:
    with root_of(project).open("r+b") as file:
        file.seek(79)
        file.write(b"\2")
    planned = project.plan()["vm.web.root"]
    assert planned.verb is Verb.BLOCKED
    (reason,) = reasons(planned)
    assert reason["error"] == "'vms/web/root.qcow2' is marked as corrupt"
    assert reason["hint"] == "qemu-img check -r all vms/web/root.qcow2"


def is_answering(monitor: Path) -> bool:
    """Whether a QEMU greets who connects: by then it has opened its disks."""
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(monitor))
            return connection.recv(4) != b""
        except OSError:
            return False


@contextmanager
def running(root: Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """A QEMU that somebody started by hand, and that has the root open; its guest does not run."""
    ready = root.with_name("monitor")
    command = [
        need("qemu-system-x86_64", "qemu-system-x86"),
        *("-S", "-nodefaults", "-display", "none", "-machine", "q35,accel=tcg", "-m", "64M"),
        *("-drive", f"file={root},format=qcow2,if=virtio", "-qmp", f"unix:{ready},server=on,wait=off"),
        *options,
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    try:
        eventually(lambda: is_answering(ready) or process.poll() is not None)
        yield process
    finally:
        process.kill()
        process.communicate()
        ready.unlink(missing_ok=True)


def test_one_that_is_open_in_qemu_is_left_alone_and_others_on_its_image_are_not(project: Project) -> None:
    vms = '[vm.db]\nimage = "debian"\nroot.format = "qcow2"\n'
    project.write(MANIFEST.format(size="") + vms)
    project.build()
    image = project.image().read_bytes()
    other = project.store / "vms/db/root.qcow2"
    before = root_of(project).read_bytes(), other.read_bytes()
    with running(root_of(project)), running(other):
        assert {action.verb for action in project.plan().values()} == {Verb.KEEP}
        motd = '[[file]]\nguest = "/etc/motd"\ncontent = "new"\n'
        project.write(MANIFEST.format(size="") + vms + motd + '[vm.third]\nimage = "debian"\n')
        planned = project.plan()["vm.web.root.patch"]
        assert [reason["code"] for reason in reasons(planned)] == ["recipe-changed", "in-use"]
        results = project.apply()
        assert results["vm.third.root.patch"].error is None
        assert project.cow("third").exists()
        assert (root_of(project).read_bytes(), other.read_bytes()) == before
    project.build()
    with converted_root(project) as raw:
        assert debugfs(raw, "cat /etc/motd") == b"new"
    assert project.image().read_bytes() == image


def test_qemu_can_t_start_on_one_that_is_changed(project: Project) -> None:
    with in_use.held(root_of(project), "root.qcow2"), running(root_of(project)) as process:
        _, said = process.communicate(timeout=PATIENCE_SECONDS)
        assert b"root.qcow2,format=qcow2,if=virtio: Failed to" in said


@contextmanager
def converted_root(project: Project) -> Iterator[Path]:
    checked(root_of(project))
    yield converted(root_of(project), project.directory / "raw.ext4")
