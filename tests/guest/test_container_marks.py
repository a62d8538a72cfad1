"""What containers leave in an exported image, as the built image has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild.guest.container_marks import MARKS, removals
from bangerbuild.tree import GuestEdits, GuestRemoval
from tests.guest.view import guest
from tests.projects import DEBIAN, Disk, Project, write_tar

if TYPE_CHECKING:
    from pathlib import Path


def test_each_mark_is_removed_and_told() -> None:
    outcome = removals(guest(dict.fromkeys(MARKS, "")), "a.tar")
    assert outcome.changes == tuple(map(GuestRemoval, MARKS))
    assert [f"'{path}' of 'a.tar'" in line for path, line in zip(MARKS, outcome.warnings, strict=True)] == [
        True
    ] * 3


def test_an_image_without_them_is_left_alone() -> None:
    assert removals(guest({"/etc/passwd": ""}), "a.tar") == GuestEdits()


def test_an_exported_container_is_no_container_once_it_is_an_image(tmp_path: Path) -> None:
    project = Project(tmp_path)
    write_tar(tmp_path / "root.tar", {**DEBIAN, ".dockerenv": "", "run/.containerenv": ""})
    project.write('[image.debian.rootfs]\ntar = "root.tar"\n')
    project.build()
    disk = Disk(project.image())
    disk.assert_clean()
    assert not disk.exists("/.dockerenv")
    assert disk.names("/run") == set()
    (warning,) = [line for line in project.warnings if ".dockerenv" in line]
    assert "'/.dockerenv' of 'root.tar' is left out" in warning
