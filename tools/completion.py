#!/usr/bin/env python3
"""Print what each command takes, of which shells complete: bangerbuild/completion/commands.json."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from bangerbuild.cli import cli
from bangerbuild.cli.options import Names

if TYPE_CHECKING:
    from collections.abc import Iterator


HELP = {"names": ["--help", "-h"], "help": "Show this message.", "value": None}


def main() -> None:
    """Write the table to stdout."""
    sys.stdout.write(json.dumps(described(cli), indent=1, ensure_ascii=False) + "\n")


def described(command: click.Command) -> dict[str, Any]:
    """A command, and the commands below it."""
    options = [one for one in command.params if isinstance(one, click.Option) and not one.hidden]
    arguments = [one for one in command.params if isinstance(one, click.Argument)]
    found: dict[str, Any] = {
        "help": _first_line(command.help or ""),
        "options": [*map(_option, options), HELP],
        "arguments": [{"value": _value(one), "many": one.nargs == -1} for one in arguments],
    }
    if isinstance(command, click.Group):
        found["commands"] = {name: described(one) for name, one in _commands(command)}
    return found


def _commands(group: click.Group) -> Iterator[tuple[str, click.Command]]:
    return ((name, group.commands[name]) for name in group.commands)


def _option(one: click.Option) -> dict[str, Any]:
    value = None if one.is_flag else _value(one)
    found: dict[str, Any] = {
        "names": list(one.opts),
        "help": one.help or "",
        "value": value,
    }
    return {**found, "optional": True} if one._flag_needs_value else found  # noqa: SLF001  # click shows it nowhere


def _value(one: click.Parameter) -> str | list[str]:
    """What completes a value: choices, or words of `answering`; empty: nothing does."""
    if isinstance(one.type, Names):
        return one.type.kinds
    if isinstance(one.type, click.Choice):
        return list(one.type.choices)
    if isinstance(one.type, click.Path):
        return "directories" if one.metavar == "DIR" else "files"
    return ""


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]


if __name__ == "__main__":
    main()
