"""A layout that a test fills."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.formats.oci.making import LayoutMaker

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def maker(tmp_path: Path) -> LayoutMaker:
    return LayoutMaker(tmp_path / "layout")
