"""One command on all nodes: who is there, what goes where, and what came of it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from typing_extensions import override

from bangerbuild import __version__
from bangerbuild.cluster import addresses
from bangerbuild.cluster.digests import KeptDigests
from bangerbuild.cluster.dispatch import dispatch
from bangerbuild.cluster.dividing import Division
from bangerbuild.cluster.gathering import Gathering
from bangerbuild.errors import ClusterError, UsageError, few
from bangerbuild.model import Outcome, PlanReporter
from bangerbuild.model.request import epoch
from bangerbuild.pipeline.looking import forced_ids, resolve_wanted
from bangerbuild.resolving import lockfile

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from bangerbuild.cluster.share import ShareOptions
    from bangerbuild.cluster.transport import Transport
    from bangerbuild.model import Action, Plan, Result
    from bangerbuild.pipeline import Loaded
    from bangerbuild.resolving.resolve import Resolved


@dataclass(frozen=True)
class Outcomes:
    """What came of a command on all nodes."""

    plan: Plan
    results: tuple[Result, ...]
    gathered: Gathering


def run(
    loaded: Loaded,
    address: str,
    options: ShareOptions,
    reporter: PlanReporter,
    warn: Callable[[str], None],
) -> Outcomes:
    """Have all nodes do their shares.

    Args:
        loaded: what is declared, for all nodes.
        address: of the cluster.
        options: what is done, and how; targets are those of what is loaded.
        reporter: is told what happens.
        warn: is told what is odd.

    Raises:
        UsageError: the address is none, no nodes are declared, or a target names nothing.
        ManifestError: a secret can't be read.
        LockFileError, SourceError, FetchError, ToolError: what the sources stand for can't be told.
        ClusterError: nobody answers there.
    """
    addresses.check(address)
    if not loaded.manifest.nodes:
        raise UsageError(
            f"--cluster {address}, but the manifest declares no nodes",
            hint="declare them: [node.NAME], each called as its worker is",
        )
    prepared = prepare(loaded, options, addresses.stores(address, loaded), reporter)
    with addresses.opened(address, loaded, prepared.division.run) as transport:
        return do(prepared, transport, reporter, warn)


@dataclass(frozen=True)
class Prepared:
    """A run of which all is known but who is there."""

    division: Division
    resolved: Resolved
    digests: KeptDigests


def prepare(
    loaded: Loaded, options: ShareOptions, stores: Mapping[str, str], reporter: PlanReporter
) -> Prepared:
    """Find out what sources stand for and read secrets; nothing is written or sent.

    Raises:
        UsageError, ManifestError, LockFileError, SourceError, FetchError, ToolError: see `run`.
    """
    forced_ids(loaded)
    resolved = resolve_wanted(loaded, reporter.progressed, ask=options.work in {"plan", "apply"})
    found = epoch()
    options = replace(options, replace=loaded.request.replace, epoch=int(found) if found.is_set else None)
    digests = KeptDigests()
    division = Division(loaded, resolved.after, options, secrets.token_hex(8), stores, digests)
    _ = division.secrets, division.nodes
    return Prepared(division, resolved, digests)


def do(
    prepared: Prepared, transport: Transport, reporter: PlanReporter, warn: Callable[[str], None]
) -> Outcomes:
    """Do what is prepared.

    Raises:
        ClusterError: nobody can be asked.
    """
    division = prepared.division
    loaded, options = division.loaded, division.options
    workers = transport.workers()
    failures = _absent(division, workers, warn)
    there = [node for node in division.nodes if node in workers and node not in failures]
    if options.work == "verify":
        there = [node for node in there if division.has_vms(node)]
    if options.work == "apply":
        prepared.resolved.write()
    locked = partial(_lock, loaded)
    gathered = Gathering(loaded, there, reporter, locked)
    first: Gathering | None = None
    if options.pushes:
        first = _build_first(division, there, transport, reporter, locked)
        known = lockfile.read(lockfile.path_beside(loaded.manifest))
        division = replace(division, lock=known, options=replace(options, pushes=False))
    for node, error in failures.items():
        gathered.failed(node, error)
    dispatch(there, division.parcel, division.run, transport, gathered)
    prepared.digests.keep()
    results = gathered.finish()
    plan = gathered.plan
    if first is not None:
        plan, results = _with_first(plan, results, first)
        gathered.pushed = [*first.pushed, *gathered.pushed]
    return Outcomes(plan, results, gathered)


def _absent(
    division: Division, workers: Mapping[str, str | None], warn: Callable[[str], None]
) -> dict[str, ClusterError]:
    """Why nodes can't be asked; workers that are no nodes are warned of."""
    strangers = sorted(workers.keys() - division.loaded.manifest.nodes.keys())
    if strangers:
        who = few([f"'{one}'" for one in strangers], "workers")
        warn(f"no [node] of the manifest is called as this worker, which gets nothing: {who}")
    failures: dict[str, ClusterError] = {}
    for node in division.nodes:
        if node not in workers:
            if division.has_vms(node):
                hint = f"start it there: dask worker … --name {node} --nthreads 1 --no-nanny --memory-limit 0"
                failures[node] = ClusterError(f"node '{node}' has no worker", hint=hint)
            else:
                warn(f"node '{node}' has no worker; no VM is placed on it")
        elif workers[node] != __version__:
            there = f"bangerbuild {workers[node]}" if workers[node] else "no bangerbuild"
            brief = f"node '{node}' has {there}, and this is {__version__}: it is sent nothing"
            failures[node] = ClusterError(brief, hint="install the same version on all of them")
    return failures


def _lock(loaded: Loaded, text: str) -> None:
    """Take what a node has pushed into the lock file."""
    path = lockfile.path_beside(loaded.manifest)
    before = lockfile.read(path)
    pushed = lockfile.parsed(text, path).pushed
    lockfile.write(path, before, replace(before, pushed={**before.pushed, **pushed}))


class _Unplanned(PlanReporter):
    """Hands on all but the plan, which comes with the second part of the run."""

    def __init__(self, reporter: PlanReporter) -> None:
        self._reporter = reporter

    @override
    def planned(self, plan: Plan) -> None:
        pass

    @override
    def started(self, action: Action) -> None:
        self._reporter.started(action)

    @override
    def finished(self, action: Action, result: Result) -> None:
        self._reporter.finished(action, result)

    @override
    def warned(self, step_id: str, message: str) -> None:
        self._reporter.warned(step_id, message)

    @override
    def progressed(self, what: str, done_bytes: int, total_bytes: int | None) -> None:
        self._reporter.progressed(what, done_bytes, total_bytes)


def _build_first(
    division: Division,
    nodes: Collection[str],
    transport: Transport,
    reporter: PlanReporter,
    locked: Callable[[str], None],
) -> Gathering:
    """Have each image built and pushed by the first node that needs it, so that the others can fetch it."""
    images: dict[str, frozenset[str]] = {}
    for node in nodes:
        taken = {name for names in images.values() for name in names}
        if own := division.images_of(node) - taken:
            images[node] = own
    gathered = Gathering(division.loaded, tuple(images), _Unplanned(reporter), locked)
    if images:
        building = replace(division, built=images)
        dispatch(tuple(images), building.parcel, division.run, transport, gathered)
    gathered.finish()
    return gathered


def _with_first(plan: Plan, results: tuple[Result, ...], first: Gathering) -> tuple[Plan, tuple[Result, ...]]:
    """The plan and its results with the images that were built before the rest."""
    done = {key: one for key, one in first.results.items() if one.outcome is not Outcome.SKIPPED}
    before = {action.id: action for action in first.plan.actions if action.id in done}
    actions = tuple(before.get(action.id, action) for action in plan.actions)
    told = tuple(done.get(one.id, one) for one in results)
    return replace(plan, actions=actions), told
