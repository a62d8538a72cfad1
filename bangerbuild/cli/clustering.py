"""`plan`, `apply`, `status` and `verify` on all nodes at once: `--cluster`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from bangerbuild import report
from bangerbuild.cli import options, output
from bangerbuild.cli.output import EXIT_BUSY, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_PENDING
from bangerbuild.declared import ALL_NODES
from bangerbuild.errors import BangerError, UsageError, few, printable
from bangerbuild.model import Silent, Verb

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bangerbuild.cluster.gathering import Gathering
    from bangerbuild.cluster.running import Outcomes
    from bangerbuild.cluster.share import ShareOptions
    from bangerbuild.pipeline import Loaded
    from bangerbuild.report.formats import Format, Shown


class _Warner(Silent):
    """A reporter that only warns."""

    @override
    def warned(self, step_id: str, message: str) -> None:
        output.warn(f"{step_id}: {message}")


def plan(address: str, wanted: Mapping[str, Any], form: Format, shown: Shown, *, is_detailed: bool) -> int:
    """Print what `apply` would do on all nodes."""
    from bangerbuild.cluster import gathering, running
    from bangerbuild.cluster.share import ShareOptions

    loaded = _loaded(address, wanted)
    asked = ShareOptions("plan", offline=wanted["offline"], previews=shown.diffs or form.is_json)
    done = running.run(loaded, address, asked, _Warner(), output.warn)
    if form.is_json:
        output.json_result(gathering.document(done.plan, None, done.gathered))
    else:
        output.plan_result(done.plan, form, shown)
        output.results(map(output.completed, done.gathered.notes))
    failed = _tell_failures(done.gathered)
    pending = any(action.verb is not Verb.KEEP for action in done.plan.actions)
    return failed or (EXIT_PENDING if is_detailed and pending else 0)


def apply(  # noqa: PLR0913  # one parameter for each option that counts
    address: str,
    wanted: Mapping[str, Any],
    *,
    jobs: int | None,
    keep_going: bool,
    dry_run: bool,
    lock_timeout: float,
    quiet: bool,
    pushes: bool,
    as_json: bool,
    verbose: bool,
) -> int:
    """Have all nodes do their shares."""
    from bangerbuild.cli import sharing
    from bangerbuild.cluster import gathering, running
    from bangerbuild.cluster.share import ShareOptions
    from bangerbuild.report.formats import FORMATS, Shown
    from bangerbuild.report.reporters import reporter

    if dry_run:
        form = FORMATS["json" if as_json else "text"]
        return plan(address, wanted, form, Shown(in_full=verbose), is_detailed=False)
    begun = time.monotonic()
    loaded = _loaded(address, wanted)
    if pushes:
        sharing.check_target(loaded)
    asked = ShareOptions(
        "apply",
        offline=wanted["offline"],
        jobs=jobs,
        keep_going=keep_going,
        lock_seconds=lock_timeout,
        previews=as_json or verbose,
        pushes=pushes,
    )
    with reporter(quiet=quiet, verbose=verbose, complete=output.completed) as telling:
        try:
            done = running.run(loaded, address, asked, telling, output.warn)
        except KeyboardInterrupt:
            output.say_interrupted(telling.finished_ids)
            output.error_result(BangerError(report.interrupted(telling.finished_ids)))
            return EXIT_INTERRUPTED
    if as_json:
        extra = {"pushed": [dict(one) for one in done.gathered.pushed]} if pushes else {}
        output.json_result({**gathering.document(done.plan, done.results, done.gathered), **extra})
    elif not quiet:
        output.say(done.gathered.notes)
        output.result(report.result_sum(done.plan, done.results, time.monotonic() - begun))
    return _tell_failures(done.gathered) or _exit_code(done)


def _exit_code(done: Outcomes) -> int:
    codes = {result.error.exit_code for result in done.results if result.error is not None}
    if codes - {EXIT_BUSY} or any(action.verb is Verb.BLOCKED for action in done.plan.actions):
        return EXIT_FAILED
    return EXIT_BUSY if codes or any(action.in_use for action in done.plan.actions) else 0


def status(address: str, wanted: Mapping[str, Any], *, verbose: bool, as_json: bool) -> int:
    """Print the state of each VM, image and network on all nodes."""
    from bangerbuild.cluster import listing, running
    from bangerbuild.cluster.share import ShareOptions
    from bangerbuild.commands import status_table as tables

    loaded = _loaded(address, wanted)
    done = running.run(loaded, address, ShareOptions("status"), _Warner(), output.warn)
    if as_json:
        rows = listing.rows(done.gathered)
        output.json_result({"format": 1, "store": str(loaded.store), "artifacts": rows})
    else:
        found = listing.statuses(loaded, done.gathered)
        fleets = loaded.manifest.fleets
        output.results(tables.file_lines(found) if verbose else tables.lines(found, fleets))
    return _tell_failures(done.gathered)


def verify(address: str, wanted: Mapping[str, Any], asked: ShareOptions, *, as_json: bool) -> int:
    """Check whether what lies in the stores of all nodes is sound."""
    from bangerbuild.cluster import listing, running
    from bangerbuild.commands import verify as verification
    from bangerbuild.commands.verify.check import CheckResult

    loaded = _loaded(address, wanted)
    done = running.run(loaded, address, asked, _Warner(), output.warn)
    checks = listing.checks(done.gathered)
    if as_json:
        found = verification.to_json(loaded.store, checks)
        output.json_result({**found, "checks": listing.rows(done.gathered)})
    else:
        output.results(map(printable, verification.lines(checks)))
        output.result(verification.summary_line(checks))
    results = {check.result for check in checks}
    code = EXIT_FAILED if CheckResult.FAILED in results else EXIT_BUSY if CheckResult.IN_USE in results else 0
    return _tell_failures(done.gathered) or code


def _loaded(address: str, wanted: Mapping[str, Any]) -> Loaded:
    """What is declared for all nodes.

    Raises:
        UsageError: a node is named, too.
    """
    from bangerbuild.cluster import addresses

    addresses.check(address)
    if wanted["node"] is not None:
        raise UsageError(
            f"--node {wanted['node']} and --cluster are two ways to do shares", hint="leave one of them out"
        )
    return options.loaded(**{**wanted, "node": ALL_NODES})


def _tell_failures(gathered: Gathering) -> int:
    """Say which nodes did not do their share; the exit code."""
    failures = gathered.failures
    for node, error in sorted(failures.items()):
        output.say([f"error: node {node}: {error.brief}", *report.more_of(error)])
    if not failures:
        return 0
    are = "node did" if len(failures) == 1 else "nodes did"
    output.say([f"{len(failures)} {are} not do all of their share: {few(sorted(failures))}"])
    return EXIT_BUSY if all(one.exit_code == EXIT_BUSY for one in failures.values()) else EXIT_FAILED
