"""The registry of forms."""

from __future__ import annotations

import json

import pytest

from bangerbuild.errors import ManifestError, Problem
from bangerbuild.report.formats import FORMATS, Shown
from tests.report.plans import PLAN

ERROR = ManifestError((Problem("vm.toml", 3, "vm.web", "no"),))


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
def test_every_form_shows_each_step_and_leaves_out_diffs_where_they_are_not_wanted(form: object) -> None:
    shown = {name: "\n".join(one.plan(PLAN, Shown(diffs=name != "text"))) for name, one in FORMATS.items()}
    for text in shown.values():
        assert all(action.id in text for action in PLAN.actions[1:])
    assert "9.9.9.9\n" not in shown["text"].replace("-> 9.9.9.9\n", "")


def test_json_is_the_document_of_the_run() -> None:
    form = FORMATS["json"]
    assert form.is_json
    assert json.loads("\n".join(form.plan(PLAN, Shown())))["format"] == 1
    assert [name for name, one in FORMATS.items() if one.is_json] == ["json"]


@pytest.mark.parametrize("name", ["markdown", "github"])
def test_problems_are_a_result_where_a_machine_reads_them(name: str) -> None:
    told = FORMATS[name].error
    assert told
    assert "vm.toml" in "\n".join(told(ERROR))


def test_where_things_are_declared_is_asked_only_by_the_form_that_says_it() -> None:
    asked: list[str] = []

    def places() -> dict[str, tuple[str, int]]:
        asked.append("x")
        return {"vm.old": ("vm.toml", 7)}

    for name, form in FORMATS.items():
        assert ("vm.toml,line=7" in "\n".join(form.plan(PLAN, Shown(places=places)))) == (name == "github")
    assert asked == ["x"]
