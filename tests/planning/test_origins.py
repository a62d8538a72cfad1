from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bangerbuild import pipeline, store
from bangerbuild.planning import origins
from tests.projects import DEBIAN, Project, write_tar
from tests.steps.guest_disks import IMAGE

if TYPE_CHECKING:
    from pathlib import Path

VMS = '[vm.a]\nimage = "debian"\nwork = false\n[vm.b]\nimage = "debian"\nwork = false\n'
DISK = """
[[vm.a.disk]]
name = "patch"
size = "16MiB"
mount = "/one"
[[vm.a.disk]]
name = "old"
size = "16MiB"
mount = "/two"
"""


@pytest.fixture
def project(tmp_path: Path) -> Project:
    found = Project(tmp_path)
    write_tar(tmp_path / "root.tar", DEBIAN)
    found.write(IMAGE + VMS + DISK)
    found.build()
    return found


def undeclared(project: Project, *manifests: Path) -> tuple[str, ...]:
    request = project.request()
    if manifests:
        request = replace(request, manifests=manifests)
    loaded = pipeline.load_request(request)
    return pipeline.undeclared(loaded, store.read(loaded.store))


def test_a_disk_that_left_a_vm_is_undeclared_with_its_patch(project: Project) -> None:
    assert undeclared(project) == ()
    project.write(IMAGE + VMS)
    assert undeclared(project) == ("vm.a.disk.old", "vm.a.disk.patch")


def test_a_patch_that_left_a_disk_which_stays_is_not(project: Project) -> None:
    recorded = store.read(project.store)
    declared = {record.step_id for record in recorded.records.values()} - {"vm.b.root.patch"}
    assert origins.undeclared(project.request().manifests, declared, recorded) == ()


def test_a_manifest_is_known_behind_a_symlink(project: Project, tmp_path: Path) -> None:
    project.write(IMAGE + VMS.partition("[vm.b]")[0] + DISK)
    link = tmp_path / "link.toml"
    link.symlink_to("vm.toml")
    assert undeclared(project, link) == ("vm.b",)


def test_what_a_vm_came_from_is_known_before_it_is_made(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is killed leaves VMs that nobody may ever declare again."""
    project.write(IMAGE + VMS + DISK + '[vm.c]\nimage = "debian"\n')

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("bangerbuild.execute.execute", killed)
    with pytest.raises(KeyboardInterrupt):
        project.build()
    assert store.read(project.store).origins["vm.c"] == "../vm.toml"


def test_nothing_is_said_of_the_rest_to_who_asks_for_a_part(project: Project) -> None:
    project.write(IMAGE + VMS.partition("[vm.b]")[0] + DISK)
    loaded = pipeline.load_request(replace(project.request(), targets=("vm.a",)))
    assert pipeline.undeclared(loaded, store.read(loaded.store)) == ()
