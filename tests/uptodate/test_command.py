"""What the fast answer understands of a command line is what click understands; the rest it leaves alone."""

from __future__ import annotations

import os

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.cli import cli
from bangerbuild.uptodate import command

WORDS = (
    *("-q", "--quiet", "-k", "-j", "-j4", "-j0", "-jx", "4", "0", "--jobs=2", "--jobs", "-qk", "-kq"),
    *(
        "--store",
        "--store=x",
        "--store=",
        "a.toml",
        "./a.toml",
        "a//b.toml",
        "../x.toml",
        "/x/./y",
        "//x",
        "dir/",
    ),
    *(
        "--target",
        "vm.web",
        "--target=",
        "--target=vm.db",
        "--lock-timeout",
        "5",
        "nan",
        "--lock-timeout=1.5",
    ),
    *(
        "--lock-timeout=1.",
        "--lock-timeout=-1",
        "--lock-timeout=inf",
        "--jobs=\u0661",
        "--jobs= 4",
        "--jobs=+4",
    ),
    *("--locked", "--offline", "--", "-", "", "-v", "--json", "-n", "--dry-run", "--help", "--replace", "-x"),
    *("--var", "a=b", "--var=a=b", "--var=a=", "--var==", "--var-file", "--var-file=v.toml"),
    *("--node", "--node=a", "--node="),
    *("--lock", "--off", "~", ".", "--quiet=1", "-j=4", "--store=-x", "--jobs=99999999999"),
)
UNDERSTOOD: tuple[list[str], ...] = (
    [],
    ["-q", "-k"],
    ["-j4"],
    ["-j", "4", "--lock-timeout", "2.5"],
    ["--jobs=4", "--lock-timeout=0"],
    ["--store", "here", "a.toml", "./b.toml"],
    ["--target", "vm.web", "--target=vm.db"],
    ["--locked", "--offline"],
    ["--node", "a"],
    ["--node=all"],
    ["--var", "a=b", "--var=a=c=d", "--var-file", "./v.toml"],
)
LEFT_ALONE = (
    [],
    ["plan"],
    ["--help"],
    ["-q", "apply"],
    *(
        ["apply", *more]
        for more in (["-n"], ["-v"], ["--json"], ["--replace", "vm.web"], ["-h"], ["--", "x"])
    ),
    *(
        ["apply", *more]
        for more in (
            ["--var=="],
            ["--var", "."],
            ["-j0"],
            ["-j", "x"],
            ["--lock-timeout", "nan"],
            ["--store"],
            ["--target="],
        )
    ),
)


def by_click(arguments: list[str]) -> dict[str, object] | None:
    """What click makes of the arguments of `apply`."""
    try:
        return cli.commands["apply"].make_context("apply", list(arguments)).params
    except (click.ClickException, click.exceptions.Exit):
        return None


@given(arguments=st.lists(st.sampled_from(WORDS), max_size=6))
def test_what_is_understood_is_what_click_understands(arguments: list[str]) -> None:
    asked = command.asked(["apply", *arguments])
    if asked is None:
        return
    params = by_click(arguments)
    assert params is not None
    assert not any(params[name] for name in ("dry_run", "as_json", "verbose", "replace"))
    assert asked.quiet == params["quiet"]
    _, manifests, store, targets, locked, offline, variables, files, node = asked.key
    assert (targets, locked, offline) == (params["targets"], params["locked"], params["offline"])
    assert node == params["node"]
    given = [tuple(one.split("=", 1)) for one in variables]
    assert given == list(params["variables"])  # type: ignore[call-overload]
    assert files == tuple(map(str, params["variable_files"]))  # type: ignore[call-overload]
    written = [str(path) for path in params["manifest"]] or ["vm.toml"]  # type: ignore[attr-defined]
    if set(arguments).isdisjoint({"", "//x", ".", "--store=."}):  # never what pathlib writes, so never found
        assert list(manifests) == written
        assert store == (None if params["store"] is None else str(params["store"]))


@pytest.mark.parametrize("arguments", UNDERSTOOD)
def test_the_usual_is_understood(arguments: list[str]) -> None:
    assert command.asked(["apply", *arguments]) is not None


@pytest.mark.parametrize("arguments", LEFT_ALONE)
def test_all_else_is_left_to_click(arguments: list[str]) -> None:
    assert command.asked(arguments) is None


def test_what_decides_only_the_manner_makes_no_other_question() -> None:
    plain = command.asked(["apply"])
    other = command.asked(["apply", "-q", "-k", "-j", "3", "--lock-timeout", "1"])
    assert plain is not None
    assert other is not None
    assert plain.key == other.key
    assert (plain.quiet, other.quiet) == (False, True)


@pytest.mark.parametrize(
    "arguments", [["x.toml"], ["--store", "x"], ["--target", "vm.x"], ["--locked"], ["--offline"]]
)
def test_what_may_have_another_answer_is_another_question(arguments: list[str]) -> None:
    plain, other = command.asked(["apply"]), command.asked(["apply", *arguments])
    assert plain is not None
    assert other is not None
    assert plain.key != other.key


def test_a_shell_that_completes_a_word_is_answered_by_click(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_BANGERBUILD_COMPLETE", "bash_source")
    assert command.asked(["apply"]) is None


def test_in_a_directory_that_is_gone_nothing_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone() -> str:
        raise FileNotFoundError

    monkeypatch.setattr(os, "getcwd", gone)
    assert command.asked(["apply"]) is None
