"""The time of what is made here, and the times that files get."""

from __future__ import annotations

import hashlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.epoch import DEFAULT_SECONDS, NANOSECONDS, SPREAD_SECONDS, Epoch

A, B = (hashlib.sha256(content).hexdigest() for content in (b"price = 10\n", b"price = 99\n"))


def test_two_contents_of_one_length_have_two_times_and_one_content_has_one() -> None:
    assert Epoch().of_content(A) != Epoch().of_content(B)
    assert Epoch().of_bytes(b"price = 10\n") == Epoch().of_content(A)


@given(content=st.binary(max_size=20))
def test_by_default_a_time_is_after_the_first_of_january_2000_and_past(content: bytes) -> None:
    seconds, rest = divmod(Epoch().of_bytes(content), NANOSECONDS)
    assert DEFAULT_SECONDS < seconds <= DEFAULT_SECONDS + SPREAD_SECONDS < time.time()
    assert rest == 0


@given(content=st.binary(max_size=20), seconds=st.integers(1, (1 << 32) - 1))
def test_a_time_is_before_one_that_is_set_and_not_before_1970(content: bytes, seconds: int) -> None:
    assert 0 <= Epoch(seconds, is_set=True).of_bytes(content) < seconds * NANOSECONDS


def test_so_it_is_before_the_default_that_is_said_aloud() -> None:
    aloud = Epoch(DEFAULT_SECONDS, is_set=True)
    assert aloud == Epoch()
    assert aloud.of_content(A) < DEFAULT_SECONDS * NANOSECONDS < Epoch().of_content(A)


def test_a_time_of_the_host_is_never_later_than_one_that_is_set() -> None:
    later = 1_700_000_000 * NANOSECONDS + 1
    assert Epoch().of_host(later) == later
    assert Epoch(1_600_000_000, is_set=True).of_host(later) == 1_600_000_000 * NANOSECONDS
    assert Epoch(1_600_000_000, is_set=True).of_host(5) == 5


@pytest.mark.parametrize(
    ("epoch", "version"),
    [
        (Epoch(), "946684800"),
        (Epoch(1_700_000_000, is_set=True), "1700000000"),
        (Epoch(DEFAULT_SECONDS, is_set=True), "946684800, set"),
    ],
)
def test_a_recipe_tells_apart_what_gives_other_bytes(epoch: Epoch, version: str) -> None:
    assert epoch.version == version
    assert str(epoch) == str(int(epoch)), "other programs are given the number"
