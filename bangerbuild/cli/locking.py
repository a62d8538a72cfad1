"""`bangerbuild lock`: write the lock file, and print what changed in it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bangerbuild import leases, sources
from bangerbuild.cli import options, output
from bangerbuild.errors import UsageError
from bangerbuild.uptodate.command import DEFAULT_MANIFEST

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.resolving.resolve import Change, Resolved
    from bangerbuild.sources.source import LockWords


_MANIFESTS_MARK = re.compile("[./]")
"""What a path may hold, and a name may not: `--upgrade vm.toml` upgrades all images of that manifest."""
DIGESTS, SHOWN_DIGITS = ("sha256", "versions"), 12
"""Digests are shown by their first digits; the file has all of them."""


@click.command(cls=options.Command)
@click.argument("manifest", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--upgrade",
    is_flag=False,
    flag_value="",
    default=None,
    type=options.Names("images"),
    metavar="[NAME]",
    help="Ask again what the sources of image NAME stand for, or those of all images.",
)
@click.option(
    "--release",
    "released",
    multiple=True,
    type=options.Names("vms"),
    metavar="NAME",
    help="Only free the addresses and the node that VM NAME was leased; or one line of the file, such as "
    "network.lan.NAME; or a table, such as network.lan. May be repeated.",
)
@click.option(
    "--rebalance",
    is_flag=True,
    help="Place all VMs on nodes anew, but for those that name one. WHAT MOVES LEAVES ITS DISKS BEHIND.",
)
@click.option("--offline", is_flag=True, help="Never use the network.")
@options.with_variables
def lock(
    manifest: tuple[Path, ...],
    upgrade: str | None,
    *,
    released: tuple[str, ...],
    **wanted: Any,  # noqa: ANN401  # the further options of `load`
) -> None:
    """Write down what sources stand for, and where VMs are.

    That is in `bangerbuild.lock`: the VMs' addresses and nodes are too.

    bangerbuild.lock, beside the manifest, gets an entry for every address, suite, archive and name in a
    registry. What is in it stays, unless --upgrade asks anew. A VM of a network that gives no address gets
    the lowest free one, and keeps it until --release or `destroy` frees it. Where nodes are declared, a VM
    that names none is placed on one that has room, and stays there.
    """
    if released:
        if upgrade is not None or wanted["rebalance"]:
            other = "--rebalance" if upgrade is None else "--upgrade"
            raise UsageError(f"--release does not go with {other}", hint="run one after the other")
        _release(manifest, tuple(name.removeprefix("vm.") for name in released))
        return
    from bangerbuild import pipeline
    from bangerbuild.report.reporters import Plain

    if upgrade and _MANIFESTS_MARK.search(upgrade):  # no image is called so
        manifest, upgrade = (Path(upgrade), *manifest), ""
        options.remember(manifest, None, wanted["variables"], wanted["variable_files"])
    loaded = options.loaded(manifest, **wanted)
    found = pipeline.lock(loaded, upgrade, Plain(verbose=False).progressed)
    for line in _lines(found):
        output.result(line)


def _release(manifest: tuple[Path, ...], words: tuple[str, ...]) -> None:
    """Free addresses and nodes; the manifest is not read, as it may be what is wrong."""
    from bangerbuild.neighbours import near
    from bangerbuild.resolving import lockfile

    first = manifest[0] if manifest else Path(DEFAULT_MANIFEST)
    path = first.parent / leases.FILE_NAME
    lines = leases.read(path).lines
    for word in words:
        if not any(word in (lease.name, lease.key, lease.table) for lease in lines):
            known = {lease.key if "." in word else lease.name for lease in lines}
            hint = near(word, known) or f"{path} lists what was leased"
            raise UsageError(f"nothing is leased to '{word}'", hint=hint)
    for lease in lockfile.release(path, words):
        output.result(f"  release  {lease.name}  {lease.value}")


def _lines(found: Resolved) -> Iterator[str]:
    changes = tuple(found.changes())
    width = max((len(change.place) for change in changes), default=0)
    leased = tuple(found.leased())
    for change in changes:
        yield f"  {_verb(change):<7} {change.place:<{width}}  {_what(change)}"
    for table, name, value in leased:
        yield _leased_line(found, table, name, value)
    count = len(found.after.entries)
    sources = "1 source" if count == 1 else f"{count} sources"
    for kind in leases.KINDS:
        tables = (held for table, held in found.after.leases.items() if leases.kind_of(table) is kind)
        if number := sum(map(len, tables)):
            sources += f", {number} {kind.counted[number != 1]}"
    yield f"{found.path}: {sources}" if changes or leased else f"Nothing to do: {sources} locked."


def _leased_line(found: Resolved, table: str, name: str, value: str) -> str:
    if table != leases.PLACEMENT:
        return f"  lease   {name}  {value}  in {table.removeprefix('network.')}"
    before = found.before.leases.get(table, {}).get(name)
    return f"  move    {name}  {before} -> {value}" if before else f"  place   {name}  on {value}"


def _verb(change: Change) -> str:
    if change.old is None:
        return "add"
    return "drop" if change.new is None else "move"


def _what(change: Change) -> str:
    """The fields of an added or dropped entry; for a changed one, the fields that differ."""
    old, new = (entry.words if entry else {} for entry in (change.old, change.new))
    keys = [key for key in dict.fromkeys([*old, *new]) if old.get(key) != new.get(key)]
    before, after = _shown(old), _shown(new)
    if not old or not new:
        return ", ".join(f"{key} {(before or after)[key]}" for key in keys)
    return ", ".join(f"{key} {before.get(key, 'none')} -> {after.get(key, 'none')}" for key in keys)


def _shown(words: LockWords) -> dict[str, str]:
    shown = sources.shown_words(words)
    return {key: text[:SHOWN_DIGITS] if key in DIGESTS else text for key, text in shown.items()}
