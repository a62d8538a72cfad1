"""Typed values as JSON, and back: what a manifest declares crosses to a node as data, and never as a pickle.

A frozen dataclass is an object with its fields under their names, those that have their default left out. A
field whose type is a Protocol says which class it is, under `"is"`, and only classes of `KINDS` are made.
Everything is compared with the type of its field when it is read: a document that does not fit is refused,
with the place in it.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import types
import typing
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from bangerbuild import declared, model
from bangerbuild.errors import BangerError, Problem
from bangerbuild.formats.dockerfile import Base
from bangerbuild.formats.dockerignore import IgnoreRules
from bangerbuild.modes import Mode
from bangerbuild.sources import BOOT_FILES, FILESYSTEMS
from bangerbuild.sources.oci import TRANSPORTS
from bangerbuild.sources.source import BootSource, ImageSource

if TYPE_CHECKING:
    from bangerbuild.model import Json

T = TypeVar("T")
IS = "is"
"""The key that names the class of a value whose field allows several."""
KINDS: Mapping[str, type] = {
    kind.__name__: kind
    for kind in (*FILESYSTEMS.values(), *BOOT_FILES.values(), *TRANSPORTS.values())
    if dataclasses.is_dataclass(kind)
}
"""The classes of sources, by their names."""
_NAMES: dict[str, Any] = {
    **{name: getattr(declared, name) for name in dir(declared) if name[:1].isupper()},
    "Base": Base,
    "BootSource": BootSource,
    "HostPath": model.HostPath,
    "IgnoreRules": IgnoreRules,
    "ImageSource": ImageSource,
    "Json": object,
    "Mapping": Mapping,
    "Mode": Mode,
    "Path": Path,
    "Pin": model.Pin,
    "Problem": Problem,
    "Secret": model.Secret,
}
"""What the annotations of these classes speak of, which their modules import for types alone."""
_ANY_OF = frozenset({ImageSource, BootSource})
"""The types of fields that say which class they hold."""


class DocumentError(BangerError):
    """A message that is not what it should be."""


@dataclass(frozen=True)
class Paths:
    """What becomes of the values that mean something on one machine only."""

    to_json: Callable[[Any], Json]
    """Of a `HostPath` or a `Secret`."""
    from_json: Callable[[type, Json], Any]
    """The value of that type which a document stands for."""


LOCAL: tuple[type, ...] = (model.HostPath, model.Secret)
"""The types that go through `Paths`."""


def _nothing_local(*_: object) -> Any:  # noqa: ANN401  # it never returns
    raise TypeError("there is nothing local in such a message")


NOTHING_LOCAL = Paths(_nothing_local, _nothing_local)
"""For messages that hold neither paths nor secrets."""


@lru_cache(maxsize=256)
def _fields(kind: type) -> tuple[tuple[str, Any, Any], ...]:
    """Name, type and default of each field that a class is made with; what has no default has `MISSING`."""
    own = [one for one in dataclasses.fields(kind) if one.init]
    annotated = types.SimpleNamespace(__annotations__={one.name: one.type for one in own})
    known = {**_NAMES, **vars(sys.modules[kind.__module__])}
    hints = typing.get_type_hints(annotated, known, known)
    return tuple((one.name, hints[one.name], _default(one)) for one in own)


def _default(one: dataclasses.Field[Any]) -> Any:  # noqa: ANN401  # the value of any field
    if one.default_factory is not dataclasses.MISSING:
        return one.default_factory()
    return one.default


def encoded(value: object, paths: Paths) -> Json:
    """A value as JSON.

    Raises:
        TypeError: it has something in it that no document has.
    """
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, LOCAL):
        return paths.to_json(value)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, (tuple, list)):
        return [encoded(one, paths) for one in value]
    if isinstance(value, Mapping):
        return {str(key): encoded(one, paths) for key, one in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kind = type(value)
        document: dict[str, Json] = {IS: kind.__name__} if kind.__name__ in KINDS else {}
        for name, _, default in _fields(kind):
            own = getattr(value, name)
            if own != default:
                document[name] = encoded(own, paths)
        return document
    raise TypeError(f"{type(value).__name__} can't be sent")


def decoded(kind: type[T], document: object, paths: Paths, place: str = "") -> T:
    """The value of a type that a document stands for.

    Raises:
        DocumentError: it does not fit the type.
    """
    return typing.cast("T", _decoded(kind, document, paths, place))


def _decoded(kind: Any, document: Any, paths: Paths, place: str) -> Any:  # noqa: ANN401  # by type
    read = _OF_ORIGIN.get(typing.get_origin(kind))
    if read is not None:
        return read(kind, document, paths, place)
    if kind is object:
        return document
    if kind in LOCAL:
        return paths.from_json(kind, document)
    if kind in _ANY_OF:
        return decoded_as_one_of(KINDS, document, paths, place)
    if dataclasses.is_dataclass(kind):
        return _made(typing.cast("type", kind), _of(dict, document, place), paths, place)
    return _of_plain(kind, document, place)


def _of_plain(kind: Any, document: Any, place: str) -> Any:  # noqa: ANN401  # by type
    if issubclass(kind, Enum):
        return _member(kind, document, place)
    return Path(_of(str, document, place)) if kind is Path else _of(kind, document, place)


def _of_literal(kind: Any, document: object, _paths: Paths, place: str) -> Any:  # noqa: ANN401  # by type
    if document not in typing.get_args(kind):
        raise _unfit(place, document)
    return document


def _of_mapping(kind: Any, document: object, paths: Paths, place: str) -> dict[str, Any]:  # noqa: ANN401
    _, value_kind = typing.get_args(kind)
    found = _of(dict, document, place)
    return {key: _decoded(value_kind, one, paths, f"{place}.{key}") for key, one in found.items()}


def _of(kind: type[T], document: object, place: str) -> T:
    """A value that is of a type already; a truth value is no number."""
    if not isinstance(document, kind) or (isinstance(document, bool) and kind is not bool):
        raise _unfit(place, document)
    return document


def _of_union(kind: Any, document: object, paths: Paths, place: str) -> Any:  # noqa: ANN401  # by type
    choices = typing.get_args(kind)
    if document is None and types.NoneType in choices:
        return None
    refused = _unfit(place, document)
    for choice in choices:
        if choice is not types.NoneType:
            try:
                return _decoded(choice, document, paths, place)
            except DocumentError as err:
                refused = err
    raise refused


def _of_tuple(kind: Any, document: object, paths: Paths, place: str) -> tuple[Any, ...]:  # noqa: ANN401
    found, kinds = _of(list, document, place), typing.get_args(kind)
    each = [kinds[0]] * len(found) if kinds[1:] == (...,) else list(kinds)
    if len(each) != len(found):
        raise _unfit(place, document)
    return tuple(
        _decoded(one_kind, one, paths, f"{place}[{number}]")
        for number, (one_kind, one) in enumerate(zip(each, found, strict=True))
    )


_OF_ORIGIN: Mapping[Any, Callable[[Any, Any, Paths, str], Any]] = {
    typing.Union: _of_union,
    types.UnionType: _of_union,
    Literal: _of_literal,
    tuple: _of_tuple,
    Mapping: _of_mapping,
}
"""How types with parameters are read."""


def decoded_as_one_of(
    kinds: Mapping[str, type[T]], document: object, paths: Paths = NOTHING_LOCAL, place: str = ""
) -> T:
    """The value of whichever of some classes the document names.

    Raises:
        DocumentError: it names none of them, or does not fit that one.
    """
    found = dict(_of(dict, document, place))
    name = found.pop(IS, None)
    kind = kinds.get(name) if isinstance(name, str) else None
    if kind is None:
        raise _unfit(f"{place}.{IS}", name)
    return typing.cast("T", _made(kind, found, paths, place))


def named(value: object, paths: Paths = NOTHING_LOCAL) -> dict[str, Json]:
    """A value as JSON that names its class."""
    document = typing.cast("dict[str, Json]", encoded(value, paths))
    return {IS: type(value).__name__, **document}


def _made(kind: type, document: Mapping[str, object], paths: Paths, place: str) -> Any:  # noqa: ANN401
    known = {name: (type_, default) for name, type_, default in _fields(kind)}
    for name in document:
        if name not in known:
            raise DocumentError(f"a message has '{place}.{name}', which nothing is called")
    values = {}
    for name, (type_, default) in known.items():
        if name in document:
            values[name] = _decoded(type_, document[name], paths, f"{place}.{name}")
        elif default is dataclasses.MISSING:
            raise DocumentError(f"a message lacks '{place}.{name}'")
    return kind(**values)


def _member(kind: type[Enum], document: object, place: str) -> Enum:
    try:
        return kind(document)
    except ValueError as err:
        raise _unfit(place, document) from err


def _unfit(place: str, found: object) -> DocumentError:
    return DocumentError(f"a message has a {type(found).__name__} at '{place}', where that can't be")


def parsed(message: bytes, most_bytes: int) -> dict[str, Any]:
    """The document of a message, which is compressed.

    Raises:
        DocumentError: it is none, or more than so many bytes.
    """
    unpacking = zlib.decompressobj()
    try:
        text = unpacking.decompress(message, most_bytes)
        if not unpacking.eof:
            raise DocumentError("a message is cut short, or has more bytes than it may have")
        return _of(dict, json.loads(text), "message")
    except (zlib.error, ValueError, RecursionError) as err:
        raise DocumentError("a message is no compressed JSON") from err


def written(document: Json) -> bytes:
    """A document as a message."""
    return zlib.compress(json.dumps(document, separators=(",", ":")).encode(), 1)
