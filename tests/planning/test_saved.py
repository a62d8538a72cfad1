"""A saved plan as a document: what comes back of it, and what is refused."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bangerbuild.model import Recipe, Verb
from bangerbuild.model.request import Request
from bangerbuild.planning.reviewed import Decided, Reviewed
from bangerbuild.planning.saved import MARK, VERSION, SavedPlan, SavedPlanError, _digest, parsed

RECIPE = Recipe(
    "fake", {"size": 1, "mount[/x]": {"a": None}}, {"image.a.rootfs": "f"}, {"tar": "0"}, {"t": "1"}
)
SAVED = SavedPlan(
    Request(
        (Path("vm.toml"), Path("/b.toml")),
        Path("build"),
        ("vm.web",),
        ("vm.web.root",),
        offline=True,
        locked=True,
        variables=(("key", "välue\n"),),
        variable_files=(Path("vars.toml"),),
        node="rack",
    ),
    Path("/home/me"),
    Reviewed(
        {"vm.web.root": Decided(Verb.REPLACE, "f00d", RECIPE), "vm.web.work": Decided(Verb.KEEP, "beef")},
        {"image.a.rootfs": "00"},
        {"vm.web": "172.16.0.2/24"},
        {"new": "old"},
        "build",
        "5",
    ),
)


def document() -> dict[str, Any]:
    body: dict[str, Any] = json.loads(SAVED.text())
    return body


def signed(body: dict[str, Any]) -> str:
    """A document with the digest that it has to have."""
    body.pop("digest", None)
    return json.dumps(body | {"digest": _digest(body)})


def refusal(text: str) -> str:
    with pytest.raises(SavedPlanError) as caught:
        parsed(text)
    return str(caught.value)


def test_all_of_a_plan_comes_back_and_the_same_plan_is_the_same_text() -> None:
    assert parsed(SAVED.text()) == SAVED
    assert parsed(SAVED.text()).text() == SAVED.text()


@pytest.mark.parametrize("part", [0.1, 0.5, 0.99])
def test_one_that_was_cut_off_is_damaged(part: float) -> None:
    text = SAVED.text()
    assert "damaged, or was never written to its end" in refusal(text[: int(len(text) * part)])


@pytest.mark.parametrize("text", ["", "[" * 100_000, "{}x", '{"a": NaN', '{"a": ' + "9" * 5000 + "}", "nul"])
def test_what_is_no_json_is_damaged(text: str) -> None:
    assert "damaged" in refusal(text)


@pytest.mark.parametrize("text", ["{}", "[]", "3", '"x"', '{"format": 1, "actions": []}'])
def test_other_json_is_said_to_be_that(text: str) -> None:
    assert "is JSON, and no plan" in refusal(text)


@pytest.mark.parametrize("version", [0, 2, "1", None, [1]])
def test_another_version_is_named(version: object) -> None:
    assert refusal(json.dumps({MARK: version})) == (
        f"it is of version {version}, and this program reads version {VERSION}"
    )


def test_one_that_was_edited_is_told_from_a_plan_that_moved() -> None:
    assert "was changed since it was written" in refusal(SAVED.text().replace("f00d", "f00f"))
    assert "was changed since it was written" in refusal(json.dumps({MARK: VERSION, "digest": 3}))
    assert "damaged" in refusal(json.dumps({MARK: VERSION, "x": float("nan"), "digest": "x"}))


@pytest.mark.parametrize("key", sorted(set(document()) - {MARK, "digest", "store", "node"}))
@pytest.mark.parametrize("value", [None, 3, {"a": 3}, [3]])
def test_a_key_of_another_kind_is_named_even_if_the_digest_is_right(key: str, value: object) -> None:
    assert key in refusal(signed(document() | {key: value})) or key == "actions"


@pytest.mark.parametrize("text", ["a\0b", "\ud800"])
@pytest.mark.parametrize("key", ["directory", "store", "manifests", "pins"])
def test_text_that_names_no_file_is_refused(key: str, text: str) -> None:
    value = {"manifests": [text], "pins": {text: "00"}}.get(key, text)
    assert refusal(signed(document() | {key: value})) == f"'{key}' holds text that names nothing"


def test_an_unknown_action_and_a_damaged_recipe_are_refused() -> None:
    body = document()
    body["actions"]["vm.web.root"]["action"] = "explode"
    assert refusal(signed(body)) == "'vm.web.root' has the action 'explode', which there is not"
    damages: list[object] = [3, {}, {"kind": "x", "fields": {}, "inputs": {"a": 1}}]
    for damage in damages:
        body = document()
        body["actions"]["vm.web.root"]["recipe"] = damage
        assert "is missing in it, or of another kind" in refusal(signed(body))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=50)
@given(st.dictionaries(st.sampled_from(sorted(document())), JSON))
def test_whatever_stands_in_it_there_is_one_error_or_a_plan(changes: dict[str, Any]) -> None:
    with suppress(SavedPlanError):
        parsed(signed(document() | changes | {MARK: VERSION}))
