"""Kill and faults: each scene is run once for each call at which it is hit, looked at, and run to its end.

It is killed at every rename, sync, unlink and truncation of the run, those of the programs that it starts
included, and at 60 of the calls that write, or make something. Of each kind some calls fail, spread over the
run: once, and then once more with an error that lasts, as on a disk that stays full.

A class for each scene: `--dist loadscope` gives each class to one worker. So the scenes run side by side,
and each is prepared once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pytest

from tests.drills.calls import Hit
from tests.drills.drill import ERRORS, Drill, spread
from tests.drills.scenes import SCENES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.drills.running import Runner

KILLED_AT_EACH = ("rename", "sync", "unlink", "truncate")
WRITES = ("write", "create")
MOST_WRITES = 60
FAILING = {"write": 24, "sync": 24, "create": 8, "truncate": 8, "rename": 6}
"""How many calls of a kind fail at the most."""


@pytest.fixture(scope="class")
def drill(request: pytest.FixtureRequest, runner: Runner, tmp_path_factory: pytest.TempPathFactory) -> Drill:
    return Drill(SCENES[request.cls.scene], runner, tmp_path_factory.mktemp("drill"))


class Drilled:
    """The tests of a scene."""

    scene: ClassVar[str]
    most_writes: ClassVar[int] = MOST_WRITES
    failing: ClassVar[Mapping[str, int]] = FAILING

    @pytest.mark.parametrize("kind", KILLED_AT_EACH)
    def test_killed_at_any_call_nothing_is_lost_and_the_next_run_ends_it(
        self, drill: Drill, kind: str
    ) -> None:
        for at in range(1, drill.counts[kind] + 1):
            drill.kill(Hit((kind,), at))

    def test_killed_at_a_write_nothing_is_lost_and_the_next_run_ends_it(self, drill: Drill) -> None:
        for at in spread(sum(drill.counts[kind] for kind in WRITES), self.most_writes):
            drill.kill(Hit(WRITES, at))

    @pytest.mark.parametrize("lasting", [False, True], ids=["once", "lasting"])
    @pytest.mark.parametrize("kind", FAILING)
    def test_where_a_call_fails_one_message_says_so_and_nothing_has_changed(
        self, drill: Drill, kind: str, *, lasting: bool
    ) -> None:
        for turn, at in enumerate(spread(drill.counts[kind], self.failing[kind])):
            drill.fail(Hit((kind,), at, ERRORS[turn % len(ERRORS)], lasting=lasting))


class TestBuild(Drilled):
    """All is built for the first time."""

    scene = "build"


class TestPatch(Drilled):
    """Disks that guests have written to are patched in place."""

    scene = "patch"


class TestGrow(Drilled):
    """Such disks grow in place, a root's exception store too."""

    scene = "grow"


class TestQcow2(Drilled):
    """A qcow2 root that its guest has written to grows and is patched in place.

    What it shares with the others' disks is drilled there: so some of the calls will do.
    """

    scene = "qcow2"
    most_writes = 16
    failing: ClassVar[Mapping[str, int]] = {"write": 6, "sync": 4, "create": 2, "truncate": 6, "rename": 2}


class TestOverlay(Drilled):
    """An overlay root that its guest has written to grows and is patched in place; as above, some will do."""

    scene = "overlay"
    most_writes = 8
    failing: ClassVar[Mapping[str, int]] = {"write": 4, "sync": 3, "create": 2, "truncate": 3, "rename": 2}


class TestReplace(Drilled):
    """One root is made anew on purpose, and another for a new base."""

    scene = "replace"


def test_each_scene_is_drilled() -> None:
    assert {drilled.scene for drilled in Drilled.__subclasses__()} == set(SCENES)
