from __future__ import annotations

from typing import TYPE_CHECKING

from tests.running.fake_vmms import Project

if TYPE_CHECKING:
    from pathlib import Path


def records(project: Project) -> list[Path]:
    directory = project.directory.parent / "cache" / "bangerbuild" / "boot"
    return list(directory.iterdir()) if directory.exists() else []


def test_a_start_is_kept_only_where_all_was_built(tmp_path: Path) -> None:
    project = Project.make(tmp_path)
    assert project.run("apply", "-q").returncode == 0
    project.run("boot", "web", "-d", "--no-apply")
    project.close()
    assert records(project) == []
    project.run("boot", "web", "-d")
    project.close()
    assert len(records(project)) == 1


def test_a_store_that_can_not_be_remembered_starts_all_the_same(tmp_path: Path) -> None:
    project = Project.make(tmp_path)
    done = project.run("boot", "web", "-d", XDG_CACHE_HOME="", HOME="")
    project.close()
    assert done.returncode == 0, done.stderr
    assert records(project) == []
