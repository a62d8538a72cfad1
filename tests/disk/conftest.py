"""A fresh filesystem for each test, made once for all."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.disk.ext4_tools import clone, make_ext4
from tests.disk.filesystems import BARE
from tests.hostile.damage import make_target

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty 64 MiB ext4 in blocks of 4 KiB, not to be written."""
    return make_ext4(tmp_path_factory.mktemp("blank") / "blank.ext4")


@pytest.fixture
def disk(blank: Path, tmp_path: Path) -> Path:
    """A copy of it of the test's own."""
    path = tmp_path / "disk.ext4"
    clone(blank, path)
    return path


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return make_target(tmp_path / "target.ext4", *BARE)
