"""`bangerbuild help COMMAND`: the same as `COMMAND --help`."""

from __future__ import annotations

import click

from bangerbuild.cli import options, output
from bangerbuild.errors import UsageError
from bangerbuild.neighbours import near


@click.command("help", cls=options.Command)
@click.argument("words", nargs=-1, metavar="[COMMAND]...")
@click.pass_context
def help_(context: click.Context, /, *, words: tuple[str, ...]) -> None:
    """Print the help of a command."""
    here = context.find_root()
    for word in words:
        group = here.command
        found = group.get_command(here, word) if isinstance(group, click.Group) else None
        if found is None:
            known = group.list_commands(here) if isinstance(group, click.Group) else ()
            hint = near(word, known) or f"`{here.command_path} --help` lists what there is"
            raise UsageError(f"no command is called '{' '.join(words)}'", hint=hint)
        here = click.Context(found, info_name=word, parent=here)
    output.result(here.get_help())
