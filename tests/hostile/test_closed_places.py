"""A place in a store that may not be entered is named and left; all else is done, and nothing is lost."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from bangerbuild import store
from tests.projects import Project, write_small
from tests.stores import copied
from tests.unprivileged import run_bangerbuild

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

MANIFEST = """
[image.small.rootfs]
directory = "tree"
[image.other.rootfs]
directory = "tree"
size = "16MiB"
[vm.web]
image = "small"
work.size = "16MiB"
[vm.db]
image = "other"
root.format = "raw"
"""
IMAGE = "image.small.rootfs"
VM = "vm.web.root"
CLOSED = {"vms": VM, "vms/web": VM, "images": IMAGE, "images/small": IMAGE}
"""Places that are closed, and a step whose artifact is in each."""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("closed"))
    write_small(project.directory, MANIFEST)
    project.build()
    return project


@pytest.fixture
def project(built: Project, tmp_path: Path) -> Project:
    copied(built.directory, tmp_path / "project")
    return Project(tmp_path / "project")


def run(project: Project, *words: str) -> subprocess.CompletedProcess[str]:
    return run_bangerbuild(*words, cwd=project.directory)


def document(project: Project, *words: str) -> Any:  # noqa: ANN401  # as JSON is
    done = run(project, *words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def files(directory: Path) -> set[str]:
    return {
        str(path.relative_to(directory))
        for path in directory.rglob("*")
        if path.is_file() and not path.name.startswith("state.db")
    }


@pytest.mark.parametrize("mode", [0, 0o444])
@pytest.mark.parametrize("place", CLOSED)
def test_what_is_in_a_closed_place_is_named_and_left_by_all_that_look_or_clear_up(
    project: Project, place: str, mode: int
) -> None:
    before, records = files(project.store), set(store.read(project.store).records)
    closed = project.store / place
    closed.chmod(mode)
    try:
        planned = {one["id"]: one for one in document(project, "plan")["actions"]}
        shown = {one["id"]: one["state"] for one in document(project, "status")["artifacts"]}
        removed = document(project, "gc")["removed"]
    finally:
        closed.chmod(0o755)
    inside = CLOSED[place]
    (reason,) = planned[inside]["reasons"]
    assert (planned[inside]["action"], reason["code"]) == ("blocked", "would-fail")
    assert "permission denied" in reason["message"]
    assert shown[inside] == "unreadable"
    assert removed == []
    assert files(project.store) == before
    assert set(store.read(project.store).records) == records


def test_an_image_that_nobody_declares_stays_while_a_vm_that_may_need_it_is_closed(project: Project) -> None:
    project.write(MANIFEST.replace('[image.small.rootfs]\ndirectory = "tree"', "").partition("[vm.web]")[0])
    closed = project.store / "vms/web"
    closed.chmod(0)
    try:
        done = run(project, "gc")
    finally:
        closed.chmod(0o755)
    assert (done.returncode, done.stdout) == (0, "Nothing to remove.\n")
    assert "warning: 'vms/web' can't be read, and may need any image: all images stay" in done.stderr


def test_a_new_disk_on_an_image_that_is_closed_is_blocked_in_the_plan_already(project: Project) -> None:
    assert run(project, "destroy", "--target", "vm.web", "--yes").returncode == 0
    closed = project.store / "images/small"
    closed.chmod(0)
    try:
        planned = {one["id"]: one["action"] for one in document(project, "plan")["actions"]}
        done = run(project, "apply", "--json")
    finally:
        closed.chmod(0o755)
    applied = {one["id"]: one["action"] for one in json.loads(done.stdout)["actions"]}
    own = {key: verb for key, verb in planned.items() if key.startswith("vm.web.")}
    assert set(own.values()) == {"blocked"}
    assert applied == planned
    assert json.loads(done.stdout)["summary"]["failed"] == 0


@pytest.mark.parametrize("mode", [0, 0o444])
def test_a_vm_of_which_it_cant_be_told_whether_it_runs_keeps_all_its_disks(
    project: Project, mode: int
) -> None:
    before = files(project.store)
    closed = project.store / "vms/web/run"
    closed.mkdir()
    (closed / "lock").touch()
    closed.chmod(mode)
    try:
        done = run(project, "destroy", "--target", "vm.web", "--yes")
    finally:
        closed.chmod(0o755)
    assert done.returncode == 1
    assert "permission denied" in done.stderr
    assert files(project.store) == before | {"vms/web/run/lock"}
