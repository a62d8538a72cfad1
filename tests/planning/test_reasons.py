"""Reasons are true: none is blamed on what nobody touched, and nothing is told twice."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bangerbuild import report
from bangerbuild.commands import destroy
from bangerbuild.model import ReasonCode, Verb
from tests.projects import DEBIAN, Project, codes, reasons, write_tar
from tests.steps.guest_disks import IMAGE
from tests.stores import opened_by_another

if TYPE_CHECKING:
    from pathlib import Path

VM = '[vm.web]\nimage = "debian"\n'
WORK = '[vm.web.work]\nsize = "16MiB"\n'
FILE = '[[vm.web.file]]\nguest = "/etc/app.conf"\ncontent = "1"\n'


@pytest.fixture
def project(tmp_path: Path) -> Project:
    found = Project(tmp_path)
    write_tar(tmp_path / "root.tar", DEBIAN)
    found.write(IMAGE + VM + WORK)
    found.build()
    return found


def test_a_disk_that_left_a_vm_is_told_once(project: Project) -> None:
    project.write(IMAGE + VM + "work = false\n")
    launch = project.plan()["vm.web.launch"]
    assert [*map(report.reason, launch.reasons)] == ["work: true -> false"]


def test_a_disk_that_came_to_a_vm_is_told_once(project: Project) -> None:
    project.write(IMAGE + VM + WORK + '[[vm.web.disk]]\nname = "data"\nsize = "16MiB"\nmount = "/data"\n')
    launch = project.plan()["vm.web.launch"]
    assert codes(launch.reasons) == ["recipe-changed"]


def test_what_stands_on_a_disk_in_use_that_is_left_stands_on_what_it_is(project: Project) -> None:
    project.write(IMAGE + VM + WORK.replace("16MiB", "32MiB"))
    with opened_by_another(project.store / "vms/web/work.ext4"):
        plan = project.plan()
    assert (plan["vm.web.work"].verb, plan["vm.web.work"].in_use) == (Verb.GROW, True)
    assert plan["vm.web.launch"].verb is Verb.KEEP
    assert project.plan()["vm.web.work"].verb is Verb.GROW


def test_an_image_that_was_emptied_is_not_blamed_on_the_disks_that_stand_on_it(project: Project) -> None:
    image = project.image()
    content = image.read_bytes()
    image.write_bytes(b"")
    project.cow().touch()
    plan = project.plan()
    assert (plan["image.debian.rootfs"].verb, plan["vm.web.root"].reasons) == (Verb.REPLACE, ())
    project.write(IMAGE + VM + WORK + FILE)
    for damage in (b"", content[:1024] + bytes(1024) + content[2048:]):
        image.write_bytes(damage)
        action = project.plan()["vm.web.root.patch"]
        (reason,) = reasons(action)
        assert action.verb is Verb.BLOCKED
        assert str(image.relative_to(project.store)) in str(reason["message"])
        assert "e2fsck" not in str(report.way_out(action))
    project.apply()
    project.build()
    assert project.guest().read("/etc/app.conf") == b"1"


def test_a_disk_that_is_gone_need_not_hold_what_a_guest_wrote(project: Project) -> None:
    (project.store / "vms/web/work.ext4").unlink()
    action = project.plan()["vm.web.work"]
    assert codes(action.reasons) == [ReasonCode.DISK_GONE.value]
    said = [*map(report.reason, action.reasons)]
    assert said == ["'vms/web/work.ext4' is gone, and a guest may have written to it"]


def test_a_root_that_was_copied_with_its_store_is_no_guest_s(project: Project, tmp_path: Path) -> None:
    copied = tmp_path / "copied"
    shutil.copytree(project.store, copied)
    request = replace(project.request(), store=copied, targets=("vm.web",))
    lost: list[destroy.Loss] = []

    def refuse(loss: destroy.Loss) -> bool:
        lost.append(loss)
        return False

    assert destroy.destroy(request, refuse, project.warnings.append, lock_seconds=0) is None
    guests = {item.artifact for item in lost[0].items if item.guests}
    assert guests == {"vms/web/work.ext4"}  # which was made for a guest to fill
