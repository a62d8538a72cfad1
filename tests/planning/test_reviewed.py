"""A plan that somebody has seen, against the plan of now."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from bangerbuild.errors import MOST_NAMED, StalePlanError
from bangerbuild.model import Action, Plan, Reason, ReasonCode, Recipe, Verb
from bangerbuild.planning.reviewed import Reviewed, refuse_stale, reviewed
from tests.fakes import FakeStep

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bangerbuild.model import Json


def action(step_id: str, verb: Verb = Verb.UPDATE, fingerprint: str = "a", *reasons: Reason) -> Action:
    return Action(FakeStep(step_id), verb, reasons, Recipe("fake", {}, {}, {}, {}), fingerprint, ())


def compare(before: Plan, today: Plan) -> None:
    refuse_stale(reviewed(before), reviewed(today), today)


def refusal(before: Sequence[Action], today: Sequence[Action]) -> StalePlanError:
    with pytest.raises(StalePlanError) as caught:
        compare(Plan(Path("store"), tuple(before)), Plan(Path("store"), tuple(today)))
    return caught.value


def test_the_same_plan_holds_whatever_its_reasons_are() -> None:
    before = Plan(Path("store"), (action("a"), action("b", Verb.KEEP)))
    today = Plan(
        Path("store"), (action("a", Verb.UPDATE, "a", Reason(ReasonCode.MISSING)), action("b", Verb.KEEP))
    )
    compare(before, today)


def test_another_action_is_told_with_the_one_that_was_seen() -> None:
    error = refusal([action("a"), action("b")], [action("a"), action("b", Verb.BLOCKED)])
    assert error.brief == "the plan no longer holds: b"
    assert error.details == "b: update -> blocked"
    assert error.hint == "make the plan again"


def test_the_same_action_of_something_else_is_told_too() -> None:
    assert refusal([action("a")], [action("a", fingerprint="b")]).details == "a: update, of something else"


@pytest.mark.parametrize(
    ("before", "today", "details"),
    [
        ([action("a")], [], "a: update -> not there"),
        ([], [action("a", Verb.CREATE)], "a: not there -> create"),
    ],
)
def test_a_step_that_came_or_went_is_told(before: list[Action], today: list[Action], details: str) -> None:
    assert refusal(before, today).details == details


def test_of_many_steps_the_brief_names_a_few_and_the_details_all() -> None:
    actions = [action(f"step{number}") for number in range(MOST_NAMED + 2)]
    error = refusal(actions, [])
    assert error.brief.endswith("step4 and 2 more")
    assert error.details is not None
    assert len(error.details.splitlines()) == len(actions)


def test_as_many_as_can_be_named_are_named_without_more() -> None:
    assert refusal([action(f"step{number}") for number in range(MOST_NAMED)], []).brief.endswith("step4")


def recipe(**fields: Json) -> Recipe:
    return Recipe("fake", fields, {"image.a.rootfs": str(fields)}, {}, {"mke2fs": str(len(fields))})


def test_what_changed_in_a_step_is_named() -> None:
    old, new = (
        replace(action("vm.a.root", Verb.CREATE, name), recipe=recipe(**{key: 1}))
        for name, key in (("a", "size"), ("b", "mode"))
    )
    details = "vm.a.root: create, of something else (mode, size, image.a.rootfs)"
    assert refusal([old], [new]).details == details
    kept = action("vm.a.root", Verb.KEEP)
    changed = action("vm.a.root", Verb.UPDATE, "a", Reason(ReasonCode.FILE_DIFFERS, {"guest": "/etc/x"}))
    assert refusal([kept], [changed]).details == "vm.a.root: keep -> update (/etc/x)"


def test_another_version_of_a_tool_is_named() -> None:
    old, new = (
        replace(action("a", Verb.CREATE, name), recipe=Recipe("fake", {}, {}, {}, {"mke2fs": name}))
        for name in ("1", "2")
    )
    assert refusal([old], [new]).details == "a: create, of something else (mke2fs)"


@pytest.mark.parametrize(
    ("one", "other", "details"),
    [
        (
            {"pins": {"image.a.rootfs": "1"}},
            {"pins": {"image.a.rootfs": "2"}},
            "the pin of image.a.rootfs: 1 -> 2",
        ),
        ({"leases": {"vm.a": "10.0.0.2/24"}}, {}, "the lease of vm.a: 10.0.0.2/24 -> none"),
        ({"moves": {"a": "b"}}, {"moves": {"a": "c"}}, "the old name of vm.a: b -> c"),
        ({"store": "build"}, {"store": "/x"}, "the store: build -> /x"),
        ({}, {"epoch": "5"}, "SOURCE_DATE_EPOCH: not set -> 5"),
    ],
)
def test_what_the_steps_do_not_show_is_compared_too(
    one: dict[str, Any], other: dict[str, Any], details: str
) -> None:
    with pytest.raises(StalePlanError) as caught:
        refuse_stale(Reviewed({}, **one), Reviewed({}, **other), Plan(Path("store"), ()))
    assert caught.value.details == details


def test_nothing_is_remembered_of_what_a_kept_step_is_made_of() -> None:
    held = reviewed(Plan(Path("store"), (action("a"), action("b", Verb.KEEP), action("c", Verb.BLOCKED))))
    assert [one.recipe is None for one in held.actions.values()] == [False, True, True]


def test_whether_something_is_built_or_fetched_makes_no_difference() -> None:
    before = Plan(Path("store"), (action("a", Verb.FETCH), action("b", Verb.CREATE)))
    compare(before, Plan(Path("store"), (action("a", Verb.CREATE), action("b", Verb.FETCH))))
    assert refusal([action("a", Verb.FETCH)], [action("a", Verb.FETCH, "b")]).brief.endswith(": a")
