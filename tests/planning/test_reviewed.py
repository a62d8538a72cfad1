"""A plan that somebody has seen, against the plan of now."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import MOST_NAMED, StalePlanError
from bangerbuild.model import Action, Plan, Reason, ReasonCode, Recipe, Verb
from bangerbuild.planning.reviewed import refuse_stale
from tests.fakes import FakeStep

if TYPE_CHECKING:
    from collections.abc import Sequence


def action(step_id: str, verb: Verb = Verb.UPDATE, fingerprint: str = "a", *reasons: Reason) -> Action:
    return Action(FakeStep(step_id), verb, reasons, Recipe("fake", {}, {}, {}, {}), fingerprint, ())


def refusal(reviewed: Sequence[Action], today: Sequence[Action]) -> StalePlanError:
    with pytest.raises(StalePlanError) as caught:
        refuse_stale(Plan(Path("store"), tuple(reviewed)), Plan(Path("store"), tuple(today)))
    return caught.value


def test_the_same_plan_holds_whatever_its_reasons_are() -> None:
    reviewed = Plan(Path("store"), (action("a"), action("b", Verb.KEEP)))
    today = Plan(
        Path("store"), (action("a", Verb.UPDATE, "a", Reason(ReasonCode.MISSING)), action("b", Verb.KEEP))
    )
    refuse_stale(reviewed, today)


def test_another_action_is_told_with_the_one_that_was_seen() -> None:
    error = refusal([action("a"), action("b")], [action("a"), action("b", Verb.BLOCKED)])
    assert error.brief == "the plan no longer holds: b"
    assert error.details == "b: update -> blocked"
    assert error.hint == "make the plan again"


def test_the_same_action_of_something_else_is_told_too() -> None:
    assert refusal([action("a")], [action("a", fingerprint="b")]).details == "a: update, of something else"


@pytest.mark.parametrize(
    ("reviewed", "today", "details"),
    [
        ([action("a")], [], "a: update -> not there"),
        ([], [action("a", Verb.CREATE)], "a: not there -> create"),
    ],
)
def test_a_step_that_came_or_went_is_told(reviewed: list[Action], today: list[Action], details: str) -> None:
    assert refusal(reviewed, today).details == details


def test_of_many_steps_the_brief_names_a_few_and_the_details_all() -> None:
    actions = [action(f"step{number}") for number in range(MOST_NAMED + 2)]
    error = refusal(actions, [])
    assert error.brief.endswith("step4 and 2 more")
    assert error.details is not None
    assert len(error.details.splitlines()) == len(actions)


def test_as_many_as_can_be_named_are_named_without_more() -> None:
    assert refusal([action(f"step{number}") for number in range(MOST_NAMED)], []).brief.endswith("step4")


def test_whether_something_is_built_or_fetched_makes_no_difference() -> None:
    reviewed = Plan(Path("store"), (action("a", Verb.FETCH), action("b", Verb.CREATE)))
    refuse_stale(reviewed, Plan(Path("store"), (action("a", Verb.CREATE), action("b", Verb.FETCH))))
    assert refusal([action("a", Verb.FETCH)], [action("a", Verb.FETCH, "b")]).brief.endswith(": a")
