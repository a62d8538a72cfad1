"""A registry that lies, and an artifact to put into it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cache_registry.lying import LyingRegistry, lying_registry
from tests.cache_registry.making import Made, disk, made

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def lying(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LyingRegistry]:
    with lying_registry(tmp_path, monkeypatch) as registry:
        yield registry


@pytest.fixture(scope="package")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A root filesystem."""
    return made(disk(tmp_path_factory.mktemp("artifact") / "rootfs.ext4"))
