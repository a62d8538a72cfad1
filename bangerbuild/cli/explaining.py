"""`bangerbuild explain`: what there is to say of one step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from bangerbuild.cli import options, output

if TYPE_CHECKING:
    from pathlib import Path


@click.command(cls=options.Command)
@click.argument("name", type=options.Names("ids"), metavar="ID")
@options.store_options
@options.as_json
def explain(
    *,
    name: str,
    manifest: tuple[Path, ...],
    as_json: bool,
    **wanted: Any,  # noqa: ANN401  # the options that make a Request
) -> None:
    """Print what a step is made of, and why it was last made.

    Also what it needs, and what would change it.

    ID is a step (vm.web.root), or all steps of a VM, an image, a network or a fleet (vm.web, 'vm.web-*').
    """
    from bangerbuild.commands import explain as explaining

    found = explaining.explained(options.request(manifest, **wanted), name, output.warn)
    if as_json:
        documents = [explaining.to_json(one) for one in found]
        whole = documents[0] if len(documents) == 1 else {"steps": list(documents)}
        output.json_result({"format": 1, **whole})
        return
    for index, one in enumerate(found):
        output.results([*([""] if index else []), *explaining.lines(one)])
