"""Servers that send next to nothing, wherever in a response they do so, are broken off."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import FetchError
from bangerbuild.fetch.connection import RetryPolicy
from bangerbuild.fetch.watch import Watch
from tests.fetch.fetching import DATA, fetch
from tests.fetch.server import dripping, file, redirect
from tests.waiting import PATIENCE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.fetch.cache import Cache
    from tests.fetch.server import Server

STRICT = RetryPolicy(attempts=2, pause_seconds=0.001, window_seconds=0.1, window_bytes=1 << 40)
"""No server sends that much in a window: what is slow is not left to the machine."""
ENOUGH = RetryPolicy(window_seconds=0.01, window_bytes=0)
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def until() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


@pytest.mark.parametrize(
    ("head", "drop"),
    [
        (b"", b"H"),
        (OK + b"X-Long: ", b"a"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (OK + b"\r\n", b"a"),
        (OK + b"Content-Length: 1000000\r\n\r\n", b"a"),
        (CHUNKED, b"0"),
        (CHUNKED + b"5;", b"a"),
        (CHUNKED, b"1\r\na\r\n"),
        (CHUNKED + b"0\r\n", b"X-Trailer: a\r\n"),
    ],
)
def test_one_that_never_ends_is_broken_off(
    web: Server, cache: Cache, until: threading.Event, head: bytes, drop: bytes
) -> None:
    url = web.says(dripping(head, drop, until))
    with pytest.raises(FetchError, match="its server sends next to nothing") as caught:
        fetch(url, cache, None, STRICT)
    assert caught.value.hint == "try again later"
    assert not any(cache.blobs.iterdir())


def test_one_that_sends_headers_without_an_end_is_told(
    web: Server, cache: Cache, until: threading.Event
) -> None:
    head = OK + b"X-Many: a\r\n" * 1000
    once = RetryPolicy(attempts=1, window_seconds=PATIENCE_SECONDS)
    with pytest.raises(FetchError, match="the connection broke"):
        fetch(web.says(dripping(head, b"", until)), cache, None, once)


def test_one_behind_a_redirect_is_broken_off_too(web: Server, cache: Cache, until: threading.Event) -> None:
    web.says(dripping(OK, b"a", until), path="/slow")
    with pytest.raises(FetchError, match="its server sends next to nothing"):
        fetch(web.says(redirect("/slow")), cache, None, STRICT)


def test_one_that_sends_enough_is_not(web: Server, cache: Cache) -> None:
    assert fetch(web.says(file(DATA)), cache, policy=ENOUGH).path.read_bytes() == DATA


def test_it_gives_up_only_after_a_whole_window_without_enough() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, Watch(0.001, 1) as watch:
        watch.over(ours)
        assert theirs.recv(1) == b""  # it was shut down
        assert watch.has_given_up


def test_without_a_connection_there_is_nothing_to_give_up() -> None:
    with Watch(0.001, 1) as watch:
        watch._thread.join(0.05)
        assert not watch.has_given_up


def test_what_came_counts_for_its_window() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, Watch(PATIENCE_SECONDS, 10) as watch:
        watch.over(ours)
        watch.came(4)
        watch.has_begun()
        assert watch._came_bytes == 14
