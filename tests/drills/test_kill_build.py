from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

import pytest

from tests.drills.calls import Hit
from tests.drills.scenes import SCENES

if TYPE_CHECKING:
    from tests.drills.drill import Drill

SCENE = SCENES["build"]


@pytest.mark.parametrize("kind", ["rename", "sync", "unlink", "truncate", "create"])
def test_every(drill: Drill, kind: str) -> None:
    assert all(drill.kill(Hit([kind], at)) or True for at in range(1,drill.counts[kind]+1))
