"""Compute the fingerprint of a recipe, and the differences between two recipes. Does no I/O.

A step becomes JSON under its manifest keys. A field's metadata may rename it (`key`), omit it (`recipe:
False`, for fields that do not affect the bytes), or keep only its digest (`digest`, for content that may be
secret), or omit it while it has one value (`unless`: that of the bytes that were made before there was such a
key).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields, is_dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, cast

from bangerbuild.model.ids import StepId
from bangerbuild.model.reason import Reason, ReasonCode
from bangerbuild.model.recipe import Recipe, Record, host_tools

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from typing import TypeAlias

    from bangerbuild.model.reason import Json
    from bangerbuild.model.step import Step

    _Parts: TypeAlias = tuple[tuple[str, str, bool, object], ...]

FINGERPRINT_LENGTH = 32
"""Hex digits: 128 bits, enough to make collisions practically impossible."""

IDENTITY_KEYS = ("guest", "target", "name")
"""The keys that identify an entry of an array of tables, by precedence."""


IMAGE_KEY = "image"
"""The key of the reason that a step stands on another image than before."""

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
_NEVER = object()
_SCALARS = {str, int, bool, float}
_MOST_SHARED = 1024
_known_parts: dict[type, _Parts | None] = {}


def canonical_json(value: Json) -> str:
    """The canonical text of a JSON value: sorted keys, no spaces, ASCII."""
    return _ENCODER.encode(value)


def fingerprint(recipe: Recipe) -> str:
    """The fingerprint of a recipe in hex digits; the same recipe has the same one on every host."""
    return hashlib.sha256(canonical_json(recipe_to_json(recipe)).encode()).hexdigest()[:FINGERPRINT_LENGTH]


def portable(recipe: Recipe, inputs: Mapping[str, str]) -> str:
    """The fingerprint of a recipe but for the versions of the host's tools, of its inputs too.

    `inputs` are such fingerprints of the inputs, by their ids.
    """
    away = host_tools(recipe)
    tools = {name: version for name, version in recipe.tools.items() if name not in away}
    kept = {step_id: inputs.get(step_id, digits) for step_id, digits in recipe.inputs.items()}
    return fingerprint(replace(recipe, tools=tools, inputs=kept))


def recipe_to_json(recipe: Recipe) -> dict[str, Json]:
    """A recipe in the form in which it is recorded."""
    return {
        "kind": recipe.kind,
        "fields": dict(recipe.fields),
        "inputs": dict(recipe.inputs),
        "sources": dict(recipe.sources),
        "tools": dict(recipe.tools),
    }


def recipe_from_json(value: Mapping[str, Json]) -> Recipe:
    """The inverse of `recipe_to_json`."""
    return Recipe(
        kind=cast("str", value["kind"]),
        fields=cast("dict[str, Json]", value["fields"]),
        inputs=cast("dict[str, str]", value["inputs"]),
        sources=cast("dict[str, str]", value["sources"]),
        tools=cast("dict[str, str]", value["tools"]),
    )


def record_to_json(record: Record) -> dict[str, Json]:
    """A record in the form in which the store keeps it, without its id."""
    return {
        "recipe": recipe_to_json(record.recipe),
        "fingerprint": record.fingerprint,
        "artifacts": list(record.artifacts),
        "facts": dict(record.facts),
    }


def record_from_json(step_id: str, body: dict[str, Json]) -> Record:
    """The inverse of `record_to_json`."""
    return Record(
        id=step_id,
        recipe=recipe_from_json(cast("dict[str, Json]", body["recipe"])),
        fingerprint=cast("str", body["fingerprint"]),
        artifacts=tuple(cast("list[str]", body["artifacts"])),
        facts=cast("dict[str, Json]", body["facts"]),
    )


def step_fields(step: Step) -> dict[str, Json]:
    """A step's fields, flattened to dotted manifest keys: `network.dns`, `mount[/scratch].options`."""
    flat: dict[str, Json] = {}
    _flatten("", step, flat)
    return flat


def differences(old: Recipe, new: Recipe, written: Mapping[str, str]) -> tuple[Reason, ...]:
    """The differences between two recipes, except tools, as reasons in a stable order.

    `written` has the path in the manifest for each source's role.
    """
    if (old.fields, old.sources, old.inputs) == (new.fields, new.sources, new.inputs):
        return ()
    kinds = _changed_kinds(old.sources, new.sources)
    told = {f"{key}.{kind}" for key, both in kinds.items() for kind in both}
    return (
        *(_changed(key, before, after) for key, (before, after) in kinds.items()),
        *_field_differences(_without_defaults(old.fields, kinds), _without_defaults(new.fields, kinds)),
        *(
            Reason(ReasonCode.SOURCE_CHANGED, {"path": written.get(role, role)})
            for role in _unequal(old.sources, new.sources)
            if role not in told
        ),
        *_input_differences(old.inputs, new.inputs),
    )


def _input_differences(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[Reason]:
    """The inputs that changed; what is of another image now is told once, by the names of the images."""
    unequal = list(map(StepId, _unequal(old, new)))
    gone = {step_id.part: step_id for step_id in unequal if step_id not in new and step_id.table == "image"}
    come = {step_id.part: step_id for step_id in unequal if step_id not in old and step_id.table == "image"}
    moved = sorted(gone.keys() & come)
    for part in moved[:1]:
        names = {"old": gone[part].name, "new": come[part].name}
        yield Reason(ReasonCode.RECIPE_CHANGED, {"key": IMAGE_KEY, **names})
    told = {step_id for part in moved for step_id in (gone[part], come[part])}
    yield from (Reason(ReasonCode.INPUT_CHANGED, {"id": one}) for one in unequal if one not in told)


def _changed_kinds(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """The keys whose source is of another kind now, with both: `rootfs` of `rootfs.tar` and `rootfs.ext4`."""
    gone, come = _kinds(old), _kinds(new)
    return {key: (gone[key], come[key]) for key in sorted(gone.keys() & come) if gone[key] != come[key]}


def _kinds(sources: Mapping[str, str]) -> dict[str, str]:
    """The kind of source of each key that is given by one; entries, such as `file_sync[/opt]`, have none."""
    roles = (role.rpartition(".") for role in sources if "[" not in role)
    return {key: kind for key, _, kind in roles if key}


def _without_defaults(fields: Mapping[str, Json], kinds: Collection[str]) -> Mapping[str, Json]:
    """The fields without those of these keys that nobody wrote; another kind of source may not have them."""
    return {
        key: value
        for key, value in fields.items()
        if not (value is None or value is False) or key.rpartition(".")[0] not in kinds
    }


def tool_differences(old: Recipe, new: Recipe) -> tuple[Reason, ...]:
    """The tools whose versions differ between two recipes, as reasons."""
    return tuple(
        Reason(
            ReasonCode.TOOL_CHANGED, {"tool": name, "old": old.tools.get(name), "new": new.tools.get(name)}
        )
        for name in _unequal(old.tools, new.tools)
    )


def _field_differences(old: Mapping[str, Json], new: Mapping[str, Json]) -> Iterator[Reason]:
    for key in _unequal(old, new):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            for part in _unequal(before, after):
                yield _changed(f"{key}.{part}", before.get(part), after.get(part))
        else:
            yield _changed(key, before, after)


def _changed(key: str, old: Json, new: Json) -> Reason:
    """The reason for a changed value. For a digest only the key is shown: the content may be secret."""
    if _is_digest(old) or _is_digest(new):
        return Reason(ReasonCode.RECIPE_CHANGED, {"key": key})
    return Reason(ReasonCode.RECIPE_CHANGED, {"key": key, "old": _shown(old), "new": _shown(new)})


def _shown(value: Json) -> Json:
    if isinstance(value, dict):
        return {key: part for key, part in value.items() if not _is_digest(part)}
    return value


def _is_digest(value: Json) -> bool:
    return isinstance(value, str) and value.startswith("sha256:")


def _unequal(
    old: Mapping[str, Json] | Mapping[str, str], new: Mapping[str, Json] | Mapping[str, str]
) -> list[str]:
    if old == new:
        return []
    absent = object()
    return sorted(key for key in old.keys() | new.keys() if old.get(key, absent) != new.get(key, absent))


def _flatten(prefix: str, value: object, flat: dict[str, Json]) -> None:
    """Put a value into a flat table; an empty tuple is omitted, so that it is never reported as added."""
    parts = _parts(type(value))
    if parts is not None:
        for name, key, is_digest, unless in parts:
            part = getattr(value, name)
            if unless is not _NEVER and part == unless:
                continue
            at = f"{prefix}.{key}" if prefix else key
            if is_digest:
                flat[at] = _digest(part)
            elif part is None or type(part) in _SCALARS:
                flat[at] = part
            else:
                flat.update(_shared_part(at, part))
    elif isinstance(value, tuple) and value and all(_parts(type(item)) is not None for item in value):
        for item in value:
            entry = flat[f"{prefix}[{_identity(item)}]"] = {}
            _flatten("", item, entry)
    elif value != ():
        flat[prefix] = _plain(value)


@lru_cache(maxsize=_MOST_SHARED)
def _shared_part(prefix: str, value: object) -> Mapping[str, Json]:
    """What a part of a step becomes; steps of many VMs have the same parts."""
    flat: dict[str, Json] = {}
    _flatten(prefix, value, flat)
    return flat


def _parts(owner: type) -> _Parts | None:
    """The fields of a dataclass for a recipe (cached).

    Of each its name, its manifest key, whether only a digest is kept, and the value with which it is omitted.

    None if it is no dataclass.
    """
    if owner not in _known_parts:
        _known_parts[owner] = _found_parts(owner)
    return _known_parts[owner]


def _found_parts(owner: type) -> _Parts | None:
    if not is_dataclass(owner):
        return None
    return tuple(
        (
            part.name,
            str(part.metadata.get("key", part.name)),
            bool(part.metadata.get("digest")),
            part.metadata.get("unless", _NEVER),
        )
        for part in fields(owner)
        if part.metadata.get("recipe", True)
    )


def _digest(value: object) -> str:
    return "sha256:" + hashlib.sha256(str(value).encode("utf-8", "surrogateescape")).hexdigest()


def _identity(item: object) -> str:
    for key in IDENTITY_KEYS:
        if hasattr(item, key):
            return str(getattr(item, key))
    raise TypeError(f"{type(item).__name__} has none of {IDENTITY_KEYS} to be told apart by")


def _plain(value: object) -> Json:
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    raise TypeError(f"a recipe cannot hold {value!r}")
