"""The power fails at any moment of each scene: no state that is left loses anything or stops the next run.

A class for each scene: `--dist loadscope` gives each class to one worker, so each is recorded once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pytest

from tests.powercut.drill import PowerCut, prepared
from tests.powercut.mutations import PLACES
from tests.powercut.recording import start_recorder
from tests.powercut.scenes import ALL

if TYPE_CHECKING:
    from collections.abc import Iterator

STATES = 200
"""How many are looked at of each scene; `make powercut` looks at more."""


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
        for number in range(STATES):
            drill.try_state(number)

    def test_a_sync_that_is_left_out_is_found(self, drill: PowerCut) -> None:
        for place in PLACES:
            if place.scene == drill.scene.name:
                assert drill.finds(place.is_left_out), place.what


class TestBuild(Cut):
    """All is built for the first time."""

    scene = "build"


class TestPatch(Cut):
    """Disks that guests have written to are patched in place."""

    scene = "patch"


class TestGrow(Cut):
    """Such disks grow in place."""

    scene = "grow"


class TestGrowOnly(Cut):
    """Disks grow, and are not patched."""

    scene = "grow-only"


class TestOverlay(Cut):
    """A root that its guest joins with its image grows and is patched."""

    scene = "overlay"


class TestGrowShared(Cut):
    """They grow in copies that share their blocks, as on XFS and btrfs."""

    scene = "grow-shared"


class TestQcow2(Cut):
    """A qcow2 root that its guest has written to grows and is patched in place."""

    scene = "qcow2"


class TestReplace(Cut):
    """One root is made anew on purpose, and another for a new base."""

    scene = "replace"


class TestAdopt(Cut):
    """Disks of a guest become those of a new store."""

    scene = "adopt"


class TestGc(Cut):
    """What nothing needs is removed."""

    scene = "gc"


class TestDestroy(Cut):
    """A VM is removed, and another one stays."""

    scene = "destroy"


class TestMove(Cut):
    """A VM gets another name, and a first secret."""

    scene = "move"


class TestRecover(Cut):
    """Records are made again, and the damaged ones set aside."""

    scene = "recover"


class TestLock(Cut):
    """A lock file is written."""

    scene = "lock"


class TestCache(Cut):
    """A source is fetched into the cache."""

    scene = "cache"


def test_each_scene_is_cut() -> None:
    assert {cut.scene for cut in Cut.__subclasses__()} == set(ALL)


def test_ten_places_at_least_have_a_sync_left_out() -> None:
    assert len(PLACES) >= 10
    assert {place.scene for place in PLACES} <= set(ALL)
