"""What drills run with: one runner for each worker, one prepared scene for each file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.drills.drill import Drill
from tests.drills.running import Runner, runner

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session", name="runner")
def one_runner(tmp_path_factory: pytest.TempPathFactory, clean_environment: None) -> Iterator[Runner]:
    """Bangerbuild, to be run and hit."""
    with runner(tmp_path_factory.mktemp("runner")) as started:
        yield started


@pytest.fixture(scope="module")
def drill(runner: Runner, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Drill:
    """The scene that the file names as its SCENE."""
    return Drill(request.module.SCENE, runner, tmp_path_factory.mktemp("drill"))
