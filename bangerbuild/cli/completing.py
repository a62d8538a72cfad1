"""`bangerbuild completion`: the script that a shell loads. The answers come from `bangerbuild.completion`."""

from __future__ import annotations

import click

from bangerbuild.cli import options, output
from bangerbuild.completion.shells import SHELLS


@click.command(cls=options.Command)
@click.argument("shell", type=click.Choice(list(SHELLS)))
def completion(shell: str) -> None:
    """Print the script for completion in a shell.

    \b
    bash: source <(bangerbuild completion bash), in ~/.bashrc
    zsh:  source <(bangerbuild completion zsh), in ~/.zshrc after compinit
    fish: bangerbuild completion fish | source, in ~/.config/fish/config.fish
    """  # noqa: D301  # the \b is click's sign for lines that stay as they are
    output.result(SHELLS[shell], newline=False)
