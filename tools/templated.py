#!/usr/bin/env python3
"""Print the manifest's schema with the shapes of a fleet's VM made anew.

They are those of a VM, where any text may be a template. Editors need them, which know the schema alone; the
loader looks at what templates give, with the shapes of a VM itself.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

SCHEMA = Path(__file__).parents[1] / "schemas" / "manifest.schema.json"
PREFIX = "templated_"
ROOT = "vm"
BEGIN = ',\n    "templated_'
TEMPLATE = {"type": "string", "pattern": "\\{[{%#]"}
WORDS = ("title", "description", "default", "examples")

Shape = dict[str, Any]


def main() -> None:
    """Write the schema to stdout."""
    sys.stdout.write(made(SCHEMA.read_text(encoding="utf-8")))


def made(text: str) -> str:
    """The text of the schema with the shapes, which are the last of its definitions, a line each."""
    schema = json.loads(text)
    written, end = text.rstrip("\n"), "\n  }\n}"
    head = written.partition(BEGIN)[0] if BEGIN in written else written.removesuffix(end)
    lines = (f'    "{PREFIX}{name}": {json.dumps(shape)}' for name, shape in _shapes(schema["$defs"]).items())
    return head + "".join(f",\n{line}" for line in lines) + end + "\n"


def _shapes(definitions: Shape) -> Shape:
    """The shapes of a VM and of all that it holds."""
    shapes: Shape = {}
    left = [ROOT]
    while left:
        name = left.pop()
        if name not in shapes:
            shapes[name] = _templated(definitions[name], left)
    return dict(sorted(shapes.items()))


def _templated(shape: Shape, more: list[str]) -> Shape:
    """A shape in which each text may be a template; `more` gets the names of those that it needs."""
    if "$ref" in shape:
        name = shape["$ref"].rpartition("/")[2]
        more.append(name)
        shape = {**shape, "$ref": f"#/$defs/{PREFIX}{name}"}
    inner = {key: _inside(key, value, more) for key, value in shape.items()}
    is_plain_reference = "$ref" in shape and "pattern" not in shape
    if is_plain_reference or shape.get("type") in ("object", "array") or _is_any_text(shape):
        return inner
    words = {key: value for key, value in inner.items() if key in WORDS}
    rest = {key: value for key, value in inner.items() if key not in WORDS and not key.startswith("x-")}
    return {**words, "anyOf": [rest, TEMPLATE]}


def _inside(key: str, value: Any, more: list[str]) -> Any:  # noqa: ANN401  # a keyword's value
    if key in {"properties", "patternProperties"}:
        return {name: _templated(shape, more) for name, shape in value.items()}
    if key in {"items", "additionalProperties"} and isinstance(value, dict):
        return _templated(value, more)
    if key in {"anyOf", "oneOf"}:
        return [_templated(shape, more) for shape in value]
    return value


def _is_any_text(shape: Shape) -> bool:
    """Whether a template is already one of the texts that fit."""
    return shape.get("type") == "string" and not {"pattern", "enum", "const"} & shape.keys()


if __name__ == "__main__":
    main()
