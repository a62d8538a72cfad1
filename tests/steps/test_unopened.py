"""Steps that look into no guest: they find nothing, and show nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild.model import Preview
from bangerbuild.steps.unopened import Unopened
from tests.steps.workspaces import OneStep

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from bangerbuild.declared import Manifest
    from bangerbuild.model import Json, Situation, Step, Verdict, Workspace


class Made(Unopened):
    kind = "made"
    format = 1
    exclusive = False
    changes = None
    id = "vm.web.made"
    inputs = outputs = sources = tools = ()

    @classmethod
    def declare(cls, manifest: Manifest) -> Iterator[Step]:
        raise NotImplementedError

    def judge(self, situation: Situation) -> Verdict:
        raise NotImplementedError

    def run(self, workspace: Workspace) -> Mapping[str, Json]:
        raise NotImplementedError


def test_it_has_one_kind_and_finds_nothing_in_a_disk_that_is_not_even_there(tmp_path: Path) -> None:
    view = OneStep(tmp_path / "missing")
    assert Made.kinds() == ("made",)
    assert Made().inspect(view) == ()
    assert Made().preview(view, is_untouched=True, remakes_disk=False) == Preview()
