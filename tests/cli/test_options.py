"""The options that commands share, and the request that is made of them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import pytest
from click.testing import CliRunner

from bangerbuild import given
from bangerbuild.cli import cli, options
from bangerbuild.model.request import Request

if TYPE_CHECKING:
    from collections.abc import Iterator


@click.command()
@options.plan_options
def asked(**wanted: Any) -> Request:  # noqa: ANN401  # whatever click found
    """A command that only makes its request."""
    for name in ("as_json", "verbose"):
        wanted.pop(name)
    return options.request(**wanted)


@click.command()
@options.lock_timeout
@options.jobs
def manner(lock_timeout: float, jobs: int | None) -> tuple[float, int]:
    """A command that only says how it works."""
    return lock_timeout, options.number(jobs)


def run(command: click.Command, *arguments: str) -> Any:  # noqa: ANN401  # what the command returns
    return CliRunner().invoke(command, arguments, standalone_mode=False, catch_exceptions=False).return_value


def test_without_arguments_a_request_is_for_the_usual_manifest() -> None:
    assert run(asked) == Request((Path("vm.toml"),))


def test_every_option_is_in_the_request() -> None:
    made = run(
        asked,
        *("a.toml", "b.toml", "--store", "s", "--target", "vm.a", "--target", "vm.b"),
        *("--replace", "vm.c", "--offline", "--locked"),
    )
    assert made == Request(
        (Path("a.toml"), Path("b.toml")),
        Path("s"),
        ("vm.a", "vm.b"),
        ("vm.c",),
        offline=True,
        locked=True,
    )


def test_a_lock_is_waited_for_a_minute_by_as_many_jobs_as_there_are_cores() -> None:
    assert run(manner) == (60, len(os.sched_getaffinity(0)))
    assert run(manner, "--lock-timeout", "0.5", "-j", "3") == (0.5, 3)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--lock-timeout", "nan"),
        ("--lock-timeout", "-1"),
        ("--lock-timeout", "soon"),
        ("-j", "0"),
        ("-j", "x"),
    ],
)
def test_what_is_no_number_of_them_is_refused(arguments: tuple[str, ...]) -> None:
    with pytest.raises(click.BadParameter):
        run(manner, *arguments)


def commands(group: click.Group = cli, before: str = "") -> Iterator[tuple[str, click.Command]]:
    """All commands by their names, those of `image` too."""
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{name} ")
        else:
            yield f"{before}{name}", command


def takes(command: click.Command) -> list[str]:
    """What a command takes of what is said about manifests, store and variables."""
    arguments = {one.name for one in command.params if isinstance(one, click.Argument)}
    flags = {flag for one in command.params if isinstance(one, click.Option) for flag in one.opts}
    found = [given.MANIFESTS] if arguments & {"manifest", "manifests", "words", "image"} else []
    wanted = (given.MANIFEST_OPTIONS, given.STORE, given.VARIABLES, given.NODE, given.CLUSTER)
    return [*found, *(flag for flag in wanted if flag in flags and not (flag in wanted[:1] and found))]


@pytest.mark.parametrize("name", dict(commands()))
def test_a_command_that_messages_name_is_completed_with_what_it_takes(name: str) -> None:
    command = dict(commands())[name]
    assert isinstance(command, options.Command)
    if name == "help":  # its words are those of a command
        return
    if name in given.TAKEN:
        assert takes(command) == list(given.TAKEN[name])
    else:  # those that read one disk, or no store
        assert given.MANIFESTS not in takes(command)
        assert given.MANIFEST_OPTIONS not in takes(command)
