"""What is remembered of a URL: which validators tell versions apart, and a record that can be read again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from bangerbuild.fetch.url_records import NOTHING, UrlRecord, Validators, key_of, read, write

if TYPE_CHECKING:
    from pathlib import Path

OLD = "Sat, 01 Jan 2000 00:00:00 GMT"
NEW = "Sat, 01 Jan 2000 00:00:01 GMT"


@pytest.mark.parametrize(
    ("headers", "validators"),
    [
        ({}, NOTHING),
        ({"ETag": '"1"'}, Validators('"1"')),
        ({"Last-Modified": OLD, "Date": NEW}, Validators("", OLD)),
        ({"ETag": '"1"', "Last-Modified": OLD, "Date": NEW}, Validators('"1"', OLD)),
        ({"Last-Modified": OLD, "Date": OLD}, NOTHING),
        ({"Last-Modified": NEW, "Date": OLD}, NOTHING),
        ({"Last-Modified": OLD}, NOTHING),
        ({"Last-Modified": "yesterday", "Date": NEW}, NOTHING),
        ({"Last-Modified": OLD.replace(" GMT", " -0000"), "Date": NEW}, NOTHING),
    ],
)
def test_a_time_counts_only_if_it_was_a_second_past_when_it_was_sent(
    headers: dict[str, str], validators: Validators
) -> None:
    assert Validators.of(headers) == validators


@pytest.mark.parametrize(
    ("validators", "strong"),
    [
        (Validators('"1"', OLD), '"1"'),
        (Validators('W/"1"', OLD), ""),
        (Validators("", OLD), OLD),
        (NOTHING, ""),
    ],
)
def test_a_weak_tag_stands_for_no_bytes(validators: Validators, strong: str) -> None:
    assert validators.strong == strong


@pytest.mark.parametrize(
    ("known", "headers", "is_contradicted"),
    [
        (Validators('"1"'), {"ETag": '"2"'}, True),
        (Validators('"1"'), {"ETag": '"1"'}, False),
        (Validators('"1"', OLD), {"ETag": '"1"', "Last-Modified": NEW}, False),
        (Validators('"1"', OLD), {"Last-Modified": NEW}, True),
        (Validators("", OLD), {"Last-Modified": NEW}, True),
        (Validators("", OLD), {"ETag": '"2"'}, False),
        (Validators('"1"', OLD), {}, False),
        (NOTHING, {"ETag": '"2"', "Last-Modified": NEW}, False),
    ],
)
def test_what_is_missing_contradicts_nothing_and_a_tag_counts_more_than_a_time(
    known: Validators, headers: dict[str, str], *, is_contradicted: bool
) -> None:
    assert known.is_contradicted_by(headers) == is_contradicted


def test_the_file_is_asked_for_unless_it_is_the_same() -> None:
    assert Validators('W/"1"', OLD).unless_same() == {"If-None-Match": 'W/"1"'}
    assert Validators("", OLD).unless_same() == {"If-Modified-Since": OLD}
    assert NOTHING.unless_same() == {}


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "url.json"
    for record in (UrlRecord(), UrlRecord(Validators('"1"', OLD)), UrlRecord(Validators('"1"'), "ab" * 32)):
        write(path, record)
        assert read(path) == record
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"1", b"{}", json.dumps({"etag": "", "digest": ""}).encode(), b"\xff\xfe", b'"x"'],
)
def test_a_damaged_record_says_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "url.json").write_bytes(content)
    assert read(tmp_path / "url.json") == UrlRecord()


def test_a_record_that_is_not_there_says_nothing(tmp_path: Path) -> None:
    assert read(tmp_path / "url.json") == read(tmp_path / "no/url.json") == UrlRecord()


def test_the_name_of_a_url_tells_no_password() -> None:
    url = "https://me:secret@example.org/x?token=t0p"
    assert key_of(url) == key_of(url) != key_of(url.replace("t0p", "t1p"))
    assert len(key_of(url)) == 64
    assert key_of(url).isalnum()
