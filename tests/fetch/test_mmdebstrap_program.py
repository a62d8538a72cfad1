"""The program mmdebstrap: what it is run as, with which command, and what its errors mean."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bangerbuild.errors import FetchError, ToolError
from bangerbuild.fetch.mmdebstrap_program import Suite, choose_mode, command, failure
from bangerbuild.host import process


@pytest.mark.parametrize(
    ("printed", "brief"),
    [
        ("E: The repository 'copy:/x tiny Release' does not have a Release file.", "no such suite"),
        ("Err:1 http://x\n  Could not connect to x:80\nE: Failed to fetch http://x", "does not answer"),
        ("Err:1 http://x\n  Could not resolve 'x'\nE: Failed to fetch http://x", "does not answer"),
        ("Err:1 http://x\n  NO_PUBKEY 123\nE: Failed to fetch http://x/InRelease", "signed by somebody"),
        ("E: Release file for http://x is expired (invalid since 3d 3h).", "as it was long ago"),
        (" hello : Depends: none\nE: you have held broken packages.", "don't go together"),
        ("tar: x: Cannot write: No space left on device", "no room"),
        ("something else", "can't be made"),
    ],
)
def test_what_the_programs_print_is_said_in_plain_words(printed: str, brief: str) -> None:
    """As apt 2.6 and mmdebstrap 1.3 print it; apt adds that it failed to fetch, whatever the reason."""
    error = failure(f"I: running apt-get update...\n{printed}\n", Suite("tiny"))
    assert brief in error.brief
    assert error.details


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that is all there is to find programs in, for a user who is not root."""
    directory = tmp_path / "programs"
    directory.mkdir()
    monkeypatch.setattr(process, "SEARCH_PATH", str(directory))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    return directory


def install(programs: Path, name: str, script: str = "exit 0") -> None:
    (programs / name).write_text(f"#!/bin/sh\n{script}\n")
    (programs / name).chmod(0o755)


def test_without_mmdebstrap_the_package_is_named(programs: Path) -> None:
    with pytest.raises(ToolError, match="'mmdebstrap' is not installed") as caught:
        choose_mode()
    assert caught.value.hint == "apt install mmdebstrap"


def test_a_user_has_namespaces_where_the_host_lets_him(programs: Path) -> None:
    install(programs, "mmdebstrap", '[ "$*" = "--unshare-helper true" ]')
    assert choose_mode() == "unshare"


def test_a_user_without_namespaces_has_fakechroot(programs: Path) -> None:
    install(programs, "mmdebstrap", "exit 25")
    install(programs, "fakechroot")
    install(programs, "fakeroot")
    assert choose_mode() == "fakechroot"


def test_a_user_with_neither_is_told_what_would_help(programs: Path) -> None:
    install(programs, "mmdebstrap", "echo no subuid; exit 25")
    install(programs, "fakeroot")
    with pytest.raises(ToolError, match="can't work for this user") as caught:
        choose_mode()
    assert caught.value.details == "no subuid"
    assert caught.value.hint is not None
    assert "fakechroot" in caught.value.hint


def test_root_needs_neither(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(programs, "mmdebstrap", "exit 25")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert choose_mode() == "root"


def test_the_command_says_everything_and_lets_little_of_the_environment_in() -> None:
    known = {"https_proxy": "http://proxy", "TMPDIR": "/var/tmp", "HOME": "/h"}
    environ = {**known, "SECRET": "s", "TAR_OPTIONS": "-v"}
    suite = Suite("trixie", ("a", "?essential"), "http://mirror/debian", ("--components=main,contrib",))
    asked = command(suite, Path("/out.tar"), mode="unshare", epoch=7, environ=environ)
    setup, customize = asked.argv[3], asked.argv[7]
    assert asked.argv == (
        *("mmdebstrap", "--mode=unshare", "--format=tar", setup, "--include=a", "--include=?essential"),
        *("--components=main,contrib", customize, "trixie", "/out.tar", "http://mirror/debian"),
    )
    assert setup.startswith("--setup-hook=")
    assert customize.startswith("--customize-hook=")
    assert asked.env == {**known, "SOURCE_DATE_EPOCH": "7"}


def test_no_message_shows_the_password_of_a_mirror() -> None:
    suite = Suite("sid", mirror="http://me:word@mirror.example/debian")
    asked = command(suite, Path("/out.tar"), mode="root", epoch=7, environ={})
    assert asked.argv[-1] == "http://mirror.example/debian"
    assert "me:word" not in " ".join(asked.argv)
    assert str(asked) == "mmdebstrap sid"


@pytest.mark.parametrize(
    "mirror",
    ["http://me:pa/ss@host/debian", "deb http://me:pa%20ss@host/debian stable main", "http:/me:ss@host/"],
)
def test_a_password_that_apt_can_not_be_told_is_refused_without_it(mirror: str) -> None:
    with pytest.raises(FetchError, match="that apt can't be told") as caught:
        command(Suite("tiny", mirror=mirror), Path("target"), mode="root", epoch=0, environ={})
    assert "ss@" not in caught.value.brief
