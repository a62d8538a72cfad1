"""The schema is sound, describes every key, and takes the whole language of a manifest."""

from __future__ import annotations

import json
import re
import tomllib
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

from bangerbuild.manifest import schema, schema_text
from tests.manifests import EVERYTHING

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMA = schema()


def shapes(shape: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:  # noqa: ANN401  any part of it
    """Every schema in the schema, with its path."""
    yield path, shape
    for holder in ("properties", "patternProperties", "$defs"):
        for key, below in shape.get(holder, {}).items():
            yield from shapes(below, f"{path}/{key}")
    if "items" in shape:
        yield from shapes(shape["items"], f"{path}/items")


SHAPES = dict(shapes(SCHEMA))
KEYS = {path: shape for path, shape in SHAPES.items() if not path.endswith("}$") and "items" not in path[-5:]}


def test_it_is_a_json_schema_of_2020_12() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_the_text_is_the_schema() -> None:
    assert json.loads(schema_text()) == SCHEMA


def test_no_key_of_the_text_is_given_twice() -> None:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len({key for key, _ in pairs}) == len(pairs)
        return dict(pairs)

    json.loads(schema_text(), object_pairs_hook=once)


@pytest.mark.parametrize("path", KEYS)
def test_every_key_has_a_title_and_a_description_that_is_a_sentence(path: str) -> None:
    assert SHAPES[path]["title"]
    assert re.search(r"\.$", SHAPES[path]["description"])


@pytest.mark.parametrize("path", [path for path, shape in SHAPES.items() if "properties" in shape])
def test_no_table_takes_unknown_keys(path: str) -> None:
    assert SHAPES[path]["additionalProperties"] is False


@pytest.mark.parametrize("name", SCHEMA["$defs"])
def test_every_definition_is_used(name: str) -> None:
    assert f'"#/$defs/{name}"' in schema_text()


@pytest.mark.parametrize("path", [path for path, shape in SHAPES.items() if "pattern" in shape])
def test_a_pattern_says_in_words_what_it_expects_and_holds_no_dollar_but_at_its_end(path: str) -> None:
    assert SHAPES[path]["x-expects"]
    assert SHAPES[path]["pattern"].startswith("^")
    assert SHAPES[path]["pattern"].index("$") == len(SHAPES[path]["pattern"]) - 1


@pytest.mark.parametrize(
    "path", [path for path, shape in SHAPES.items() if "default" in shape or "examples" in shape]
)
def test_a_default_and_the_examples_fit_the_key(path: str) -> None:
    whole = {**SHAPES[path], "$defs": SCHEMA["$defs"]}
    for value in (
        *SHAPES[path].get("examples", ()),
        *([SHAPES[path]["default"]] if "default" in SHAPES[path] else ()),
    ):
        jsonschema.Draft202012Validator(whole).validate(value)


def test_a_manifest_with_every_key_is_valid() -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(tomllib.loads(EVERYTHING))


def test_the_manifest_with_every_key_leaves_none_out() -> None:
    used = re.sub(r"#.*", "", EVERYTHING)
    for path, shape in SHAPES.items():
        for key in shape.get("properties", ()):
            assert re.search(rf"\b{key}\b", used), f"{path}/{key}"
