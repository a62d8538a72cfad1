"""JSON documents of images, whose fields are checked for their type when they are read.

Every function raises a SourceError that names the document and the field.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from bangerbuild.errors import SourceError
from bangerbuild.formats.oci.blobs import Descriptor, is_digest
from bangerbuild.formats.oci.layout_files import DAMAGED_HINT

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_T = TypeVar("_T")
_SIZE_MAX = (1 << 63) - 1


@dataclass(frozen=True)
class Document:
    """A JSON object, or an object nested in one."""

    fields: Mapping[str, Any]
    written: str
    """The document's name in messages."""
    place: str = ""
    """The path of a nested object, such as `layers[0].`."""

    def text(self, key: str, otherwise: str = "") -> str:
        """The string under `key`; `otherwise` if there is none."""
        return self._value(key, str, otherwise)

    def texts(self, key: str) -> tuple[str, ...]:
        """The list of strings under `key`; empty if there is none."""
        values = self._value(key, list, [])
        if not all(isinstance(value, str) for value in values):
            raise self.wrong(key, "holds what is no text")
        return tuple(values)

    def table(self, key: str) -> Document:
        """The object under `key`; empty if there is none."""
        return Document(self._value(key, dict, {}), self.written, f"{self.place}{key}.")

    def tables(self, key: str) -> tuple[Document, ...]:
        """The list of objects under `key`; empty if there is none."""
        values = self._value(key, list, [])
        if not all(isinstance(value, dict) for value in values):
            raise self.wrong(key, "holds what is no object")
        places = (f"{self.place}{key}[{index}]." for index in range(len(values)))
        return tuple(
            Document(value, self.written, place) for value, place in zip(values, places, strict=True)
        )

    def text_table(self, key: str) -> dict[str, str]:
        """The object of strings under `key`; empty if there is none."""
        values = self._value(key, dict, {})
        if not all(isinstance(value, str) for value in values.values()):
            raise self.wrong(key, "holds what is no text")
        return dict(values)

    def descriptor(self) -> Descriptor:
        """This object as a descriptor of a blob."""
        digest = self.text("digest")
        if not is_digest(digest):
            raise self.wrong("digest", f"is none that can be compared: '{digest}'")
        size = self._value("size", int, -1)
        if isinstance(size, bool) or not 0 <= size <= _SIZE_MAX:
            raise self.wrong("size", "is no size")
        return Descriptor(self.text("mediaType"), digest, size)

    def wrong(self, key: str, what: str) -> SourceError:
        """The error for a field; `what` is a predicate."""
        return SourceError(f"'{self.written}' is damaged: its '{self.place}{key}' {what}", hint=DAMAGED_HINT)

    def _value(self, key: str, type_: type[_T], otherwise: _T) -> _T:
        value = self.fields.get(key)
        if value is None:  # Go writes an empty list as null
            return otherwise
        if not isinstance(value, type_):
            raise self.wrong(key, f"is no {_WORDS[type_]}")
        return value


_WORDS: Mapping[type, str] = {str: "text", int: "number", list: "list", dict: "object"}


def parse_document(data: bytes, written: str) -> Document:
    """The JSON object that `data` holds."""
    fields = _parsed(data, written)
    if not isinstance(fields, dict):
        raise SourceError(f"'{written}' is damaged: it is no JSON object", hint=DAMAGED_HINT)
    return Document(fields, written)


def parse_documents(data: bytes, written: str) -> tuple[Document, ...]:
    """The JSON objects in the list that `data` holds."""
    found = _parsed(data, written)
    if not isinstance(found, list) or not all(isinstance(fields, dict) for fields in found):
        raise SourceError(f"'{written}' is damaged: it is no JSON list of objects", hint=DAMAGED_HINT)
    return tuple(Document(fields, written, f"[{index}].") for index, fields in enumerate(found))


def quoted_list(names: Iterable[str]) -> str:
    """Names for a message: `'a', 'b'`."""
    return ", ".join(f"'{name}'" for name in names)


def _parsed(data: bytes, written: str) -> Any:  # noqa: ANN401 - whatever JSON holds
    try:
        return _checked_json(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as err:  # UnicodeError is a ValueError
        raise SourceError(
            f"'{written}' is damaged: it is no JSON", details=str(err), hint=DAMAGED_HINT
        ) from err


def _checked_json(text: str) -> Any:  # noqa: ANN401 - whatever JSON holds
    found = json.loads(text)
    if "\\u" in text:  # an escape may stand for half a character, which is no text
        json.dumps(found, ensure_ascii=False).encode()
    return found
