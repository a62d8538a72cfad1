"""The predicate of the schema takes what jsonschema takes, and nothing else."""

from __future__ import annotations

import copy
import datetime as dt
import tomllib
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.disk.formats import FORMATS
from bangerbuild.manifest import form
from bangerbuild.manifest.files import ManifestFile
from bangerbuild.manifest.predicates import predicate
from tests.manifests import EVERYTHING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WHOLE = form._form(tuple(FORMATS))
TREE = tomllib.loads(EVERYTHING)
ODD_VALUES = [
    *("", "x", "{{ name }}", "a\nb", "a\x00", "1GiB", "0644", "10.0.0.1", "a:b", "none", "é", "x" * 300),
    *(True, False, 0, 1, -1, 2.0, 0.5, float("nan"), float("inf"), 1 << 70),
    *([], [[]], ["x"], [1], {}, {"": ""}, {"x": 1}, {"guest": "/x"}, [{}], dt.date(2000, 1, 1)),
]
SMALL: list[tuple[dict[str, Any], list[Any], list[Any]]] = [
    ({"type": "integer"}, [1, -1], [True, 1.0, "1", None]),
    ({"type": ["number", "array"]}, [1, 0.5, []], [True, "", {}]),
    ({"enum": ["a", "b"]}, ["a", "b"], [True, 1, "c", []]),
    ({"const": True}, [True], [1, "true", {}]),
    ({"not": {"const": True}}, [False, {}], [True]),
    ({"pattern": r"^a\Z"}, ["a", 5], ["b", "a\n"]),
    ({"minimum": 2}, [2, 2.5, "", True], [1, 1.5]),
    ({"minLength": 1}, ["a", []], [""]),
    ({"minItems": 1}, [[1], ""], [[]]),
    ({"minProperties": 1, "maxProperties": 1}, [{"a": 1}, []], [{}, {"a": 1, "b": 1}]),
    ({"items": {"type": "string"}}, [["a"], [], 5], [["a", 5]]),
    ({"required": ["a"]}, [{"a": 1, "b": 1}, 5], [{"b": 1}]),
    ({"properties": {"a": {"type": "string"}}}, [{"a": "x"}, {"b": 1}, 5], [{"a": 1}]),
    (
        {
            "properties": {"a": {}},
            "patternProperties": {"^b": {"type": "string"}},
            "additionalProperties": False,
        },
        [{"a": 1, "bc": "x"}, {}],
        [{"c": 1}, {"bc": 1}],
    ),
]


def places(value: Any, key: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:  # noqa: ANN401  any TOML value
    """The key path of every value in a tree."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for part, below in items:
        yield (*key, part)
        yield from places(below, (*key, part))


PLACES = sorted(places(TREE), key=str)


def changed(key: tuple[Any, ...], value: object, *, is_new_key: bool) -> dict[str, Any]:
    """A manifest with another value at a key path, or with one more key beside it."""
    tree = copy.deepcopy(TREE)
    holder: Any = tree
    for part in key[:-1]:
        holder = holder[part]
    holder[f"{key[-1]}_" if is_new_key and isinstance(holder, dict) else key[-1]] = value
    return tree


def is_valid(tree: dict[str, Any]) -> bool:
    """What jsonschema says, but for the templates of fleets."""
    return all(map(form._is_template, WHOLE.validator.iter_errors(tree)))


def test_a_manifest_with_every_key_is_valid() -> None:
    assert WHOLE.fits(TREE)


@given(key=st.sampled_from(PLACES), value=st.sampled_from(ODD_VALUES), is_new_key=st.booleans())
def test_it_agrees_with_jsonschema_on_odd_values(
    *, key: tuple[Any, ...], value: object, is_new_key: bool
) -> None:
    tree = changed(key, value, is_new_key=is_new_key)
    assert WHOLE.fits(tree) == is_valid(tree)


def test_it_agrees_with_jsonschema_where_a_key_is_missing() -> None:
    for key in PLACES:
        tree = copy.deepcopy(TREE)
        holder: Any = tree
        for part in key[:-1]:
            holder = holder[part]
        del holder[key[-1]]
        assert WHOLE.fits(tree) == is_valid(tree), key


@pytest.mark.parametrize(("shape", "valid", "invalid"), SMALL, ids=lambda value: str(value)[:40])
def test_each_keyword_is_as_in_jsonschema(
    shape: dict[str, Any], valid: list[Any], invalid: list[Any]
) -> None:
    holds, validator = predicate(shape), form._Form(shape).validator
    for value in (*valid, *invalid):
        assert holds(value) == validator.is_valid(value), value
    assert list(map(holds, valid)) == [True] * len(valid)
    assert list(map(holds, invalid)) == [False] * len(invalid)


def test_the_keywords_that_are_tried_are_all_that_the_schema_has() -> None:
    tried = {keyword for shape, _, _ in SMALL for keyword in shape}
    used: set[str] = set()

    def note(shape: dict[str, Any]) -> None:
        used.update(shape)
        inner = (*shape.get("properties", {}).values(), *shape.get("patternProperties", {}).values())
        for below in (*inner, *(shape[key] for key in ("items", "not") if key in shape)):
            note(below)

    note(WHOLE.shape)
    assert used - tried <= {
        "title",
        "description",
        "default",
        "examples",
        "format",
        "$id",
        "$schema",
        "x-expects",
        "x-names",
    }


@pytest.mark.parametrize("shape", [{"oneOf": []}, {"items": {"maxLength": 3}}, {"enum": [1]}])
def test_a_keyword_that_it_does_not_know_is_refused(shape: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no predicate for"):
        predicate(shape)


def test_a_template_passes_where_it_is_said_to(tmp_path: Path) -> None:
    tree = {"fleet": {"r": {"names": ["r-{1..2}"], "vm": {"vcpus": "{{ index }}", "memory": "1GiB"}}}}
    assert WHOLE.fits(tree)
    assert not list(form.check(ManifestFile(tmp_path / "vm.toml", tree=tree)))
    assert not WHOLE.fits({"vm": {"a": {"vcpus": "{{ index }}"}}})
    assert not jsonschema.Draft202012Validator(WHOLE.shape).is_valid(tree)
