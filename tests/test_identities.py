"""Names and passwords of addresses are neither shown nor kept, however they are written."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.errors import BangerError, Problem
from bangerbuild.identities import kept, removed, shown

DIGEST = f"sha256:{'0' * 64}"


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("https://example.org/a.tar", "https://example.org/a.tar"),
        ("https://me@example.org/a.tar", "https://example.org/a.tar"),
        ("https://me:pa@ss@example.org:8080/a.tar", "https://example.org:8080/a.tar"),
        ("https://example.org/a.tar?token=1&b=2#part", "https://example.org/a.tar?…"),
        ("https://example.org/a.tar#part?x", "https://example.org/a.tar"),
        ("https://example.org/?", "https://example.org/?"),
        ("https://me:word@[::1", "https://[::1"),
        ("not an address", "not an address"),
        # where it is not clear where the identity ends, it is taken to be long
        ("https://me:pa/ss@example.org/a.tar", "https://…@example.org/a.tar"),
        ("https://me:pa?ss@example.org/a.tar?b", "https://…"),
        ("https://me:pa#ss@example.org/a.tar#part", "https://…"),
        ("https://example.org/@me/a.tar", "https://…@me/a.tar"),
        ("https://example.org/a?sum=b@c", "https://…"),
        ("http:/me:word@example.org/a.tar", "http:/example.org/a.tar"),
        ("me:word@example.org/a.tar", "example.org/a.tar"),
        ("https://me%3Aword%40example.org/a.tar", "https://…@example.org/a.tar"),
    ],
)
def test_an_address_is_shown_without_its_secrets(url: str, text: str) -> None:
    assert shown(url) == text


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("'https://me:word@host/a' is gone", "'https://…@host/a' is gone"),
        ("'tree/https:/me:wo/rd@host/a' is gone", "'tree/https:/…@host/a' is gone"),
        ("'me:word@host/a' is gone", "'…@host/a' is gone"),
        ("url is 'http://me:wo rd@host/a': give", "url is 'http://…@host/a': give"),
        ("url is 'http://me:w o/r d@host/a'", "url is 'http://…@host/a'"),
        ("'a' is not there (/srv/http:/me: word@host/a)", "'a' is not there (/srv/http:/…@host/a)"),
        ("oci is 'oci-archive:http://me: wo(rd@host'", "oci is 'oci-archive:http://…@host'"),
        ("the mirror 'deb [a=b] http://me:wo rd@host sid'", "the mirror 'deb [a=b] http://…@host sid'"),
        ('vm.toml:1: image."http://me:wo rd@host/a": is', 'vm.toml:1: image."http://…@host/a": is'),
        ("a tag that is none: '//word@host/a'", "a tag that is none: '//…@host/a'"),
        ("'a' can't be read: http://host/a b@c", "'a' can't be read: http://host/a b@c"),
        ("'http://me:word\uff20host/a': give", "'http://…@host/a': give"),
        ("'http://host/a' is gone, ask 'me@host'", "'http://host/a' is gone, ask 'me@host'"),
        ("GET http://me:word@host/a?x http://host/b", "GET http://…@host/a?x http://host/b"),
        (f"'docker://alpine@{DIGEST}'", f"'docker://alpine@{DIGEST}'"),
        (f"'docker://me:word@host/alpine@{DIGEST}'", f"'docker://…@host/alpine@{DIGEST}'"),
        ("'file:///srv/a@b' is gone", "'file:///srv/a@b' is gone"),
        ("'docker-archive:/a/b.tar:@1' has", "'docker-archive:/a/b.tar:@1' has"),
        ("'work-seed@16GiB.ext4'", "'work-seed@16GiB.ext4'"),
        ("(/srv/me:word@host/a)", "(/srv/…@host/a)"),
        ("host='me%3Aword%40host', port=1", "host='…@host', port=1"),
        ("'http:me:word@host'", "'…@host'"),
        ("'/srv/a:b/work-seed@16GiB.ext4'", "'/srv/a:b/work-seed@16GiB.ext4'"),
        ("ssh-ed25519 AAAA me@host", "ssh-ed25519 AAAA me@host"),
        ("vm.toml:3: 'a@b' is unknown", "vm.toml:3: 'a@b' is unknown"),
    ],
)
def test_addresses_in_a_text_lose_their_identity_and_nothing_else_does(text: str, left: str) -> None:
    assert removed(text) == left


def test_no_error_and_no_problem_has_one() -> None:
    address = "https://me:canary@host/a"
    error = BangerError(f"'{address}' is gone", details=f"at {address}", hint=f"look at {address}")
    problem = Problem("vm.toml", 1, address, f"url is '{address}'", f"look at {address}")
    for text in (error.brief, str(error), error.details, error.hint, *problem.lines()):
        assert "canary" not in (text or "canary")


SECRETS = st.text(st.sampled_from("ab:/@%?#&=. \\[]é"), max_size=12).map(lambda text: f"{text}canary{text}")


@given(
    secret=SECRETS,
    scheme=st.sampled_from(["http://", "https://", "http:/", "docker://", "", "HTTP://", "git+ssh:///"]),
    user=st.sampled_from(["me", "me%40home", "", "m/e"]),
    rest=st.sampled_from(["host/a", "host:80/a.tar?b=1#c", "[::1]/a", "", "host"]),
)
def test_a_password_is_never_shown(secret: str, scheme: str, user: str, rest: str) -> None:
    assert "canary" not in shown(f"{scheme}{user}:{secret}@{rest}")


@given(st.text(max_size=80))
def test_what_has_no_at_sign_is_left_alone(text: str) -> None:
    if "@" not in text and "%40" not in text:
        assert removed(text) == text


@pytest.mark.parametrize(
    ("url", "left"),
    [
        ("https://me:word@host/a?b=1#c", "https://host/a?b=1#c"),
        ("https://me:w@rd@host:1/@a", "https://host:1/@a"),
        ("https://host/@a", "https://host/@a"),
        ("file:///srv/a@b", "file:///srv/a@b"),
        ("https://[::1", "https://[::1"),
        ("deb [signed-by=/a] https://me:word@host/debian stable main", None),
        ("http:/me:word@host/", None),
    ],
)
def test_what_is_kept_of_an_address_says_what_is_meant_and_not_who_asks(url: str, left: str | None) -> None:
    assert "word" not in kept(url)
    assert left is None or kept(url) == left


def test_a_long_text_is_no_work() -> None:
    removed(("a:/" * 2000 + "x" * 2000) * 20 + "@")
