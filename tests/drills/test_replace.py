"""Kill and faults while one root is made anew on purpose and another for a new base; see `points`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.drills import points
from tests.drills.scenes import SCENES

if TYPE_CHECKING:
    from tests.drills.drill import Drill

SCENE = SCENES["replace"]


@pytest.mark.parametrize("kind", points.KILLED_AT_EACH)
def test_killed_at_any_call_nothing_is_lost_and_the_next_run_ends_it(drill: Drill, kind: str) -> None:
    points.kill_at_each(drill, kind)


def test_killed_at_a_write_nothing_is_lost_and_the_next_run_ends_it(drill: Drill) -> None:
    points.kill_at_writes(drill)


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "lasting"])
@pytest.mark.parametrize("kind", points.FAILING)
def test_where_a_call_fails_one_message_says_so_and_nothing_has_changed(
    drill: Drill, kind: str, *, lasting: bool
) -> None:
    points.fail_at(drill, kind, lasting=lasting)
