#!/usr/bin/env python3
"""Write the man pages, man/*.1, as the commands describe themselves: tools/manpages.py [DIRECTORY].

click-man was tried instead. Its pages have the day on which they were made, so they would differ with each
build, it cuts the line that whatis(1) shows, and what the page of a program says beside its options (exit
codes, files, variables) has no place in it.
"""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bangerbuild.cli import cli

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROGRAM = "bangerbuild"
AS_IT_IS = "\b"
"""A paragraph that begins with this line keeps its lines (click)."""
CODES = {
    "0": "Done, or nothing to do.",
    "1": "A step failed or is blocked.",
    "2": "Changes are pending (plan --detailed-exitcode).",
    "3": "The manifest or the command line is wrong.",
    "4": "The store is locked, a disk is in use, or the VM runs.",
    "130": "Interrupted.",
}
FILES = {
    "vm.toml": "The manifest, unless another is named.",
    "bangerbuild.lock": "What sources stand for, and which addresses VMs have; keep it in git.",
    "build": "The store, unless the manifest or --store names another.",
    "~/.cache/bangerbuild": "Downloads, by digest, and what the fast answer of apply compares.",
}
VARIABLES = {
    "SOURCE_DATE_EPOCH": "Seconds since 1970: no file that is made gets a later time.",
    "XDG_CACHE_HOME": "Where the cache lies, instead of ~/.cache.",
    "NO_COLOR": "If it is set, nothing is coloured.",
}


def main() -> None:
    """Write all pages."""
    directory = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1] / "man")
    directory.mkdir(exist_ok=True)
    for old in directory.glob("*.1"):
        old.unlink()
    for name, text in pages(click.Context(cli, info_name=PROGRAM, **cli.context_settings)):
        (directory / f"{name}.1").write_text(text, encoding="utf-8")


def pages(context: click.Context) -> Iterator[tuple[str, str]]:
    """The pages of a command and of all below it: names, such as `bangerbuild-image-ls`, and texts."""
    name = context.command_path.replace(" ", "-")
    yield name, "\n".join(page(name, context)) + "\n"
    for _, below in subcommands(context):
        yield from pages(below)


def subcommands(context: click.Context) -> list[tuple[str, click.Context]]:
    """The commands of a group, in its order."""
    group = context.command
    if not isinstance(group, click.Group):
        return []
    found = ((name, group.get_command(context, name)) for name in group.list_commands(context))
    return [
        (name, click.Context(one, info_name=name, parent=context, **one.context_settings))
        for name, one in found
        if one and not one.hidden
    ]


def page(name: str, context: click.Context) -> Iterator[str]:
    """The lines of one page, in the macros of man(7)."""
    command, below = context.command, subcommands(context)
    yield r".\" Made by tools/manpages.py."
    yield f'.TH "{escaped(name.upper())}" 1 "" "{PROGRAM}" "User Commands"'
    yield ".SH NAME"
    yield f"{escaped(name)} \\- {escaped(short(command))}"
    yield ".SH SYNOPSIS"
    yield rf"\fB{escaped(context.command_path)}\fR {escaped(' '.join(command.collect_usage_pieces(context)))}"
    yield ".SH DESCRIPTION"
    yield from paragraphs(command.help or "")
    options = [one for one in command.get_params(context) if isinstance(one, click.Option) and not one.hidden]
    yield from entries("OPTIONS", {option_head(one): option_text(one) for one in options}, str)
    yield from entries("COMMANDS", {one.command_path: short(one.command) for _, one in below}, command_head)
    if context.parent is None:
        yield from entries("EXIT STATUS", CODES, bold)
        yield from entries("FILES", FILES, italic)
        yield from entries("ENVIRONMENT", VARIABLES, bold)
    else:
        yield ".SH SEE ALSO"
        yield command_head(context.parent.command_path)


def short(command: click.Command) -> str:
    """The first sentence of a command's help."""
    return command.get_short_help_str(limit=1000).removesuffix(".")


def paragraphs(text: str) -> Iterator[str]:
    """The paragraphs of a help text."""
    for number, paragraph in enumerate(inspect.cleandoc(text).split("\n\n")):
        lines = paragraph.splitlines()
        if number:
            yield ".PP"
        if lines and lines[0] == AS_IT_IS:
            yield ".nf"
            yield from map(escaped, lines[1:])
            yield ".fi"
        else:
            yield escaped(" ".join(lines))


def entries(title: str, found: dict[str, str], head: Callable[[str], str]) -> Iterator[str]:
    """A section with an entry for each name; none if there are no names."""
    if found:
        yield f".SH {title}"
    for name, text in found.items():
        yield ".TP"
        yield head(name)
        yield escaped(text)


def option_head(option: click.Option) -> str:
    """`-j, --jobs N` with the flags in bold and the value in italics."""
    flags = ", ".join(map(bold, (*option.opts, *option.secondary_opts)))
    if option.is_flag:
        return flags
    choices = "|".join(option.type.choices) if isinstance(option.type, click.Choice) else None
    return f"{flags} {italic(option.metavar or choices or option.type.name.upper())}"


def option_text(option: click.Option) -> str:
    """What an option is for, and what it is if it is not given."""
    default = f" [default: {option.default}]" if option.show_default else ""
    return f"{(option.help or '').strip()}{default}"


def command_head(path: str) -> str:
    """The name of a command's page."""
    return bold(path.replace(" ", "-")) + "(1)"


def bold(text: str) -> str:
    """A text in bold."""
    return rf"\fB{escaped(text)}\fR"


def italic(text: str) -> str:
    """A text in italics."""
    return rf"\fI{escaped(text)}\fR"


def escaped(text: str) -> str:
    """A text in which nothing is a command of roff, and each - is the one that is typed."""
    safe = text.replace("\\", r"\e").replace("-", r"\-").replace("`", r"\(ga").replace("'", r"\(aq")
    return rf"\&{safe}" if safe.startswith(".") else safe


if __name__ == "__main__":
    main()
