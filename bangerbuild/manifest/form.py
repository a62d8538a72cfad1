"""Validate a manifest file against the schema, and say in plain words what violates it."""

from __future__ import annotations

import json
import re
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bangerbuild.disk.formats import FORMATS
from bangerbuild.manifest import templates
from bangerbuild.manifest.files import Location, ManifestFile
from bangerbuild.manifest.predicates import predicate
from bangerbuild.manifest.problems import InvalidValueError, quoted
from bangerbuild.neighbours import near, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jsonschema.exceptions import ValidationError
    from jsonschema.protocols import Validator

    from bangerbuild.errors import Problem
    from bangerbuild.manifest.predicates import Predicate
    from bangerbuild.manifest.toml_lines import Key

SCHEMAS = (
    Path(__file__).parents[1] / "manifest.schema.json",
    Path(__file__).parents[2] / "schemas" / "manifest.schema.json",
)
"""Where the schema is: as it is shipped, and in a checkout. The first that is there holds."""
NAMED = ("image", "vm", "network", "fleet", "node")
"""Tables whose keys are names that the user gives."""
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
"""What they look like."""
_PUT_IN = {"$ref", "$defs"}
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,18}")
_TYPE_WORDS = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "an array",
    "object": "a table",
}


def schema_text() -> str:
    """The JSON Schema of a manifest, as it is shipped."""
    shipped, in_checkout = SCHEMAS
    path = shipped if shipped.exists() else in_checkout
    return path.read_text(encoding="utf-8")


def schema() -> dict[str, Any]:
    """The JSON Schema of a manifest (2020-12).

    Beside the standard's keywords it has `x-expects`, which ends the sentence "give …" for a value that does
    not fit, and `x-names` on a table whose keys are names.
    """
    parsed: dict[str, Any] = json.loads(schema_text())
    return parsed


def check(document: ManifestFile) -> Iterator[Problem]:
    """Every fault that the schema finds; what is faulty is taken out of the document's tree.

    What is left is safe to look into by key, so that the other checks can run in the same go.
    """
    for kind in NAMED:
        table = document.tree.get(kind)
        document.names[kind] = tuple(table) if isinstance(table, dict) else ()
    form = _form(tuple(FORMATS))
    if form.fits(document.tree):
        return
    for error in list(form.validator.iter_errors(document.tree)):
        if _is_template(error):
            continue
        yield from _problems(document, error)
    for key in sorted(document.refused, key=len, reverse=True):
        _take_out(document.tree, key)


def _is_template(error: ValidationError) -> bool:
    """Whether it is about a text of a fleet that only becomes what the key takes; see `checked`."""
    table, *_ = (*error.absolute_path, "")
    return table == "fleet" and templates.is_template(error.instance)


def checked(key: Key, value: str) -> Any:  # noqa: ANN401  any TOML value
    """A text that a template gave, as the key of a VM takes it: a number where it takes numbers.

    Raises:
        InvalidValueError: it does not take that.
    """
    form = _form_of_key(tuple(part for part in key if isinstance(part, str)))
    if form.fits(value):
        return value
    other: Any = {"true": True, "false": False}.get(value.lower())  # Jinja2 prints them as Python does
    if _WHOLE_NUMBER.fullmatch(value):
        other = int(value)
    if other is not None and form.fits(other):
        return other
    shape: Any = next(iter(form.validator.iter_errors(value))).schema
    raise InvalidValueError(f"{_subject(key)} is {quoted(value)}: give {_expected(shape)}")


class _Form:
    """A part of the schema: what fits it, and what says why something does not."""

    def __init__(self, shape: Any, fits: Predicate | None = None) -> None:  # noqa: ANN401  any part of the schema
        self.shape = shape
        self.fits = fits or predicate(shape)

    @cached_property
    def validator(self) -> Validator:
        """Imports jsonschema, which takes 0.1 s: only where something does not fit."""
        import jsonschema  # noqa: PLC0415  see above

        base = jsonschema.Draft202012Validator
        checker = base.TYPE_CHECKER.redefine("integer", _is_integer)
        extend: Callable[..., type[Validator]] = jsonschema.validators.extend
        return extend(base, type_checker=checker)(self.shape)


@lru_cache(maxsize=256)
def _form_of_key(words: tuple[str, ...]) -> _Form:
    """The form of the values of one key of a VM."""
    shape: Any = _form(tuple(FORMATS)).shape["properties"]["defaults"]
    for word in words:
        shape = shape.get("items", shape)
        options = [shape, *shape.get("oneOf", ()), *shape.get("anyOf", ())]
        shape = next(one["properties"][word] for one in options if word in one.get("properties", {}))
    return _Form(shape.get("items", shape))


@lru_cache(maxsize=1)
def _form(disk_formats: tuple[str, ...]) -> _Form:
    """That of a manifest.

    Which disk formats there are, the registry says; the schema repeats it for editors.
    """
    whole = schema()
    whole["$defs"]["root"]["properties"]["format"]["enum"] = list(disk_formats)
    whole["$defs"]["fleet"]["properties"]["vm"]["$ref"] = "#/$defs/vm"  # the other one is for editors
    shape = _compiled(whole, whole["$defs"])
    properties = shape["properties"]
    in_others = predicate({**shape, "properties": {**properties, "fleet": {}}})
    in_fleets = predicate(properties["fleet"], templates.is_template)  # see `_is_template`
    return _Form(shape, lambda tree: in_others(tree) and in_fleets(tree.get("fleet", {})))


def _is_integer(_checker: object, value: object) -> bool:
    """JSON Schema takes 2.0 for an integer; TOML, and what is made of it here, do not."""
    return isinstance(value, int) and not isinstance(value, bool)


def _compiled(shape: Any, defs: dict[str, Any]) -> Any:  # noqa: ANN401  any part of the schema
    """The schema as jsonschema is quickest with it, and as Python reads a pattern.

    References are put in, which halves the time; the manifest's shape has no cycles. `$` in a pattern of
    ECMA 262 is the very end, which Python's own is not: that lets a last line break by.
    """
    if isinstance(shape, list):
        return [_compiled(part, defs) for part in shape]
    if not isinstance(shape, dict):
        return shape
    if reference := shape.get("$ref"):
        shape = {**defs[reference.removeprefix("#/$defs/")], **shape}
    compiled = {key: _compiled(part, defs) for key, part in shape.items() if key not in _PUT_IN}
    if isinstance(compiled.get("pattern"), str):
        compiled["pattern"] = compiled["pattern"].replace("$", r"\Z")
    if named := compiled.get("patternProperties"):
        compiled["patternProperties"] = {key.replace("$", r"\Z"): part for key, part in named.items()}
    return compiled


def _problems(document: ManifestFile, error: ValidationError) -> Iterator[Problem]:
    place = Location(document, tuple(error.absolute_path))
    shape: Any = error.schema
    instance: Any = error.instance
    if error.validator == "additionalProperties":
        for name in _unknown(instance, shape):
            document.refuse((*place.key, name))
            yield _unknown_key(place / name, name, shape)
    elif error.validator == "required":
        document.refuse(place.key)
        misspelt = {nearest(name, shape["properties"]) for name in _unknown(instance, shape)}
        for name in shape["required"]:
            if name not in instance and name not in misspelt:  # of those the hint of an unknown key tells
                yield place.problem(f"'{name}' is missing")
    else:
        document.refuse(place.key)
        yield place.problem(f"{_subject(place.key)} is {quoted(instance)}: give {_expected(shape)}")


def _unknown(table: dict[str, Any], shape: dict[str, Any]) -> list[str]:
    patterns = shape.get("patternProperties", {})
    return [
        name
        for name in table
        if name not in shape.get("properties", {}) and not any(re.search(p, name) for p in patterns)
    ]


def _unknown_key(place: Location, name: str, shape: dict[str, Any]) -> Problem:
    if kind := shape.get("x-names"):
        expected = shape.get("x-expects", _WHAT_A_NAME_IS)
        return place.problem(f"{quoted(name)} is no name for {_ARTICLES[kind]}: give {expected}")
    known = shape.get("properties", {})
    hint = near(name, known) or f"known here: {', '.join(sorted(known))}"
    return place.problem(f"unknown key {quoted(name)}", hint)


_ARTICLES = {
    "image": "an image",
    "vm": "a VM",
    "network": "a network",
    "fleet": "a fleet",
    "node": "a node",
    "variable": "a variable",
    "axis": "an axis",
}
_WHAT_A_NAME_IS = "at most 63 of a-z, 0-9 and, not first, '-' and '_'"


def _subject(key: Key) -> str:
    """What a message calls a key: its last word, or `dns[0]` for an item."""
    words = [part for part in key if isinstance(part, str)]
    return f"{words[-1]}[{key[-1]}]" if isinstance(key[-1], int) else words[-1]


def _expected(shape: dict[str, Any]) -> str:
    if "x-expects" in shape:
        return str(shape["x-expects"])
    if "enum" in shape:
        return " or ".join(f'"{value}"' for value in shape["enum"])
    kinds = shape["type"] if isinstance(shape["type"], list) else [shape["type"]]
    return " or ".join(_TYPE_WORDS[kind] for kind in kinds)


def _take_out(tree: dict[str, Any], key: Key) -> None:
    """Removes a value.

    A table in an array leaves None, so that the others keep their index; any other item takes its whole
    array along.
    """
    *above, last = key
    if isinstance(last, int) and key[-2:-1] not in _ARRAYS_OF_TABLES:
        *above, last = above
    holder: Any = tree
    for part in above:
        holder = holder[part] if isinstance(part, int) else holder.get(part)
        if holder is None:
            return
    if isinstance(last, int):
        holder[last] = None
    else:
        holder.pop(last, None)


_ARRAYS_OF_TABLES = {("file",), ("file_sync",), ("mount",), ("disk",)}
