"""Projects to build images in, a server of files, and a cache that is the test's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.projects import DEBIAN, Project, write_tar
from tests.web import Web, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
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


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache, empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/bangerbuild"


@pytest.fixture
def served(tmp_path: Path) -> Path:
    """The directory whose files `web` serves."""
    path = tmp_path / "served"
    path.mkdir()
    return path


@pytest.fixture
def web(served: Path, cache: Path) -> Iterator[Web]:
    """A server of the files in `served`."""
    with serving(served) as web:
        yield web
