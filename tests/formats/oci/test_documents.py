"""Fields of JSON documents have the type they must have, or are told by their place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bangerbuild.errors import SourceError
from bangerbuild.formats.oci.documents import Document, parse_document, parse_documents
from tests.formats.oci.making import digest_of

if TYPE_CHECKING:
    from collections.abc import Callable

FIELDS = {
    "name": "a",
    "names": ["a", "b"],
    "inner": {"deep": {"name": "c"}},
    "list": [{"name": "d"}, {"name": "e"}],
    "labels": {"k": "v"},
    "number": 5,
    "nothing": None,
}


@pytest.fixture
def document() -> Document:
    return Document(FIELDS, "index.json")


def test_what_is_there_is_read(document: Document) -> None:
    assert document.text("name") == "a"
    assert document.texts("names") == ("a", "b")
    assert document.table("inner").table("deep").text("name") == "c"
    assert [item.text("name") for item in document.tables("list")] == ["d", "e"]
    assert document.text_table("labels") == {"k": "v"}


@pytest.mark.parametrize("key", ["missing", "nothing"])
def test_what_is_missing_or_null_is_empty(document: Document, key: str) -> None:
    assert document.text(key) == ""
    assert document.text(key, "otherwise") == "otherwise"
    assert document.texts(key) == ()
    assert document.tables(key) == ()
    assert document.text_table(key) == {}
    assert document.table(key).text("name") == ""


@pytest.mark.parametrize(
    ("read", "said"),
    [
        (lambda it: it.text("number"), "its 'number' is no text"),
        (lambda it: it.texts("name"), "its 'name' is no list"),
        (lambda it: it.texts("list"), "its 'list' holds what is no text"),
        (lambda it: it.table("name"), "its 'name' is no object"),
        (lambda it: it.tables("names"), "its 'names' holds what is no object"),
        (lambda it: it.text_table("inner"), "its 'inner' holds what is no text"),
        (lambda it: it.table("inner").text("deep"), "its 'inner.deep' is no text"),
        (lambda it: it.tables("list")[1].texts("name"), r"its 'list\[1\].name' is no list"),
    ],
)
def test_what_has_another_type_is_told_by_its_place(
    document: Document, read: Callable[[Document], object], said: str
) -> None:
    with pytest.raises(SourceError, match=f"'index.json' is damaged: {said}"):
        read(document)


def test_a_descriptor_is_type_digest_and_size() -> None:
    fields = {"mediaType": "a/b", "digest": digest_of(b"x"), "size": 1}
    found = Document(fields, "x").descriptor()
    assert (found.media_type, found.digest) == ("a/b", digest_of(b"x"))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"digest": "sha256:abc"}, "its 'digest' is none that can be compared"),
        ({"digest": "md5:" + "0" * 32}, "its 'digest' is none that can be compared"),
        ({"digest": None}, "its 'digest' is none that can be compared"),
        ({"size": -1}, "its 'size' is no size"),
        ({"size": True}, "its 'size' is no size"),
        ({"size": 1 << 63}, "its 'size' is no size"),
        ({"size": "1"}, "its 'size' is no number"),
        ({"size": None}, "its 'size' is no size"),
    ],
)
def test_a_descriptor_that_could_not_be_compared_is_refused(changed: dict[str, Any], said: str) -> None:
    fields = {"digest": digest_of(b"x"), "size": 1} | changed
    with pytest.raises(SourceError, match=said):
        Document(fields, "x").descriptor()


ODD = {
    "empty": b"",
    "cut": b"{",
    "bytes": b"\xff",
    "deep": b"[" * 100_000,
    "digits": b'{"size": ' + b"9" * 5000 + b"}",
    "half a character": b'{"config": {"Cmd": ["\\ud800"]}}',
    "half a key": b'[{"\\udfff": 1}]',
    "half a character in bytes": b'{"a": "\xed\xa0\x80"}',
}


@pytest.mark.parametrize("data", ODD.values(), ids=list(ODD))
def test_what_is_no_json_is_one_plain_error(data: bytes) -> None:
    for parse in (parse_document, parse_documents):
        with pytest.raises(SourceError, match="'x' is damaged: it is no JSON"):
            parse(data, "x")


def test_an_object_is_no_list_and_a_list_no_object() -> None:
    assert parse_document(b'{"a": "b"}', "x").text("a") == "b"
    assert [found.text("a") for found in parse_documents(b'[{"a": "b"}]', "x")] == ["b"]
    for data in (b"[]", b"5"):
        with pytest.raises(SourceError, match="it is no JSON object"):
            parse_document(data, "x")
    for data in (b"{}", b"[5]"):
        with pytest.raises(SourceError, match="it is no JSON list of objects"):
            parse_documents(data, "x")
