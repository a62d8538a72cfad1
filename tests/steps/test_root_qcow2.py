"""What the plan makes of a qcow2 root whose file was changed by qemu-img."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk.formats.qcow2 import Qcow2
from bangerbuild.model import Verb
from tests.need import need
from tests.projects import DEBIAN, Project, reasons, write_tar

if TYPE_CHECKING:
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
        file.write(b"\1")
    planned = project.plan()["vm.web.root"]
    assert planned.verb is Verb.BLOCKED
    (reason,) = reasons(planned)
    assert reason["error"] == "'vms/web/root.qcow2' was not closed (dirty)"
    assert reason["hint"] == "qemu-img check -r all vms/web/root.qcow2"
