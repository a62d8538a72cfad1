"""Typed values as JSON, and back: what a manifest declares crosses to a node as data, and never as a pickle.

A frozen dataclass is an object with its fields under their names, those that have their default left out. A
field whose type is a Protocol says which class it is, under `"is"`, and only classes of `KINDS` are made.
Everything is compared with the type of its field when it is read: a document that does not fit is refused,
with the place in it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import sys
import types
import typing
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self, TypeAlias, TypeVar

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

    Writer: TypeAlias = Callable[[Any, "Paths"], Json]
    """Writes values of one class."""
    Reader: TypeAlias = Callable[[Any, "Paths"], Any]
    """Gives the value of one type that a document stands for, or raises _Misfit."""

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


class _Misfit(Exception):  # noqa: N818  # never seen outside: it becomes a DocumentError
    """What does not fit, and where; the place grows on the way out."""

    def __init__(self, message: str, place: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.place = place

    def below(self, place: str) -> Self:
        """The same, seen from further out."""
        self.place = place + self.place
        return self


def encoded(value: object, paths: Paths) -> Json:
    """A value as JSON.

    Raises:
        TypeError: it has something in it that no document has.
    """
    return _writer(type(value))(value, paths)


def _writer(kind: type) -> Writer:
    """What writes values of a class; made once."""
    found = _WRITERS.get(kind)
    if found is None:
        found = _WRITERS[kind] = _made_writer(kind)
    return found


_WRITERS: dict[type, Writer] = {}


def _made_writer(kind: type) -> Writer:
    if issubclass(kind, (types.NoneType, str, int, float)):
        return lambda value, _: value
    if issubclass(kind, LOCAL):
        return lambda value, paths: paths.to_json(value)
    if issubclass(kind, Path):
        return lambda value, _: str(value)
    if issubclass(kind, (tuple, list)):
        return lambda value, paths: [_writer(type(one))(one, paths) for one in value]
    if issubclass(kind, Mapping):
        return lambda value, paths: {str(key): _writer(type(one))(one, paths) for key, one in value.items()}
    if dataclasses.is_dataclass(kind):
        return _writer_of_fields(typing.cast("type", kind))
    raise TypeError(f"{kind.__name__} can't be sent")


def _writer_of_fields(kind: type) -> Writer:
    fields = [(name, default) for name, _, default in _fields(kind)]
    says_its_name = kind.__name__ in KINDS

    def write(value: Any, paths: Paths) -> Json:  # noqa: ANN401  # of that class
        document: dict[str, Json] = {IS: kind.__name__} if says_its_name else {}
        for name, default in fields:
            own = getattr(value, name)
            if own != default:
                document[name] = _writer(type(own))(own, paths)
        return document

    return write


def named(value: object, paths: Paths = NOTHING_LOCAL) -> dict[str, Json]:
    """A value as JSON that names its class."""
    document = typing.cast("dict[str, Json]", encoded(value, paths))
    return {IS: type(value).__name__, **document}


def decoded(kind: type[T], document: object, paths: Paths, place: str = "") -> T:
    """The value of a type that a document stands for.

    Raises:
        DocumentError: it does not fit the type.
    """
    try:
        return typing.cast("T", _reader(kind)(document, paths))
    except _Misfit as err:
        raise DocumentError(f"a message {err.message.format(place + err.place)}") from err


def decoded_as_one_of(
    kinds: Mapping[str, type[T]], document: object, paths: Paths = NOTHING_LOCAL, place: str = ""
) -> T:
    """The value of whichever of some classes the document names.

    Raises:
        DocumentError: it names none of them, or does not fit that one.
    """
    try:
        return typing.cast("T", _one_of(kinds, document, paths))
    except _Misfit as err:
        raise DocumentError(f"a message {err.message.format(place + err.place)}") from err


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


def _reader(kind: Any) -> Reader:  # noqa: ANN401  # any type
    """What reads values of a type; made once."""
    found = _READERS.get(kind)
    if found is None:
        found = _READERS[kind] = _made_reader(kind)
    return found


_READERS: dict[Any, Reader] = {}


def _made_reader(kind: Any) -> Reader:  # noqa: ANN401  # any type
    make = _OF_ORIGIN.get(typing.get_origin(kind))
    if make is not None:
        return make(*typing.get_args(kind))
    if kind in LOCAL:
        return lambda document, paths: paths.from_json(kind, document)
    if kind in _ANY_OF:
        return lambda document, paths: _one_of(KINDS, document, paths)
    if dataclasses.is_dataclass(kind):
        return _reader_of_fields(typing.cast("type", kind))
    return _reader_of_plain(kind)


def _reader_of_plain(kind: Any) -> Reader:  # noqa: ANN401  # any type
    if kind is object:
        return lambda document, _: document
    if kind is Path:
        return lambda document, _: Path(_checked(str, document))
    if issubclass(kind, Enum):
        return _reader_of_members(kind)

    def read(document: Any, _: Paths) -> Any:  # noqa: ANN401  # of that type, and not of one below it
        if type(document) is not kind:
            raise _unfit(document)
        return document

    return read


def _reader_of_members(kind: type[Enum]) -> Reader:
    members = {one.value: one for one in kind}

    def read(document: Any, _: Paths) -> Enum:  # noqa: ANN401  # any JSON
        if not isinstance(document, str) or document not in members:
            raise _unfit(document)
        return members[document]

    return read


def _reader_of_literal(*allowed: object) -> Reader:
    def read(document: Any, _: Paths) -> Any:  # noqa: ANN401  # any JSON
        if isinstance(document, (dict, list)) or document not in allowed:
            raise _unfit(document)
        return document

    return read


def _reader_of_union(*kinds: Any) -> Reader:  # noqa: ANN401  # any types
    readers = [_reader(kind) for kind in kinds if kind is not types.NoneType]
    may_be_none = len(readers) < len(kinds)

    def read(document: Any, paths: Paths) -> Any:  # noqa: ANN401  # of one of the types
        if document is None and may_be_none:
            return None
        for one in readers[:-1]:
            with contextlib.suppress(_Misfit):
                return one(document, paths)
        return readers[-1](document, paths)

    return read


def _reader_of_tuple(first: Any, *rest: Any) -> Reader:  # noqa: ANN401  # any types
    is_endless = rest == (...,)
    readers = [_reader(first), *(() if is_endless else map(_reader, rest))]

    def read(document: Any, paths: Paths) -> tuple[Any, ...]:  # noqa: ANN401  # any JSON
        found = _checked(list, document)
        if not is_endless and len(found) != len(readers):
            raise _unfit(document)
        values: list[Any] = []
        try:
            for one, item in zip(itertools.cycle(readers), found, strict=False):
                values.append(one(item, paths))  # how many there are says where it failed
        except _Misfit as err:
            raise err.below(f"[{len(values)}]") from None
        return tuple(values)

    return read


def _reader_of_mapping(_key: Any, value: Any) -> Reader:  # noqa: ANN401  # any types
    read_one = _reader(value)

    def read(document: Any, paths: Paths) -> dict[str, Any]:  # noqa: ANN401  # any JSON
        values: dict[str, Any] = {}
        key = ""
        try:
            for key, one in _checked(dict, document).items():
                values[key] = read_one(one, paths)
        except _Misfit as err:
            raise err.below(f".{key}" if key else "") from None
        return values

    return read


_OF_ORIGIN: Mapping[Any, Callable[..., Reader]] = {
    typing.Union: _reader_of_union,
    types.UnionType: _reader_of_union,
    Literal: _reader_of_literal,
    tuple: _reader_of_tuple,
    Mapping: _reader_of_mapping,
}
"""What makes the readers of types that have parameters."""


def _reader_of_fields(kind: type) -> Reader:
    readers = {name: _reader(type_) for name, type_, _ in _fields(kind)}
    required = [name for name, _, default in _fields(kind) if default is dataclasses.MISSING]

    def read(document: Any, paths: Paths) -> Any:  # noqa: ANN401  # of that class
        values: dict[str, Any] = {}
        name = None
        try:
            for name, one in _checked(dict, document).items():
                values[name] = readers.get(name, _refuse)(one, paths)
        except _Misfit as err:
            raise err.below("" if name is None else f".{name}") from None
        for wanted in required:
            if wanted not in values:
                raise _Misfit("lacks '{}'", f".{wanted}")
        return kind(**values)

    return read


def _refuse(_document: object, _paths: Paths) -> NoReturn:
    raise _Misfit("has '{}', which nothing is called")


def _one_of(kinds: Mapping[str, type], document: object, paths: Paths) -> Any:  # noqa: ANN401
    found = dict(_checked(dict, document))
    name = found.pop(IS, None)
    kind = kinds.get(name) if isinstance(name, str) else None
    if kind is None:
        raise _unfit(name).below(f".{IS}")
    return _reader(kind)(found, paths)


def _checked(kind: type[T], document: object) -> T:
    """A value that is of a type already."""
    if not isinstance(document, kind):
        raise _unfit(document)
    return document


def _unfit(found: object) -> _Misfit:
    return _Misfit(f"has a {type(found).__name__} at '{{}}', where that can't be")


def parsed(message: bytes, most_bytes: int) -> dict[str, Any]:
    """The document of a message, which is compressed.

    Raises:
        DocumentError: it is none, or more than so many bytes.
    """
    try:
        document = json.loads(unzipped(message, most_bytes))
    except (ValueError, RecursionError) as err:
        raise DocumentError("a message is no JSON") from err
    if not isinstance(document, dict):
        raise DocumentError("a message is no table")
    return document


def written(document: Json) -> bytes:
    """A document as a message."""
    return zipped(json.dumps(document, separators=(",", ":")).encode())


def zipped(data: bytes) -> bytes:
    """Bytes, compressed in little time."""
    return zlib.compress(data, 1)


def unzipped(message: bytes, most_bytes: int) -> bytes:
    """What was compressed.

    Raises:
        DocumentError: it was not, or is more than so many bytes.
    """
    unpacking = zlib.decompressobj()
    try:
        data = unpacking.decompress(message, most_bytes)
    except zlib.error as err:
        raise DocumentError("a message is not compressed") from err
    if not unpacking.eof:
        raise DocumentError("a message is cut short, or has more bytes than it may have")
    return data
