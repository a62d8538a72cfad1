"""Projects to build in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.projects import DEBIAN, Project, write_tar

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """An empty one."""
    return Project(tmp_path)


@pytest.fixture
def debian(project: Project) -> Project:
    """One with the tarball of a small Debian in it."""
    write_tar(project.directory / "root.tar", DEBIAN)
    return project
