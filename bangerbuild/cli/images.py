"""`bangerbuild image`: make an image without a manifest, and list the images in the store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bangerbuild.cli import import_words, options, output
from bangerbuild.errors import ManifestError, UsageError
from bangerbuild.model import Outcome, Verb
from bangerbuild.uptodate import command

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from bangerbuild.store import Store

_MAX_DIGITS = 19
"""The most digits of a size; Python refuses to convert very long numbers."""


def store_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """The option for the store."""
    return click.option(
        "--store",
        type=click.Path(path_type=Path),
        metavar="DIR",
        help="The store. [default: that of vm.toml, if it is here, else build]",
    )(function)


@click.group(cls=options.Commands)
def image() -> None:
    """Make an image without a manifest; list those in the store."""


@image.command("import")
@click.argument("source", type=options.Names("files"))
@click.argument("name")
@store_option
@click.option(
    "--size", metavar="SIZE", help="The filesystem's. [default: what the content needs, and headroom]"
)
@click.option("--max-size", metavar="SIZE", help="The most that it may unpack to.")
@click.option("--sha256", metavar="DIGEST", help="What a download must be.")
@click.option("--platform", metavar="OS/ARCH", help="Which of a container image's platforms.")
@click.option("--partition", metavar="WHICH", help="Which partition of a disk image.")
@click.option("--offline", is_flag=True, help="Never use the network.")
@click.option("-q", "--quiet", is_flag=True, help="Errors and warnings only, and the image's path.")
def import_(
    source: str, name: str, *, store: Path | None, offline: bool, quiet: bool, **more: str | None
) -> int:
    """Make an image of SOURCE, under NAME, and print its path.

    SOURCE is a tarball, a squashfs, cpio or ext4 image, a disk image, a directory or a Dockerfile; an
    address; or a container image such as docker://debian:12.
    No manifest asks for it, so `gc` removes it; the same call makes it again.
    """
    from bangerbuild import manifest, pipeline
    from bangerbuild.report.reporters import reporter

    output.speak(import_words.as_options)
    given = {key: _value(key, text) for key, text in more.items() if text is not None}
    loaded = manifest.single_image(source, name, given, store=_store_path(store))
    with reporter(quiet=quiet, verbose=False, complete=output.completed) as telling:
        plan, results = pipeline.apply(pipeline.load_image(loaded, offline=offline), reporter=telling)
    is_blocked = any(action.verb is Verb.BLOCKED for action in plan.actions)
    if is_blocked or any(result.outcome is Outcome.FAILED for result in results):
        return 1
    output.result(str(loaded.store / plan.actions[0].artifacts[0]))
    return 0


def _value(key: str, text: str) -> str | int:
    """An option's value as in a manifest: a size without a unit is a number, and so may a partition be."""
    is_number = key in {"size", "max_size", "partition"} and text.isascii() and text.isdigit()
    return int(text) if is_number and len(text) <= _MAX_DIGITS else text


@image.command()
@store_option
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
def ls(*, store: Path | None, as_json: bool) -> None:
    """List the images in the store."""
    from bangerbuild.commands import image_list

    opened = _opened(store)
    found = image_list.stored(opened, output.warn)
    if as_json:
        images = [one.to_json() for one in found]
        output.json_result({"format": 1, "store": str(opened.path), "images": images})
        return
    for line in image_list.lines(found):
        output.result(line)


@image.command()
@click.argument("name", type=options.Names("images"))
@store_option
@click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout.")
@click.option("--sbom", is_flag=True, help="Its packages instead, as an SPDX 2.3 document in JSON.")
@click.option("--provenance", is_flag=True, help="Where it comes from instead, as an in-toto statement.")
def show(name: str, *, store: Path | None, as_json: bool, sbom: bool, provenance: bool) -> None:
    """Print all about the image NAME: the one made last, or the one of that fingerprint."""
    from bangerbuild.commands import image_list

    if sum((sbom, provenance, as_json)) > 1:
        raise UsageError(
            "--sbom, --provenance and --json are documents of their own", hint="ask for one of them"
        )
    opened = _opened(store)
    found = image_list.named(image_list.stored(opened, output.warn), name)
    if sbom:
        from bangerbuild.commands import sbom as bills

        output.result(bills.sbom(found, opened.path, output.warn))
        return
    if provenance:
        from bangerbuild.commands import provenance as statements

        output.result(statements.provenance(found, opened))
        return
    if as_json:
        output.json_result({"format": 1, **found.to_json()})
        return
    for line in image_list.details(found):
        output.result(line)


def _opened(given: Path | None) -> Store:
    from bangerbuild import store

    opened = store.read(_store_path(given))
    opened.check_records()
    return opened


def _store_path(given: Path | None) -> Path:
    if given is None and Path(command.DEFAULT_MANIFEST).exists():
        from bangerbuild import manifest, pipeline

        try:
            return manifest.load((Path(command.DEFAULT_MANIFEST),), needs_files=False).store
        except ManifestError as err:  # where its store is may be told all the same, and nothing else counts
            if err.store is None:
                err.hint = pipeline.NAME_STORE_HINT
                raise
            for problem in err.problems:
                output.warn_of(problem)
            return err.store
    return (given or Path(options.DEFAULT_STORE)).absolute()
