"""A JSON Schema as one Python function that tells whether a value is valid, and nothing else.

It takes a tenth of the time of jsonschema, which takes 0.1 s to import. What is not valid goes to jsonschema,
which says why. Only the keywords that the manifest's schema has are known.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeAlias

    Predicate: TypeAlias = Callable[[Any], bool]
    Check: TypeAlias = Callable[[Mapping[str, Any], Callable[[Any], Predicate]], Predicate]


ANNOTATIONS = {
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
"""Keywords that decide nothing."""
_TABLE = {"properties", "patternProperties", "additionalProperties", "required"}
_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
}


def predicate(shape: Mapping[str, Any], passes: Predicate | None = None) -> Predicate:
    """Whether a value of a TOML file is valid.

    Args:
        shape: a schema without references, with patterns as Python reads them.
        passes: which values are valid wherever they stand; None: none is.

    Raises:
        ValueError: the schema has a keyword that is not known here.
    """
    keywords = shape.keys() - ANNOTATIONS
    if unknown := keywords - _CHECKS.keys() - _TABLE:
        raise ValueError(f"no predicate for: {', '.join(sorted(unknown))}")

    def below(part: Mapping[str, Any]) -> Predicate:
        return predicate(part, passes)

    checks = [make(shape, below) for keyword, make in _CHECKS.items() if keyword in shape]
    checks += [_table(shape, below)] if keywords & _TABLE else []
    if len(checks) == 1 and passes is None:
        return checks[0]

    def holds(value: object) -> bool:
        for check in checks:
            if not check(value):
                return passes is not None and passes(value)
        return True

    return holds


def _type(shape: Mapping[str, Any], _below: object) -> Predicate:
    named = shape["type"]
    names = [named] if isinstance(named, str) else named
    types = frozenset(one for name in names for one in _TYPES[name])  # TOML has no subclasses of these
    return lambda value: type(value) in types


def _enum(shape: Mapping[str, Any], _below: object) -> Predicate:
    return _one_of(shape["enum"])


def _const(shape: Mapping[str, Any], _below: object) -> Predicate:
    return _one_of([shape["const"]])


def _one_of(values: list[Any]) -> Predicate:
    if any(type(one) not in {str, bool} for one in values):
        raise ValueError("no predicate for: enum of other values than text and booleans")
    known = {(type(one), one) for one in values}  # True is no 1
    return lambda value: type(value) in {str, bool} and (type(value), value) in known


def _not(shape: Mapping[str, Any], below: Callable[[Any], Predicate]) -> Predicate:
    other = below(shape["not"])
    return lambda value: not other(value)


def _pattern(shape: Mapping[str, Any], _below: object) -> Predicate:
    search = re.compile(shape["pattern"]).search
    return lambda value: type(value) is not str or search(value) is not None


def _minimum(shape: Mapping[str, Any], _below: object) -> Predicate:
    least = shape["minimum"]
    return lambda value: type(value) not in {int, float} or not value < least


def _length(keyword: str, sort: type[str | list[Any] | dict[str, Any]]) -> Check:
    is_least = keyword.startswith("min")

    def make(shape: Mapping[str, Any], _below: object) -> Predicate:
        limit = shape[keyword]
        if is_least:
            return lambda value: not isinstance(value, sort) or len(value) >= limit
        return lambda value: not isinstance(value, sort) or len(value) <= limit

    return make


def _items(shape: Mapping[str, Any], below: Callable[[Any], Predicate]) -> Predicate:
    each = below(shape["items"])
    return lambda value: type(value) is not list or all(map(each, value))


_CHECKS: Mapping[str, Check] = {
    "type": _type,
    "enum": _enum,
    "const": _const,
    "not": _not,
    "pattern": _pattern,
    "minimum": _minimum,
    "minLength": _length("minLength", str),
    "minItems": _length("minItems", list),
    "minProperties": _length("minProperties", dict),
    "maxProperties": _length("maxProperties", dict),
    "items": _items,
}


def _constant(answer: bool) -> Predicate:  # noqa: FBT001  a schema that is `true` or `false`
    return lambda _: answer


def _table(shape: Mapping[str, Any], below: Callable[[Any], Predicate]) -> Predicate:
    """The keywords about a table's keys, in one pass over them."""
    known = {name: below(part) for name, part in shape.get("properties", {}).items()}
    patterns = shape.get("patternProperties", {})
    named = [(re.compile(pattern).search, below(part)) for pattern, part in patterns.items()]
    required = frozenset(shape.get("required", ()))
    given = shape.get("additionalProperties", True)
    other = _constant(given) if isinstance(given, bool) else below(given)

    def holds(value: Any) -> bool:  # noqa: ANN401  any TOML value
        if type(value) is not dict:
            return True
        for key, below_key in value.items():
            fits = known.get(key)
            if fits is not None and not fits(below_key):
                return False
            matching = [each for search, each in named if search(key)]
            if not all(each(below_key) for each in matching):
                return False
            if fits is None and not matching and not other(below_key):
                return False
        return required <= value.keys()

    return holds
