"""The commands that maintain a store: `verify`, `gc`, `destroy`, `recover`."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bangerbuild.cli import clustering, options, output
from bangerbuild.cli.output import EXIT_BUSY, EXIT_FAILED
from bangerbuild.errors import UsageError, printable, readable_size
from bangerbuild.uptodate.command import DEFAULT_MANIFEST

if TYPE_CHECKING:
    from collections.abc import Sequence


@click.command(cls=options.Command)
@options.manifest_options
@options.node
@options.cluster
@options.as_json
@options.jobs
@options.lock_timeout
@click.option("--rebuild", is_flag=True, help="Make images again, in staging, and compare.")
def verify(
    *,
    as_json: bool,
    jobs: int | None,
    lock_timeout: float,
    rebuild: bool,
    cluster: str | None,
    **wanted: Any,  # noqa: ANN401  # the options that make a Request
) -> int:
    """Check whether what lies in the store is sound.

    Disks, images, launch files and the files written into guests are read, and nothing is changed. Disks
    that somebody has open are left out and listed.
    """
    from bangerbuild.commands import verify as verification
    from bangerbuild.commands.verify.check import Check, CheckResult
    from bangerbuild.model.request import RunOptions

    if cluster is not None:
        from bangerbuild.cluster.share import ShareOptions

        asked = ShareOptions("verify", jobs=jobs, lock_seconds=lock_timeout, rebuilds=rebuild)
        return clustering.verify(cluster, wanted, asked, as_json=as_json)

    def tell(checks: Sequence[Check]) -> None:
        if not as_json:
            for line in verification.lines(checks):
                output.result(printable(line))

    run_options = RunOptions(options.number(jobs), lock_seconds=lock_timeout)
    store, checks = verification.verify(
        options.request(**wanted), run_options, tell, output.warn, output.warn_of, again=rebuild
    )
    if as_json:
        output.json_result(verification.to_json(store, checks))
    else:
        output.result(verification.summary_line(checks))
    results = {check.result for check in checks}
    return EXIT_FAILED if CheckResult.FAILED in results else EXIT_BUSY if CheckResult.IN_USE in results else 0


@click.command(cls=options.Command)
@options.store_options
@options.node
@options.as_json
@options.lock_timeout
@click.option("-n", "--dry-run", is_flag=True, help="List what would be removed.")
@click.option(
    "--keep-cache",
    type=click.IntRange(0),
    default=20,
    show_default=True,
    metavar="GIB",
    help="How much of what was downloaded stays: what was used last.",
)
@click.option(
    "--cache",
    "of_cache",
    is_flag=True,
    help="Only list what the registry of [cache] holds and bangerbuild.lock has no digest for.",
)
@click.option("--yes", is_flag=True, help="With --cache: remove that there.")
def gc(  # noqa: PLR0913  # one parameter for each option of the command
    *,
    as_json: bool,
    lock_timeout: float,
    dry_run: bool,
    keep_cache: int,
    of_cache: bool,
    yes: bool,
    **wanted: Any,  # noqa: ANN401
) -> None:
    """Remove what no manifest, VM or launch file needs.

    That is images, what interrupted runs left, and the downloads that were not used for the longest time;
    never a disk that a guest has written to. Where there is no manifest, nothing is declared, and what
    `image import` left goes.
    """
    from bangerbuild.commands import gc

    if of_cache:
        _collect_cache(as_json=as_json, removes=yes and not dry_run, **wanted)
        return
    if yes:
        raise UsageError("--yes is only for --cache: gc never asks", hint="leave it out")
    request = options.request(**wanted)
    if not wanted["manifest"] and not os.path.lexists(DEFAULT_MANIFEST):
        request = replace(request, manifests=(), store=request.store or Path(options.DEFAULT_STORE))
    store, found = gc.collect(
        request, output.warn, output.warn_of, dry_run=dry_run, lock_seconds=lock_timeout
    )
    freed_bytes = gc.bound_cache(keep_cache << 30, dry_run=dry_run)
    if as_json:
        output.json_result(gc.to_json(store, found, dry_run=dry_run))
        return
    for line in gc.lines(found, dry_run=dry_run):
        output.result(line)
    if freed_bytes:
        output.result(
            f"Cache of downloads: {readable_size(freed_bytes)}{' would be' if dry_run else ''} freed."
        )


def _collect_cache(*, as_json: bool, removes: bool, **wanted: Any) -> None:  # noqa: ANN401
    from bangerbuild.commands import cache_gc

    found = cache_gc.collect(options.loaded(**wanted), output.warn, removes=removes)
    if as_json:
        output.json_result(cache_gc.to_json(found, removed=removes))
        return
    for line in cache_gc.lines(found, removed=removes):
        output.result(line)


@click.command(cls=options.Command)
@options.store_options
@options.node
@options.lock_timeout
@click.option(
    "--target",
    "targets",
    multiple=True,
    type=options.Names("ids"),
    metavar="ID",
    help="A VM (vm.web), several ('vm.web-*'), one of its disks (vm.web.work), or an image that nothing "
    "needs. May be repeated.",
)
@click.option("--undeclared", is_flag=True, help="All that these manifests declared, and no longer do.")
@click.option("--yes", is_flag=True, help="Don't ask.")
def destroy(*, lock_timeout: float, yes: bool, undeclared: bool, **wanted: Any) -> int:  # noqa: ANN401
    """Remove a VM's disks and files, WHATEVER IS IN THEM.

    It need not be declared any more. What goes is named first; without a terminal to ask on, --yes is needed.
    """
    from bangerbuild.commands import destroy as destruction

    def agree(loss: destruction.Loss) -> bool:
        output.say(destruction.loss_lines(loss))
        return yes or output.ask(f"Remove this, {readable_size(loss.size_bytes)}, for good?", hint="--yes")

    request = options.request(**wanted)
    if not request.targets and not undeclared:
        raise UsageError("nothing is named to be removed", hint="--target ID, or --undeclared")
    loss = destruction.destroy(request, agree, output.warn, lock_seconds=lock_timeout, undeclared=undeclared)
    if loss is None:
        output.say(["nothing was removed"])
        return EXIT_FAILED
    output.result(destruction.summary_line(loss))
    return 0


@click.command(cls=options.Command)
@options.store_options
@options.as_json
@options.lock_timeout
@click.option("--offline", is_flag=True, help="Never use the network.")
def recover(*, as_json: bool, lock_timeout: float, **wanted: Any) -> None:  # noqa: ANN401
    """Rebuild lost or damaged records from what lies in the store.

    No disk is touched. Images are told by their fingerprints, exception stores by the image that their
    header names; a disk of a VM counts as its guest's. A damaged state.db is renamed, and kept.
    """
    from bangerbuild.commands import recover as recovery

    found = recovery.recover(options.request(**wanted), output.warn, lock_seconds=lock_timeout)
    if as_json:
        output.json_result(recovery.to_json(found))
        return
    for line in recovery.lines(found):
        output.result(printable(line))
