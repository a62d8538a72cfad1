"""At which calls a scene is hit.

It is killed at every rename, sync, unlink and truncation of the run, those of the programs that it starts
included, and at 60 of the calls that write, or make something. Of each kind some calls fail, spread over the
run: once, and then once more with an error that lasts, as on a disk that stays full.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.drills.calls import Hit
from tests.drills.drill import ERRORS, spread

if TYPE_CHECKING:
    from tests.drills.drill import Drill

KILLED_AT_EACH = ("rename", "sync", "unlink", "truncate")
MOST_WRITES = 60
FAILING = {"write": 24, "sync": 24, "create": 8, "truncate": 8, "rename": 6}
"""How many calls of a kind fail at the most."""


def kill_at_each(drill: Drill, kind: str) -> None:
    """Kill the scene at every call of a kind."""
    for at in range(1, drill.counts[kind] + 1):
        drill.kill(Hit((kind,), at))


def kill_at_writes(drill: Drill) -> None:
    """Kill the scene at some of the calls that write, or that make files and directories."""
    kinds = ("write", "create")
    for at in spread(sum(drill.counts[kind] for kind in kinds), MOST_WRITES):
        drill.kill(Hit(kinds, at))


def fail_at(drill: Drill, kind: str, *, lasting: bool) -> None:
    """Let calls of a kind fail, one in each run; the errors take turns."""
    for turn, at in enumerate(spread(drill.counts[kind], FAILING[kind])):
        drill.fail(Hit((kind,), at, ERRORS[turn % len(ERRORS)], lasting=lasting))
