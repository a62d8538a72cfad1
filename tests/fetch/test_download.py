"""Downloads against a real server: what cuts, lies, waits or says no, and what must come of it."""

from __future__ import annotations

import email.utils
import hashlib
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import CacheError, FetchError, OfflineError, SourceError
from bangerbuild.fetch.cache import Blob, Cache
from bangerbuild.fetch.connection import RetryPolicy
from bangerbuild.fetch.download import download
from tests.conftest import PROJECT
from tests.fetch.memory import PRINT_PEAK_KIB
from tests.fetch.server import (
    after,
    chunked,
    endless,
    file,
    part,
    redirect,
    running,
    silence,
    status,
)
from tests.ports import reserved_port
from tests.unprivileged import run_unprivileged
from tests.waiting import PATIENCE_SECONDS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.fetch.server import Server

DATA = hashlib.shake_256(b"data").digest(1_000_000)  # the same in every process: tests are named after it
DIGEST = hashlib.sha256(DATA).hexdigest()
OTHER = hashlib.shake_256(b"other").digest(1_000_000)
QUICK = RetryPolicy(pause_seconds=0.001, connect_seconds=PATIENCE_SECONDS, read_seconds=PATIENCE_SECONDS)


def fetch(
    url: str, cache: Cache, sha256: str | None = DIGEST, policy: RetryPolicy = QUICK, *, offline: bool = False
) -> Blob:
    return download(url, sha256=sha256, cache=cache, policy=policy, offline=offline)


def refusal(url: str, cache: Cache, sha256: str | None = DIGEST) -> FetchError:
    """The one error that fetching gives; nothing is in the cache then."""
    with pytest.raises(FetchError) as caught:
        fetch(url, cache, sha256)
    assert "\n" not in caught.value.brief
    assert not any(cache.blobs.iterdir())
    return caught.value


def assert_is(blob: Blob, data: bytes, cache: Cache) -> None:
    assert blob.path.read_bytes() == data
    assert blob == Blob(hashlib.sha256(data).hexdigest(), cache.blobs / blob.digest, len(data))
    assert list(cache.drafts.iterdir()) == []


# a server that does its work


@pytest.mark.parametrize("sha256", [DIGEST, None])
def test_a_file_is_fetched_once_and_kept_by_its_digest(web: Server, cache: Cache, sha256: str | None) -> None:
    url = web.says(file(DATA, {"ETag": '"1"'}))
    assert_is(fetch(url, cache, sha256), DATA, cache)
    assert len(web.asked) == 1


def test_a_pinned_file_that_is_in_the_cache_asks_nobody(web: Server, cache: Cache) -> None:
    fetch(web.says(file(DATA)), cache)
    assert_is(fetch("http://nowhere.invalid/other", cache), DATA, cache)
    assert_is(fetch("http://nowhere.invalid/other", cache, offline=True), DATA, cache)
    assert len(web.asked) == 1


@pytest.mark.parametrize("validator", [{"ETag": '"1"'}, {"ETag": 'W/"1"'}])
def test_a_file_that_is_not_pinned_is_asked_for_again_but_not_sent(
    web: Server, cache: Cache, validator: dict[str, str]
) -> None:
    url = web.says(file(DATA, validator))
    first = fetch(url, cache, None)
    web.says(status(304))
    assert fetch(url, cache, None) == first
    assert web.asked[1].headers["If-None-Match"] == validator["ETag"]


def test_a_server_without_tags_is_asked_by_time(web: Server, cache: Cache) -> None:
    when = "Sat, 01 Jan 2000 00:00:00 GMT"
    url = web.says(file(DATA, {"Last-Modified": when}), status(304))
    first = fetch(url, cache, None)
    assert fetch(url, cache, None) == first
    assert web.asked[1].headers["If-Modified-Since"] == when


def test_a_time_that_is_not_a_second_past_tells_no_versions_apart(web: Server, cache: Cache) -> None:
    """The file may have changed in the rest of that second, with the same time to its name."""
    when = "Sat, 01 Jan 2000 00:00:00 GMT"
    told = {"Date": when, "Last-Modified": when}
    url = web.says(file(DATA, told), file(OTHER, told))
    fetch(url, cache, None)
    assert_is(fetch(url, cache, None), OTHER, cache)
    assert "If-Modified-Since" not in web.asked[1].headers


def test_a_file_that_changed_is_sent_anew_where_nothing_pins_it(web: Server, cache: Cache) -> None:
    url = web.says(file(DATA, {"ETag": '"1"'}), file(OTHER, {"ETag": '"2"'}))
    fetch(url, cache, None)
    assert_is(fetch(url, cache, None), OTHER, cache)


def test_a_file_is_sent_anew_when_the_cache_has_lost_it(web: Server, cache: Cache) -> None:
    url = web.says(file(DATA, {"ETag": '"1"'}))
    fetch(url, cache, None).path.unlink()
    assert_is(fetch(url, cache, None), DATA, cache)
    assert "If-None-Match" not in web.asked[1].headers


def test_a_blob_that_was_damaged_is_fetched_again(web: Server, tmp_path: Path) -> None:
    url = web.says(file(DATA))
    with Cache(tmp_path / "cache") as cache, fetch(url, cache).path.open("r+b") as damaged:
        damaged.write(b"X")
    with Cache(tmp_path / "cache") as cache:
        assert_is(fetch(url, cache), DATA, cache)


def test_an_empty_file_is_a_file(web: Server, cache: Cache) -> None:
    assert_is(fetch(web.says(file(b"")), cache, None), b"", cache)


def test_progress_goes_from_nothing_to_all(web: Server, cache: Cache) -> None:
    told: list[tuple[int, int | None]] = []
    download(
        web.says(file(DATA)),
        sha256=None,
        cache=cache,
        progress=lambda done, total: told.append((done, total)),
        policy=QUICK,
    )
    assert told[0] == (0, len(DATA))
    assert told[-1] == (len(DATA), len(DATA))
    assert told == sorted(told)


@pytest.mark.parametrize("answer", [chunked(DATA[:300], DATA[300:]), endless(DATA)])
def test_a_body_without_a_length_is_taken_to_its_end(web: Server, cache: Cache, answer: object) -> None:
    told: list[int | None] = []
    url = web.says(answer)  # type: ignore[arg-type]  # pytest's parameters have no type
    blob = download(url, sha256=DIGEST, cache=cache, progress=lambda _, total: told.append(total))
    assert_is(blob, DATA, cache)
    assert set(told) == {None}


def test_a_compressed_file_stays_compressed_whatever_its_server_calls_it(web: Server, cache: Cache) -> None:
    assert_is(fetch(web.says(file(DATA, {"Content-Encoding": "gzip"})), cache), DATA, cache)
    assert web.asked[0].headers["Accept-Encoding"] == "identity"


# cuts


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


# lies


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


# what the server says


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


def test_a_server_that_goes_silent_is_given_up(web: Server, cache: Cache) -> None:
    done = threading.Event()
    url = web.says(silence(done))
    try:
        with pytest.raises(FetchError, match="its server went silent"):
            fetch(url, cache, policy=RetryPolicy(attempts=2, pause_seconds=0.001, read_seconds=0.1))
    finally:
        done.set()


def test_a_server_that_is_not_there_is_given_up(cache: Cache) -> None:
    with (
        reserved_port() as port,
        pytest.raises(FetchError, match="nothing answers where its server should be"),
    ):
        fetch(f"http://127.0.0.1:{port}/file", cache)


def test_a_name_that_nobody_knows_is_given_up(cache: Cache) -> None:
    with pytest.raises(
        FetchError, match=r"'http://nowhere\.invalid/file' can't be fetched: its server's name"
    ):
        fetch("http://nowhere.invalid/file", cache)


# addresses


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_redirects_are_followed(web: Server, cache: Cache, code: int) -> None:
    web.says(redirect("third?a=b", code), path="/some/second")
    web.says(file(DATA), path="/some/third?a=b")
    assert_is(fetch(web.says(redirect(web.url("/some/second"), code)), cache), DATA, cache)


def test_a_cut_behind_a_redirect_is_gone_on_with(web: Server, cache: Cache) -> None:
    web.says(file(DATA, cut=400_000), path="/mirror")
    assert_is(fetch(web.says(redirect("/mirror")), cache), DATA, cache)


def test_redirects_in_a_circle_end(web: Server, cache: Cache) -> None:
    assert "redirects more than 10 times" in refusal(web.says(redirect("/file")), cache).brief


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://host/file", "gopher:x"])
def test_a_redirect_leads_nowhere_but_to_other_servers(web: Server, cache: Cache, target: str) -> None:
    assert "it redirects" in refusal(web.says(redirect(target)), cache).brief


@pytest.mark.parametrize(
    "url",
    [
        "",
        "file",
        "/etc/passwd",
        "ftp://host/file",
        "http://",
        "http:///file",
        "https://host:port/file",
        "http://host:99999/file",
        "http://[::1/file",
        "file://other/etc/passwd",
        "file:relative",
        "HTTP:/x",
    ],
)
def test_what_is_no_address_is_refused(url: str, cache: Cache) -> None:
    with pytest.raises(FetchError, match="is no address that can be fetched") as caught:
        fetch(url, cache, None)
    assert caught.value.hint is not None


def test_names_passwords_and_tokens_are_sent_but_neither_shown_nor_kept(web: Server, cache: Cache) -> None:
    web.says(status(403), path="/file?token=t0psecret")
    url = web.url("/file?token=t0psecret").replace("//", "//me%40home:pass%3Aword@")
    error = refusal(url, cache)
    assert web.asked[0].headers["Authorization"] == "Basic bWVAaG9tZTpwYXNzOndvcmQ="
    kept = " ".join(path.name for path in cache.path.rglob("*")) + repr(error.__cause__) + str(error.details)
    for secret in ("t0psecret", "pass:", "pass%", "me@home", "me%40home"):
        assert secret not in error.brief + kept


def test_netrc_says_how_to_log_in_at_a_host(web: Server, cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text(
        "machine 127.0.0.1 login me password word\ndefault login any password any\n"
    )
    fetch(web.says(file(DATA)), cache)
    assert web.asked[0].headers["Authorization"] == "Basic bWU6d29yZA=="


def test_a_host_that_netrc_does_not_name_gets_no_password(web: Server, cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text(
        "machine example.org login me password word\ndefault login a password b\n"
    )
    fetch(web.says(file(DATA)), cache)
    assert "Authorization" not in web.asked[0].headers


def test_a_password_goes_to_its_own_host_only(web: Server, cache: Cache) -> None:
    with running() as other:
        url = web.says(redirect(other.says(file(DATA)).replace("127.0.0.1", "localhost")))
        fetch(url.replace("//", "//me:word@"), cache)
        assert "Authorization" in web.asked[0].headers
        assert "Authorization" not in other.asked[0].headers


def test_a_netrc_that_is_broken_is_named(web: Server, cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "netrc").write_text("machine\n")
    with pytest.raises(FetchError, match=r"netrc' can't be read, which may know how to log in"):
        fetch(web.says(file(DATA)), cache)


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "all_proxy"])
def test_a_proxy_of_the_environment_is_used(
    web: Server, cache: Cache, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delenv("REQUEST_METHOD", raising=False)
    monkeypatch.setenv(name, web.url("").replace("//", "//user:word@"))
    web.says(file(DATA), path="http://nowhere.invalid/file")
    assert_is(fetch("http://nowhere.invalid/file", cache), DATA, cache)
    assert web.asked[0].headers["Proxy-Authorization"] == "Basic dXNlcjp3b3Jk"


def test_a_host_that_needs_no_proxy_is_asked_itself(
    web: Server, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "example.org,127.0.0.1")
    assert_is(fetch(web.says(file(DATA)), cache), DATA, cache)


def test_a_proxy_that_is_not_there_is_told(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "127.0.0.1:1")
    with pytest.raises(FetchError, match="the proxy does not let it through"):
        fetch("http://nowhere.invalid/file", cache)


def test_a_proxy_of_an_unknown_kind_is_told(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:1")
    with pytest.raises(FetchError, match="can't be fetched"):
        fetch("http://nowhere.invalid/file", cache)


# files of the host


def test_a_file_of_the_host_is_read_where_it_lies(cache: Cache, tmp_path: Path) -> None:
    path = tmp_path / "a file%.tar"
    path.write_bytes(DATA)
    for url in (path.as_uri(), path.as_uri().replace("file://", "file://localhost")):
        assert fetch(url, cache, None, offline=True) == Blob(DIGEST, path, len(DATA))
    assert not cache.path.exists()


def test_a_file_of_the_host_that_is_not_the_pinned_one_is_refused(cache: Cache, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(OTHER)
    with pytest.raises(FetchError, match="is not what it must be"):
        fetch((tmp_path / "file").as_uri(), cache)


def test_what_is_no_file_of_the_host_is_refused(cache: Cache, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for name, why in (("missing", "is not there"), (".", "is a directory"), ("fifo", "is no regular file")):
        with pytest.raises(SourceError, match=why):
            fetch(f"{tmp_path.as_uri()}/{name}", cache)


# offline


def test_offline_nobody_is_asked_and_what_is_missing_is_named(web: Server, cache: Cache) -> None:
    url = web.says(file(DATA))
    for sha256 in (DIGEST, None):
        with pytest.raises(OfflineError, match=rf"'{url}' is not in the cache") as caught:
            fetch(url, cache, sha256, offline=True)
        assert caught.value.hint == "run it once without --offline"
    assert web.asked == []


def test_offline_an_address_stands_for_what_it_last_gave(web: Server, cache: Cache) -> None:
    url = web.says(file(DATA))
    first = fetch(url, cache, None)
    assert fetch(url, cache, None, offline=True) == first
    assert len(web.asked) == 1


# many at once, and ends


def test_two_threads_fetch_a_file_once(web: Server, cache: Cache) -> None:
    go, reached = threading.Event(), threading.Event()
    url = web.says(after(go, file(DATA), reached=reached))
    with ThreadPoolExecutor(4) as pool:
        fetches = [pool.submit(fetch, url, cache) for _ in range(4)]
        assert reached.wait(PATIENCE_SECONDS)
        go.set()
        assert len({blob.result() for blob in fetches}) == 1
    assert len(web.asked) == 1


SCRIPT = """
import sys
from pathlib import Path
from bangerbuild.fetch.cache import Cache
from bangerbuild.fetch.download import download
url, sha256, path = sys.argv[1:]
with Cache(Path(path)) as cache:
    print("ready", flush=True)
    print(download(url, sha256=sha256, cache=cache).digest, flush=True)
"""


def start(url: str, cache: Cache) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, url, DIGEST, str(cache.path)],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_many_processes_fetch_a_file_once(web: Server, cache: Cache) -> None:
    go, reached = threading.Event(), threading.Event()
    url = web.says(after(go, file(DATA), reached=reached))
    processes = [start(url, cache) for _ in range(4)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    assert reached.wait(PATIENCE_SECONDS)
    go.set()
    assert [process.communicate()[0] for process in processes] == [f"{DIGEST}\n"] * 4
    assert len(web.asked) == 1
    assert_is(fetch(url, cache), DATA, cache)


def test_a_killed_download_is_gone_on_with(web: Server, cache: Cache) -> None:
    go, reached = threading.Event(), threading.Event()
    url = web.says(file(DATA, cut=500_000), after(go, file(DATA), reached=reached), file(DATA))
    process = start(url, cache)
    assert reached.wait(PATIENCE_SECONDS)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    go.set()
    assert_is(fetch(url, cache), DATA, cache)
    assert web.ranges == [None, "bytes=500000-", "bytes=500000-"]


def test_a_download_takes_little_memory(web: Server, cache: Cache) -> None:
    large = bytes(200 << 20)
    url = web.says(file(large))
    script = SCRIPT.replace("sha256=sha256", "sha256=None") + PRINT_PEAK_KIB
    done = subprocess.run(
        [sys.executable, "-c", script, url, "", str(cache.path)],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout.split()[-1]) < 80 << 10


def test_a_full_disk_is_told_and_emptied(web: Server, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, limits[1]))
    try:
        with pytest.raises(FetchError, match=r"can't be kept in .*: file too large") as caught:
            fetch(web.says(file(DATA)), cache)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert caught.value.hint is not None
    assert list(cache.drafts.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_named(web: Server, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    command = [sys.executable, "-c", SCRIPT, web.says(file(DATA)), DIGEST, str(tmp_path / "some" / "cache")]
    (tmp_path / "some").mkdir(mode=0o555)
    done = run_unprivileged(command, cwd=tmp_path)
    brief = f"'{tmp_path}/some/cache' of the cache can't be written: permission denied"
    assert done.stderr.splitlines()[-1] == f"bangerbuild.errors.CacheError: {brief}"
    assert web.asked == []


def test_a_cache_that_is_no_directory_is_named(web: Server, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match="of the cache can't be read: not a directory") as caught:
        fetch(web.says(file(DATA)), Cache(tmp_path / "file" / "cache"))
    assert caught.value.hint is not None
    assert "XDG_CACHE_HOME" in caught.value.hint
