"""Fixtures: a project of its own for each test, in its directory, with a home and a cache of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.uptodate.project import Project, write_project

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    """Written, and nothing built."""
    home = tmp_path / "home"
    write_project(tmp_path / "project", home)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path / "project")
    return Project(tmp_path / "project", home)


@pytest.fixture
def built(project: Project) -> Project:
    """Built by one run of `apply`."""
    project.apply()
    return project
