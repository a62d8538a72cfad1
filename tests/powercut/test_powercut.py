"""The power fails at any moment of each scene: no state that is left loses anything or stops the next run.

A class for each scene: `--dist loadscope` gives each class to one worker, so each is recorded once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pytest

from tests.powercut.drill import PowerCut, prepared
from tests.powercut.recording import start_recorder
from tests.powercut.scenes import ALL

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="class")
def drill(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, clean_environment: None
) -> Iterator[PowerCut]:
    directory = tmp_path_factory.mktemp("powercut")
    cache = str(directory / "project" / ".cache")
    with (
        start_recorder(directory, XDG_CACHE_HOME=cache) as (recorder, runner),
        prepared(ALL[request.cls.scene], recorder, runner, directory) as made,
    ):
        yield made


class Cut:
    """The tests of a scene."""

    scene: ClassVar[str]

    def test_whatever_a_power_cut_leaves_the_next_run_ends_well_and_nothing_is_lost(
        self, drill: PowerCut
    ) -> None:
        for number in range(drill.scene.states):
            drill.try_state(number)
