"""What drills run with: one runner for each worker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.drills.running import Runner, start_runner

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session", name="runner")
def one_runner(tmp_path_factory: pytest.TempPathFactory, clean_environment: None) -> Iterator[Runner]:
    """Bangerbuild, to be run and hit."""
    with start_runner(tmp_path_factory.mktemp("runner")) as started:
        yield started
