"""What the last run wrote on a disk that nobody has touched since is not looked at again."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

import pytest

from bangerbuild.steps import patching
from tests.steps.guest_disks import IMAGE, as_guest, vm_disk

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.projects import Disk, Project

MANIFEST = f"""{IMAGE}
[vm.web]
image = "debian"
work.size = "64MiB"
[[vm.web.file_sync]]
host = "tree"
guest = "~/tree"
"""
COUNT = 40


@pytest.fixture
def tree(debian: Project) -> Path:
    """A host tree that is on the work disk, and may have changed since."""
    top = debian.directory / "tree"
    for number in range(COUNT):
        (top / f"d{number % 4}").mkdir(parents=True, exist_ok=True)
        (top / f"d{number % 4}/f{number}").write_text(f"{number}\n")
    (top / "link").symlink_to("d0/f0")
    debian.write(MANIFEST)
    debian.build()
    return top


@pytest.fixture
def looked_at(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The guest paths of files that are compared with what is on the disk."""
    paths: list[str] = []
    own = patching._same_file

    def same_file(disk: object, item: patching.PlacedEntry) -> str | None:
        paths.append(item.guest)
        return own(disk, item)  # type: ignore[arg-type]

    monkeypatch.setattr(patching, "_same_file", same_file)
    return paths


def work(project: Project) -> Disk:
    return vm_disk(project, "work")


def contents(top: Path) -> dict[str, tuple[int, str]]:
    """Mode of each entry, and what it holds."""
    found = {}
    for path in top.rglob("*"):
        held = str(path.readlink()) if path.is_symlink() else path.read_text() if path.is_file() else ""
        found[str(path.relative_to(top))] = path.lstat().st_mode, held
    return found


def assert_is_on_disk(tree: Path, project: Project) -> None:
    """Judged by e2fsck, and by what debugfs copies out."""
    work(project).assert_clean()
    out = project.directory / "out"
    shutil.rmtree(out, ignore_errors=True)
    assert contents(work(project).dump(out) / "tree") == contents(tree)


def test_one_edit_looks_at_one_file(debian: Project, tree: Path, looked_at: list[str]) -> None:
    (tree / "d1/f1").write_text("edited\n")
    debian.build()
    assert looked_at == ["/root/tree/d1/f1"]
    assert_is_on_disk(tree, debian)


def test_a_disk_that_its_guest_wrote_to_is_looked_at_as_a_whole(
    debian: Project, tree: Path, looked_at: list[str]
) -> None:
    with as_guest(work(debian).path) as disk:
        disk.write_file("/tree/d2/f2", b"the guest's\n")
    (tree / "d1/f1").write_text("edited\n")
    debian.build()
    assert len(looked_at) == COUNT + 1
    assert_is_on_disk(tree, debian)


def file_to_directory(tree: Path) -> None:
    (tree / "d0/f0").unlink()
    (tree / "d0/f0").mkdir()
    (tree / "d0/f0/below").write_text("below\n")


def directory_to_link(tree: Path) -> None:
    shutil.rmtree(tree / "d3")
    (tree / "d3").symlink_to("d2")


def link_to_file(tree: Path) -> None:
    (tree / "link").unlink()
    (tree / "link").write_text("a file\n")


EDITS: tuple[Callable[[Path], object], ...] = (
    file_to_directory,
    directory_to_link,
    link_to_file,
    lambda tree: (tree / "d1/f5").unlink(),
    lambda tree: (tree / "d1").chmod(0o750),
    lambda tree: (tree / "d2/f2").chmod(0o755),
    lambda tree: (tree / "d2/f6").rename(tree / "d2/moved"),
    lambda tree: shutil.copytree(tree / "d2", tree / "new"),
    lambda tree: shutil.rmtree(tree / "d2"),
)


def test_after_each_kind_of_edit_the_disk_has_the_tree(debian: Project, tree: Path) -> None:
    for edit in EDITS:
        edit(tree)
        debian.build()
        assert_is_on_disk(tree, debian)


def test_names_of_one_file_that_are_two_files_now_are_two_in_the_guest(debian: Project, tree: Path) -> None:
    os.link(tree / "d1/f1", tree / "d1/other")
    debian.build()
    inodes = {work(debian).inode(f"/tree/d1/{name}") for name in ("f1", "other")}
    assert len(inodes) == 1
    shutil.copy2(tree / "d1/f1", tree / "copy")
    (tree / "copy").rename(tree / "d1/other")
    (tree / "d1/f5").write_text("edited\n")
    debian.build()
    inodes = {work(debian).inode(f"/tree/d1/{name}") for name in ("f1", "other")}
    assert len(inodes) == 2


def test_files_get_the_other_kind_of_times_when_the_manifest_asks_for_it(debian: Project, tree: Path) -> None:
    os.utime(tree / "d1/f1", (1_500_000_000, 1_500_000_000))
    debian.write(f'{MANIFEST}times = "fixed"\n')
    debian.build()
    fixed = work(debian).stat("/tree/d1/f1").mtime
    debian.write(f'{MANIFEST}times = "host"\n')
    debian.build()
    assert fixed != work(debian).stat("/tree/d1/f1").mtime == 1_500_000_000
