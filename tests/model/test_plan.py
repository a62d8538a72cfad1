"""Actions and plans: what is to be run, and how many there are of each verb."""

from __future__ import annotations

from pathlib import Path

import pytest

from bangerbuild.model import Action, Plan, Reason, ReasonCode, Recipe, Verb
from tests.fakes import FakeStep

RECIPE = Recipe("fake", {}, {}, {}, {})


def action(verb: Verb, *codes: ReasonCode) -> Action:
    return Action(FakeStep("vm.web.root"), verb, tuple(map(Reason, codes)), RECIPE, "f", ())


def test_an_action_has_the_id_of_its_step() -> None:
    assert action(Verb.KEEP).id == "vm.web.root"


@pytest.mark.parametrize("verb", Verb)
def test_all_but_what_is_kept_moved_or_blocked_is_run(verb: Verb) -> None:
    assert action(verb).pending == (verb not in {Verb.KEEP, Verb.MOVE, Verb.BLOCKED})
    assert action(verb).moves == (verb is Verb.MOVE)


@pytest.mark.parametrize("verb", Verb)
def test_what_somebody_holds_open_is_never_run(verb: Verb) -> None:
    held = action(verb, ReasonCode.FILE_DIFFERS, ReasonCode.IN_USE)
    assert held.in_use
    assert not held.pending
    assert not action(verb, ReasonCode.FILE_DIFFERS).in_use


def test_a_plan_counts_every_verb() -> None:
    plan = Plan(Path("build"), (action(Verb.KEEP), action(Verb.KEEP), action(Verb.CREATE)))
    assert plan.counts() == {**dict.fromkeys(Verb, 0), Verb.KEEP: 2, Verb.CREATE: 1}


def test_what_a_plan_was_made_from_makes_no_other_plan_of_it() -> None:
    assert Plan(Path("build"), (), origin=object()) == Plan(Path("build"), ())
