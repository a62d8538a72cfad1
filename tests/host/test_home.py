"""Home directories at the start of a path, and that the list of users was looked at."""

from __future__ import annotations

import pwd
from pathlib import Path

import pytest

from bangerbuild.host import home, observed
from bangerbuild.host.home import expanded


def test_a_tilde_is_the_home_of_who_runs_it_or_of_who_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert expanded("~/a") == Path("/home/me/a")
    assert expanded("~") == Path("/home/me")
    assert expanded("~root/a") == Path(pwd.getpwnam("root").pw_dir) / "a"


@pytest.mark.parametrize("text", ["a", "/a/~", "./~", "a~"])
def test_any_other_path_is_what_it_is(text: str) -> None:
    assert str(expanded(text)) == str(Path(text))


def test_an_unknown_user_has_none() -> None:
    with pytest.raises(RuntimeError):
        expanded("~no-such-user-here/a")


@pytest.mark.parametrize(("text", "is_noted"), [("~/a", True), ("~root", True), ("/a", False), ("a~", False)])
def test_the_list_of_users_is_noted_where_it_counts(text: str, *, is_noted: bool) -> None:
    seen = observed.Observations(lambda found: found.st_size)
    with seen.recording():
        expanded(text)
    assert (home.USERS in seen.followed) == is_noted
