"""The small project of these tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.projects import write_small

if TYPE_CHECKING:
    from pathlib import Path

from tests.pipeline.flows import MANIFEST


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    return write_small(tmp_path, MANIFEST)
