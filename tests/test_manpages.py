"""The man pages: as the commands are today, taken by man without a warning, with each command and option."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import click
import pytest

from bangerbuild.cli import cli
from tests import PROJECT
from tests.need import need

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PAGES = PROJECT / "man"


def commands(context: click.Context) -> Iterator[click.Context]:
    """All commands, by what is typed for them."""
    yield context
    if isinstance(context.command, click.Group):
        for name, command in context.command.commands.items():
            yield from commands(click.Context(command, info_name=name, parent=context))


WHOLE = click.Context(cli, info_name="bangerbuild")
ALL = {found.command_path.replace(" ", "-"): found for found in commands(WHOLE)}


def rendered(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """What man makes of pages, each paragraph in one line."""
    environment = {**os.environ, "MANWIDTH": "1000", "LC_ALL": "C.UTF-8", "MANPAGER": "cat", "TERM": "dumb"}
    command = [need("man", "man-db"), "--warnings=w", "--local-file", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True)


def test_the_pages_are_what_the_commands_say_today(tmp_path: Path) -> None:
    subprocess.run([sys.executable, PROJECT / "tools/manpages.py", tmp_path], check=True)
    today = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert {path.name: path.read_text() for path in PAGES.iterdir()} == today, "run tools/manpages.py"


def test_there_is_a_page_for_each_command() -> None:
    assert {path.stem for path in PAGES.iterdir()} == ALL.keys()


def test_man_takes_all_pages_without_a_warning() -> None:
    assert rendered("-Tutf8", "-Z", *sorted(PAGES.iterdir())).stderr == ""


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    """The pages as they are shown, one after the other, by the names of the commands."""
    shown = re.sub(r"\x1b\[\d*m|.\x08", "", rendered(*(PAGES / f"{name}.1" for name in ALL)).stdout)
    parts = re.split(r"^(BANGERBUILD\S*)\(1\).*User Commands.*$", shown, flags=re.MULTILINE)
    return {name.lower(): text for name, text in zip(parts[1::2], parts[2::2], strict=True)}


@pytest.mark.parametrize("name", ALL)
def test_a_page_shows_each_option_and_command_as_it_is_typed(name: str, texts: dict[str, str]) -> None:
    page, command = texts[name], ALL[name].command
    options = [one for one in command.params if isinstance(one, click.Option) and not one.hidden]
    for flag in (flag for option in options for flag in option.opts):
        assert re.search(rf"^ +(-., )?{re.escape(flag)}\b", page, re.MULTILINE), flag
    for option in options:
        assert " ".join((option.help or "").split()) in " ".join(page.split())
    for below in command.commands if isinstance(command, click.Group) else ():
        assert re.search(rf"^ +{name}-{below}\(1\)", page, re.MULTILINE), below
