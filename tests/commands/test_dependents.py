"""What in a store needs an image: by records, and by what launch files say now."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from bangerbuild import store
from bangerbuild.commands.dependents import (
    dependents,
    image_directories,
    unknown_stores,
)
from bangerbuild.errors import StoreError
from bangerbuild.model import ArtifactPath
from bangerbuild.model.fingerprint import FINGERPRINT_LENGTH
from tests.projects import DEBIAN, Project, write_tar
from tests.steps.guest_disks import IMAGE

if TYPE_CHECKING:
    from pathlib import Path

    from bangerbuild.store import Store

FINGERPRINT = "0123456789abcdef" * (FINGERPRINT_LENGTH // 16)
DIRECTORY = f"images/debian/{FINGERPRINT}"
SCRIPTS = {"vms/web/attach.sh", "vms/web/detach.sh"}
"""They name the image of a snapshot."""
VM = '[vm.web]\nimage = "debian"\nroot.format = "FORMAT"\n'


@pytest.fixture(params=["snapshot", "raw"])
def project(tmp_path: Path, request: pytest.FixtureRequest) -> Project:
    """A VM whose root is of either format, built."""
    write_tar(tmp_path / "root.tar", DEBIAN)
    made = Project(tmp_path)
    made.write(IMAGE + VM.replace("FORMAT", request.param))
    made.build()
    return made


def opened(project: Project) -> Store:
    return store.read(project.store)


def base(project: Project) -> str:
    directory = ArtifactPath(project.facts("vm.web.root")["base"]).image_directory
    assert directory is not None
    return directory


def test_every_directory_of_an_image_counts_that_is_one_itself(tmp_path: Path) -> None:
    (tmp_path / DIRECTORY).mkdir(parents=True)
    (tmp_path / "images/debian/notes").mkdir()
    (tmp_path / f"images/debian/{FINGERPRINT[::-1]}").symlink_to(tmp_path / DIRECTORY)
    (tmp_path / f"images/a/{FINGERPRINT}").mkdir(parents=True)
    assert image_directories(store.read(tmp_path)) == [f"images/a/{FINGERPRINT}", DIRECTORY]


def test_a_root_needs_the_image_that_it_was_made_from(project: Project) -> None:
    assert dependents(opened(project), apart=SCRIPTS) == {base(project): ["vm.web.root"]}


def test_a_root_that_is_gone_or_goes_too_needs_nothing(project: Project) -> None:
    root = project.artifact("vm.web.root")
    assert dependents(opened(project), apart={str(root.relative_to(project.store)), *SCRIPTS}) == {}
    root.unlink()
    assert dependents(opened(project), apart=SCRIPTS) == {}


def test_a_launch_file_needs_what_it_names_now_whatever_was_written_into_it(project: Project) -> None:
    name = "vms/web/qemu.sh"
    (project.store / name).write_text(f"exec qemu ../../{DIRECTORY}/vmlinuz ../../{DIRECTORY}/initrd.img\n")
    assert dependents(opened(project))[DIRECTORY] == [name]
    assert DIRECTORY not in dependents(opened(project), apart={name})


def test_what_only_looks_like_an_image_is_none(project: Project) -> None:
    before = dependents(opened(project))
    (project.store / "vms/web/qemu.sh").write_text(f"images/debian/{FINGERPRINT[1:]}/x {DIRECTORY}\n")
    assert dependents(opened(project)) == before


def test_the_scripts_of_a_snapshot_need_its_image_too(project: Project) -> None:
    names = sorted(SCRIPTS) if project.artifact("vm.web.root").suffix == ".cow" else []
    assert dependents(opened(project)) == {base(project): ["vm.web.root", *names]}


def test_a_launch_file_that_can_not_be_read_lets_nothing_be_said(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> bytes:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(type(project.store), "read_bytes", refuse)
    with pytest.raises(StoreError, match=r"attach\.sh"):
        dependents(opened(project))


def test_a_directory_in_the_place_of_a_launch_file_names_nothing(project: Project) -> None:
    before = dependents(opened(project))
    (project.store / "vms/web/qemu.sh").mkdir()
    assert dependents(opened(project)) == before


def test_a_snapshot_that_no_record_knows_is_told(project: Project) -> None:
    assert unknown_stores(opened(project)) == []
    for name in ("vms/other/root.cow", "vms/other/root.ext4", "vms/web/old.cow"):
        (project.store / name).parent.mkdir(exist_ok=True)
        (project.store / name).touch()
    assert unknown_stores(opened(project)) == ["vms/other/root.cow", "vms/web/old.cow"]


def test_whoever_needs_an_image_belongs_to_a_vm(project: Project) -> None:
    owners = {one.owner for needing in dependents(opened(project)).values() for one in needing}
    assert owners == {"vm.web"}
