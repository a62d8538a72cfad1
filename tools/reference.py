#!/usr/bin/env python3
"""Print docs/manifest.md, the reference of the manifest's keys, as the schema describes them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

SCHEMA = Path(__file__).parents[1] / "schemas" / "manifest.schema.json"
HEAD = """# The manifest

Every key, as `schemas/manifest.schema.json` describes it. This page is made from it by `tools/reference.py`.
"""


def main() -> None:
    """Write the page to stdout."""
    schema = json.loads(SCHEMA.read_text())
    schema["$defs"]["fleet"]["properties"]["vm"]["$ref"] = (
        "#/$defs/vm"  # and not where texts may be templates
    )
    sections: list[str] = []
    order = (
        "include",
        "store",
        "cache",
        "image",
        "network",
        "node",
        "vm",
        "defaults",
        "fleet",
        "vars",
        "file",
        "file_sync",
        "mount",
    )
    properties = {name: schema["properties"][name] for name in order}
    _table(schema, {**schema, "properties": properties}, "", sections)
    sys.stdout.write(HEAD + "".join(sections))


def _table(schema: dict[str, Any], shape: dict[str, Any], path: str, sections: list[str]) -> None:
    """One section for a table and, after it, one for each table in it."""
    properties = {name: _resolved(schema, value) for name, value in shape.get("properties", {}).items()}
    rows = [
        f"| `{name}` | {_type(schema, value)} | {_text(value)}{_default(value)} |\n"
        for name, value in properties.items()
    ]
    table = f"| key | value | meaning |\n|---|---|---|\n{''.join(rows)}"
    if rows and not any(table in section for section in sections):  # one that repeats is told once
        sections.append(f"\n## {f'`{path}`' if path else 'The file'}\n\n{_text(shape)}\n\n{table}")
    for name, value in properties.items():
        below = f"{path}.{name}" if path else name
        for inner, label in _tables(schema, value, below):
            _table(schema, inner, label, sections)


def _tables(schema: dict[str, Any], shape: dict[str, Any], path: str) -> list[tuple[dict[str, Any], str]]:
    found = []
    if "properties" in shape:
        found.append((shape, path))
    for key in ("patternProperties", "additionalProperties"):
        inner = shape.get(key)
        values = inner.values() if key == "patternProperties" and inner else [inner]
        found += [(_resolved(schema, value), f"{path}.NAME") for value in values if isinstance(value, dict)]
    if shape.get("type") == "array" and "properties" in (item := _resolved(schema, shape.get("items", {}))):
        found.append((item, f"[{path}]"))
    for option in (*shape.get("oneOf", ()), *shape.get("anyOf", ())):
        found += _tables(schema, _resolved(schema, option), path)
    return found


def _resolved(schema: dict[str, Any], shape: dict[str, Any]) -> dict[str, Any]:
    """A shape with its reference replaced by what it refers to; its own words win."""
    if "$ref" not in shape:
        return shape
    target: Any = schema
    for part in shape["$ref"].removeprefix("#/").split("/"):
        target = target[part]
    return {**_resolved(schema, target), **{key: value for key, value in shape.items() if key != "$ref"}}


def _type(schema: dict[str, Any], shape: dict[str, Any]) -> str:
    options = [*shape.get("oneOf", ()), *shape.get("anyOf", ())]
    if options:
        return " or ".join(dict.fromkeys(_type(schema, _resolved(schema, option)) for option in options))
    if "enum" in shape:
        return ", ".join(f"`{json.dumps(value)}`" for value in shape["enum"])
    if "const" in shape:
        return f"`{json.dumps(shape['const'])}`"
    kind = shape.get("type", "table")
    names = {"object": "table", "array": "array"}
    return " or ".join(names.get(one, one) for one in ([kind] if isinstance(kind, str) else kind))


def _default(shape: dict[str, Any]) -> str:
    return f" Default: `{json.dumps(shape['default'])}`." if "default" in shape else ""


def _text(shape: dict[str, Any]) -> str:
    return str(shape.get("description", shape.get("title", ""))).replace("|", "\\|").replace("\n", " ")


if __name__ == "__main__":
    main()
