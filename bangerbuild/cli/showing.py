"""`bangerbuild show`: what is declared, and where each key of a VM comes from."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from bangerbuild.cli import options, output

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bangerbuild.model import Json

_ID = re.compile(r"(?:(?:vm|fleet|image|network|node)\.)?[a-z0-9][a-z0-9_-]{0,62}")


@click.command(cls=options.Command)
@click.argument(
    "words",
    nargs=-1,
    type=options.Names("vm-ids files"),
    metavar="[vm.NAME | fleet.NAME]... [MANIFEST]...",
)
@click.option("--store", type=click.Path(path_type=Path), metavar="DIR", help="Where artifacts are.")
@options.with_variables
@options.as_json
def show(
    *,
    words: tuple[str, ...],
    store: Path | None,
    variables: tuple[tuple[str, str], ...],
    variable_files: tuple[Path, ...],
    as_json: bool,
) -> None:
    """Print what is declared, or where each key of a VM comes from.

    Without a VM: images, fleets and networks, and how much of them is used. A fleet stands for its members. A
    word is a manifest if it is a file, or has a slash in it.
    """
    from bangerbuild.commands import show as showing

    manifests = tuple(Path(word) for word in words if not _is_id(word))
    options.remember(manifests, store, variables, variable_files)
    request = options.request(manifests, store=store, variables=variables, variable_files=variable_files)
    found = showing.declared(request)
    for message in found.manifest.warnings:
        output.warn(message)
    names = [name for word in words if _is_id(word) for name in showing.vms_of(found, word)]
    if as_json:
        documents = [showing.vm_json(found, name) for name in names] or [showing.summary_json(found)]
        _print_json(documents)
        return
    pages = [showing.vm_lines(found, name) for name in names] or [showing.summary_lines(found)]
    for page in pages:
        for line in page:
            output.result(line)


def _is_id(word: str) -> bool:
    return _ID.fullmatch(word) is not None and not os.path.lexists(word)


def _print_json(documents: Sequence[dict[str, Json]]) -> None:
    """One document; of several VMs, one that has them all."""
    if len(documents) == 1:
        output.json_result(documents[0])
    else:
        output.json_result({"format": 1, "vms": list(documents)})
