"""Transfers from servers that cut, lie, wait or say no: what arrives is whole, or nothing is taken."""

from __future__ import annotations

import email.utils
import hashlib
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import FetchError
from bangerbuild.fetch.connection import RetryPolicy
from bangerbuild.fetch.download import download
from tests.fetch.fetching import DATA, DIGEST, OTHER, QUICK, assert_is, fetch, refusal
from tests.fetch.server import (
    chunked,
    file,
    part,
    status,
)

if TYPE_CHECKING:
    from bangerbuild.fetch.cache import Cache
    from tests.fetch.server import Handler, Server


@pytest.mark.parametrize("sha256", [DIGEST, None])
def test_a_cut_download_is_gone_on_with_where_it_was_cut(
    web: Server, cache: Cache, sha256: str | None
) -> None:
    url = web.says(file(DATA, {"ETag": '"1"'}, cut=300_000))
    assert_is(fetch(url, cache, sha256), DATA, cache)
    assert web.ranges == [None, "bytes=300000-", "bytes=600000-", "bytes=900000-"]
    assert web.asked[1].headers.get("If-Range") == (None if sha256 else '"1"')


def test_what_another_run_has_fetched_is_gone_on_with(web: Server, cache: Cache) -> None:
    url = web.says(file(DATA, {"ETag": '"1"'}, cut=400_000), status(404))
    with pytest.raises(FetchError, match="404"):
        fetch(url, cache)
    web.says(file(DATA, {"ETag": '"1"'}))
    assert_is(fetch(url, cache), DATA, cache)
    assert web.ranges[2] == "bytes=400000-"


@pytest.mark.parametrize("validator", [{}, {"ETag": 'W/"weak"'}])
def test_without_a_digest_and_a_strong_tag_nothing_is_pieced_together(
    web: Server, cache: Cache, validator: dict[str, str]
) -> None:
    url = web.says(file(DATA, validator, cut=300_000), file(OTHER, validator))
    assert_is(fetch(url, cache, None), OTHER, cache)
    assert web.ranges == [None, None]


def test_a_file_that_changes_between_its_parts_is_fetched_from_the_start(web: Server, cache: Cache) -> None:
    url = web.says(file(OTHER, {"ETag": '"1"'}, cut=300_000), file(DATA, {"ETag": '"2"'}))
    assert_is(fetch(url, cache, None), DATA, cache)
    assert web.ranges == [None, "bytes=300000-"]  # and the server, minding If-Range, sent all of it


TIME = "Mon, 01 Jan 2024 00:00:00 GMT"
LATER = "Tue, 02 Jan 2024 00:00:00 GMT"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"ETag": '"1"'}, {"ETag": '"2"'}),
        ({"Last-Modified": TIME}, {"Last-Modified": LATER}),
        ({"ETag": '"1"', "Last-Modified": TIME}, {"Last-Modified": LATER}),
    ],
)
def test_a_part_of_another_version_is_not_taken_though_the_server_sends_it(
    web: Server, cache: Cache, first: dict[str, str], second: dict[str, str]
) -> None:
    rest = part(DATA[300_000:], 300_000, len(DATA), second)
    url = web.says(file(OTHER, first, cut=300_000), rest, file(DATA, second))
    assert_is(fetch(url, cache, None), DATA, cache)
    assert web.ranges == [None, "bytes=300000-", None]


def test_a_draft_of_another_version_is_not_taken_for_whole(web: Server, cache: Cache) -> None:
    cut = file(OTHER, {"ETag": '"1"'}, length=len(DATA) + 1)
    whole = status(416, {"Content-Range": f"bytes */{len(DATA)}", "ETag": '"2"'})
    url = web.says(cut, whole, file(DATA, {"ETag": '"2"'}))
    assert_is(fetch(url, cache, None), DATA, cache)


def test_a_part_that_leaves_out_what_tells_its_version_is_taken(web: Server, cache: Cache) -> None:
    rest = part(DATA[300_000:], 300_000, len(DATA))
    url = web.says(file(DATA, {"ETag": '"1"', "Last-Modified": TIME}, cut=300_000), rest)
    assert_is(fetch(url, cache, None), DATA, cache)


def test_parts_of_two_versions_that_do_not_make_the_pinned_file_are_thrown_away(
    web: Server, cache: Cache
) -> None:
    url = web.says(file(OTHER, cut=300_000), file(DATA))
    assert_is(fetch(url, cache), DATA, cache)
    assert web.ranges == [None, "bytes=300000-", None]


def test_a_server_that_knows_no_ranges_is_asked_for_all_again(web: Server, cache: Cache) -> None:
    url = web.says(file(DATA, cut=300_000, ranges=False), file(DATA, ranges=False))
    assert_is(fetch(url, cache), DATA, cache)


def test_a_draft_that_is_whole_already_is_taken_as_it_is(web: Server, cache: Cache) -> None:
    """Killed between the last byte and publishing."""
    url = web.says(file(DATA, length=len(DATA) + 1), status(404))
    refusal(url, cache)
    web.says(file(DATA))
    assert_is(fetch(url, cache), DATA, cache)
    assert web.ranges[-1] == f"bytes={len(DATA)}-"


def test_a_draft_that_is_longer_than_the_file_is_begun_anew(web: Server, cache: Cache) -> None:
    url = web.says(file(DATA + b"more", cut=len(DATA) + 4, length=len(DATA) + 9), file(DATA))
    assert_is(fetch(url, cache), DATA, cache)


@pytest.mark.parametrize("answer", [chunked(DATA[:300_000], whole=False), file(DATA, cut=0)])
def test_a_server_that_always_cuts_at_the_same_place_is_given_up(
    web: Server, cache: Cache, answer: object
) -> None:
    error = refusal(web.says(answer), cache)  # type: ignore[arg-type]  # pytest's parameters have no type
    assert error.brief == f"'{web.url('/file')}' can't be fetched: the connection broke"
    assert error.hint == "try again later"
    assert len(web.asked) == QUICK.attempts


def test_a_server_that_cuts_often_but_gets_on_is_borne_with(web: Server, cache: Cache) -> None:
    url = web.says(file(DATA, cut=70_000))
    assert_is(fetch(url, cache), DATA, cache)
    assert len(web.asked) > 2 * QUICK.attempts


def test_a_wrong_digest_is_told_and_nothing_is_left_of_it(web: Server, cache: Cache) -> None:
    error = refusal(web.says(file(OTHER)), cache)
    found = hashlib.sha256(OTHER).hexdigest()
    assert error.brief == (
        f"'{web.url('/file')}' is not what it must be: its sha256 is {found}, not {DIGEST}"
    )
    assert error.hint is not None
    assert "lock" in error.hint
    assert list(cache.drafts.iterdir()) == []
    assert len(web.asked) == 1


@pytest.mark.parametrize("length", [len(DATA) + 5, len(DATA) * 1000])
def test_a_length_that_is_too_long_is_found_out(web: Server, cache: Cache, length: int) -> None:
    assert "the connection broke" in refusal(web.says(file(DATA, length=length)), cache, None).brief


def test_a_length_that_is_too_short_cuts_the_file_and_the_digest_tells(web: Server, cache: Cache) -> None:
    assert "is not what it must be" in refusal(web.says(file(DATA, length=5)), cache).brief


@pytest.mark.parametrize("start", [0, 299_999, 300_001])
def test_another_part_than_was_asked_for_is_not_taken(web: Server, cache: Cache, start: int) -> None:
    url = web.says(file(DATA, cut=300_000), part(DATA[start:], start, len(DATA)), file(DATA))
    assert_is(fetch(url, cache), DATA, cache)
    assert web.ranges == [None, "bytes=300000-", None]


def test_a_part_that_ends_too_early_is_gone_on_with(web: Server, cache: Cache) -> None:
    url = web.says(file(DATA, cut=300_000), part(DATA[300_000:500_000], 300_000, len(DATA)), file(DATA))
    assert_is(fetch(url, cache), DATA, cache)
    assert web.ranges == [None, "bytes=300000-", "bytes=500000-"]


def test_a_part_of_a_file_of_unknown_length_is_taken_to_its_end(web: Server, cache: Cache) -> None:
    url = web.says(file(DATA, cut=300_000), part(DATA[300_000:], 300_000, "*"))
    assert_is(fetch(url, cache), DATA, cache)


def test_more_than_the_whole_file_is_thrown_away(web: Server, cache: Cache) -> None:
    url = web.says(file(DATA, cut=300_000), part(DATA[300_000:] + b"more", 300_000, len(DATA)), file(DATA))
    assert_is(fetch(url, cache), DATA, cache)
    assert web.ranges == [None, "bytes=300000-", None]


def test_a_server_that_says_unchanged_without_being_asked_is_not_believed(web: Server, cache: Cache) -> None:
    assert "304" in refusal(web.says(status(304)), cache).brief


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
def test_a_server_in_trouble_is_asked_again(web: Server, cache: Cache, code: int) -> None:
    url = web.says(status(code), status(code), file(DATA))
    assert_is(fetch(url, cache), DATA, cache)


def test_a_server_that_stays_in_trouble_is_given_up(web: Server, cache: Cache) -> None:
    error = refusal(web.says(status(503)), cache)
    assert error.brief == (
        f"'{web.url('/file')}' can't be fetched: its server says '503 Service Unavailable'"
    )
    assert len(web.asked) == QUICK.attempts


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_server_is_given_the_time_it_asks_for_but_not_more_than_we_have(
    web: Server, cache: Cache, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = email.utils.formatdate(time.time() + 3600, usegmt=True)
    url = web.says(status(429, {"Retry-After": "3600" if form == "seconds" else later}), file(DATA))
    paused = list[float]()
    monkeypatch.setattr(time, "sleep", paused.append)
    fetch(url, cache, policy=RetryPolicy(longest_pause_seconds=600))
    assert paused == [600]


@pytest.mark.parametrize("nonsense", ["soon", "-1", "99999999999999999999999999", "Sat, 99 Foo"])
def test_nonsense_for_a_time_to_wait_is_survived(web: Server, cache: Cache, nonsense: str) -> None:
    url = web.says(status(503, {"Retry-After": nonsense}), file(DATA))
    assert_is(fetch(url, cache, policy=RetryPolicy(longest_pause_seconds=0.01)), DATA, cache)


@pytest.mark.parametrize("code", [404, 410])
def test_what_is_not_there_is_told_at_once(web: Server, cache: Cache, code: int) -> None:
    error = refusal(web.says(status(code)), cache)
    assert error.brief.startswith(f"'{web.url('/file')}' is not there: its server says '{code} ")
    assert len(web.asked) == 1


@pytest.mark.parametrize("code", [401, 403])
def test_what_is_not_for_everybody_names_netrc(web: Server, cache: Cache, code: int) -> None:
    error = refusal(web.says(status(code)), cache)
    assert error.hint is not None
    assert ".netrc" in error.hint


@pytest.mark.parametrize("code", [204, 206, 300, 400, 418])
def test_any_other_answer_is_no_file(web: Server, cache: Cache, code: int) -> None:
    assert str(code) in refusal(web.says(status(code)), cache).brief or code == 206


@pytest.mark.parametrize("length", ["9" * 5000, "-1", "1e3", "", "0x10", "٣", "1000000, 5"])
def test_a_length_that_is_no_number_is_told(web: Server, cache: Cache, length: str) -> None:
    def answer(handler: Handler) -> None:
        handler.wfile.write(f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n".encode() + DATA)
        handler.hang_up()

    error = refusal(web.says(answer), cache)
    assert "which is no number" in error.brief or "the connection broke" in error.brief


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # urllib3 leaves it open
def test_two_lengths_that_differ_are_refused(web: Server, cache: Cache) -> None:
    def answer(handler: Handler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\nContent-Length: 5\r\n\r\n" + DATA)
        handler.hang_up()

    refusal(web.says(answer), cache)


def test_a_range_of_many_digits_is_told(web: Server, cache: Cache) -> None:
    url = web.says(file(DATA, cut=500_000), part(DATA[500_000:], 500_000, "9" * 5000))
    assert "sends another part" in refusal(url, cache).brief


def test_a_body_without_an_end_is_taken_to_the_limit(web: Server, cache: Cache) -> None:
    def answer(handler: Handler) -> None:
        handler.begin(200, {"Connection": "close"})
        while True:
            handler.wfile.write(DATA)

    with pytest.raises(FetchError, match="it has more than 2 MiB") as caught:
        download(web.says(answer), sha256=None, cache=cache, policy=QUICK, max_bytes=2 << 20)
    assert "max_size" in str(caught.value.hint)
    assert not any(cache.blobs.iterdir())
    assert not any(cache.drafts.iterdir())


def test_one_that_takes_too_long_in_all_is_broken_off_and_gone_on_with(web: Server, cache: Cache) -> None:
    url = web.says(file(DATA))
    with pytest.raises(FetchError, match="it takes more than 0 hours") as caught:
        fetch(url, cache, policy=RetryPolicy(most_seconds=0))
    assert "run it again" in (caught.value.hint or "")
    assert_is(fetch(url, cache), DATA, cache)
    assert web.ranges[1] is not None, "what had come was asked for again"


def test_one_that_says_it_is_too_large_is_not_taken_at_all(web: Server, cache: Cache) -> None:
    url = web.says(file(b"a", length=1 << 50))
    assert "it has more than 64 GiB" in refusal(url, cache, None).brief
    assert len(web.asked) == 1


def test_a_version_on_two_lines_is_survived(web: Server, cache: Cache) -> None:
    def answer(handler: Handler) -> None:
        folded = b'HTTP/1.1 200 OK\r\nETag: "a\r\n b"\r\nContent-Length: 1000000\r\n\r\n'
        handler.wfile.write(folded + DATA)

    url = web.says(answer)
    for _ in range(2):
        assert fetch(url, cache, None).path.read_bytes() == DATA


@pytest.mark.parametrize(
    "later", ["9" * 5000, "Mon, 01 Jan 0001 00:00:00 +2359", "Fri, 31 Dec 9999 23:59:59 -2359"]
)
def test_a_time_to_wait_that_is_out_of_range_is_survived(web: Server, cache: Cache, later: str) -> None:
    quick = replace(QUICK, longest_pause_seconds=0.001)
    url = web.says(status(503, {"Retry-After": later}), file(DATA))
    assert fetch(url, cache, policy=quick).path.read_bytes() == DATA
