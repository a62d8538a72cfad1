"""Steps that look into no guest: they find nothing, and show nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild.model import Preview
from bangerbuild.steps.unopened import Unopened
from tests.steps.workspaces import OneStep

if TYPE_CHECKING:
    from pathlib import Path


class Made(Unopened):
    kind = "made"


def test_it_has_one_kind_and_finds_nothing_in_a_disk_that_is_not_even_there(tmp_path: Path) -> None:
    view = OneStep(tmp_path / "missing")
    assert Made.kinds() == ("made",)
    assert Made().inspect(view) == ()
    assert Made().preview(view, is_untouched=True, remakes_disk=False) == Preview()
