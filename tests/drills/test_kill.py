"""Kill: a run that is ended with SIGKILL right before one of its calls; then others look, and the next run
ends it.

All renames and truncations are hit; of syncs, unlinks and writes some that are spread over the run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.drills.calls import Hit
from tests.drills.drill import Drill
from tests.drills.running import runner
from tests.drills.scenes import SCENES

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST = {"rename": 100, "truncate": 100, "unlink": 10, "sync": 12, "write": 20}
"""How many calls of a kind are hit in each scene."""


@pytest.fixture(scope="module", params=SCENES)
def drill(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drill]:
    """A scene that is ready to be run."""
    directory = tmp_path_factory.mktemp("drill")
    with runner(directory) as running:
        yield Drill(SCENES[request.param], running, directory)


def spread(count: int, most: int) -> list[int]:
    """At most so many of the numbers from 1 to count, evenly spread, the first and the last among them."""
    if count <= most:
        return list(range(1, count + 1))
    return sorted({1 + round(index * (count - 1) / (most - 1)) for index in range(most)})


@pytest.mark.parametrize("kind", MOST)
def test_whatever_call_a_run_is_killed_at_nothing_is_lost_and_the_next_one_finishes_it(
    drill: Drill, kind: str
) -> None:
    for at in spread(drill.counts[kind], MOST[kind]):
        project, ended = drill.run(Hit((kind,), at))
        if not ended.was_killed:  # jobs in threads: now and then a call less is made
            ended.assert_done()
            continue
        drill.look(project)
        drill.finish(project)


def test_every_scene_makes_the_calls_that_it_is_killed_at(drill: Drill) -> None:
    assert drill.counts["sync"] > 10
    assert drill.counts["write"] > 50
    assert drill.counts["unlink"] > 5
