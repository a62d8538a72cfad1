"""The whole flow: a manifest becomes steps, steps a graph, graph and store a plan, and the plan is executed.

Read this first.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bangerbuild import execute, graph, manifest, steps, store
from bangerbuild.errors import UsageError
from bangerbuild.model import Verb, unseen
from bangerbuild.planning import plan
from bangerbuild.planning.host import LocalHost, Surveys
from bangerbuild.request import Request, RunOptions, epoch
from bangerbuild.resolving import pinning
from bangerbuild.resolving.pins import Wish
from bangerbuild.uptodate.basis import Basis

if TYPE_CHECKING:
    from collections.abc import Callable

    from bangerbuild.declared import Manifest
    from bangerbuild.graph import Graph
    from bangerbuild.model import Plan, PlanReporter, Progress, Result
    from bangerbuild.resolving.pinning import Pinned
    from bangerbuild.store import Store


def load_graph(request: Request, warn: Callable[[str], None]) -> tuple[Manifest, Graph]:
    """The manifest and the checked graph of its steps, restricted to the targets.

    `warn` is told what is odd about the manifest, but no error.
    """
    loaded = manifest.load(request.manifests, store=request.store)
    for message in loaded.warnings:
        warn(message)
    whole = graph.build(steps.declare(loaded))
    return loaded, graph.restrict(whole, request.targets) if request.targets else whole


def make_plan(request: Request, warn: Callable[[str], None], progress: Progress = unseen) -> Plan:
    """What `apply` would do; nothing is written but what had to be fetched, into the user's cache."""
    return look(request, warn, progress, ask=True)[0]


def look(
    request: Request, warn: Callable[[str], None], progress: Progress = unseen, *, ask: bool = False
) -> tuple[Plan, Store]:
    """The plan and the store it was made for.

    Unless `ask`, nobody is asked what a source stands for: one that was never built counts as changed.
    """
    loaded, wanted = load_graph(request, warn)
    forced = _forced(wanted, loaded, request)
    _, wanted = _pinned(request, loaded, wanted, progress, ask=ask)
    opened = store.read(loaded.store)
    return _plan(wanted, forced, opened, epoch())[0], opened


def pinned_as_known(request: Request, loaded: Manifest, wanted: Graph) -> Graph:
    """The immutable steps among these, and what they need, with the pins that are known; nobody is asked.

    Raises:
        LockFileError: the lock file can't be used, or says something else than there is.
    """
    _, found = _pinned(replace(request, targets=()), loaded, wanted, unseen, ask=False)
    return graph.restrict(found, graph.immutable(wanted))


def _pinned(
    request: Request, loaded: Manifest, wanted: Graph, progress: Progress, *, ask: bool = True
) -> tuple[Pinned, Graph]:
    """The sources that are needed, with what they stand for; and the graph of the same steps with them."""
    wish = Wish(needed=wanted.has_node, locked=request.locked, ask=ask, upgrade=request.upgrade)
    found = pinning.pinned(loaded, wish, pinning.Means(epoch(), request.offline, progress))
    if found.manifest is loaded:
        return found, wanted
    whole = graph.build(steps.declare(found.manifest))
    return found, graph.restrict(whole, request.targets) if request.targets else whole


def apply(
    request: Request, run_options: RunOptions, reporter: PlanReporter, warn: Callable[[str], None]
) -> tuple[Plan, tuple[Result, ...]]:
    """Bring the store to what the manifests declare.

    Raises:
        ManifestError, UsageError, LockFileError: nothing was touched.
        BusyError: another writer did not let go of the store in time.
        StoreError: the store can't be written; what was published before stays whole.
    """
    basis = Basis()
    with basis.recording():
        loaded, wanted = load_graph(request, warn)
    return _do(request, loaded, wanted, run_options, reporter, basis)


def build(
    loaded: Manifest, run_options: RunOptions, reporter: PlanReporter, *, offline: bool
) -> tuple[Plan, tuple[Result, ...]]:
    """Bring the store to what a manifest that is no file declares, as of today; errors as `apply`."""
    asked_again = () if offline else tuple(loaded.images)  # no lock file says what is meant
    request = Request((), offline=offline, upgrade=asked_again)
    return _do(request, loaded, graph.build(steps.declare(loaded)), run_options, reporter, Basis())


def _do(  # noqa: PLR0913, PLR0917  # what is done, how, and what the plan depends on
    request: Request,
    loaded: Manifest,
    wanted: Graph,
    run_options: RunOptions,
    reporter: PlanReporter,
    basis: Basis,
) -> tuple[Plan, tuple[Result, ...]]:
    forced = _forced(wanted, loaded, request)
    limits = execute.ExecuteOptions(
        jobs=run_options.jobs, keep_going=run_options.keep_going, epoch=epoch(), offline=request.offline
    )
    with basis.recording():
        found, wanted = _pinned(request, loaded, wanted, reporter.progressed)
    with store.writing(loaded.store, timeout_seconds=run_options.lock_seconds) as opened:
        with basis.recording():
            made, surveys = _plan(wanted, forced, opened, limits.epoch, previews=run_options.previews)
            while opened.lock(_owners(made)):  # another writer that had the lock may have done the work
                made, surveys = _plan(wanted, forced, opened, limits.epoch, previews=run_options.previews)
        found.write()
        reporter.planned(made)
        results = execute.execute(made, opened, LocalHost(opened, limits.epoch, surveys), reporter, limits)
        opened.hold((action.id, action.fingerprint) for action in made.actions if action.verb is Verb.KEEP)
        basis.remember(request, found, made, results, opened)
        return made, results


def lock(
    request: Request, upgrade: str | None, warn: Callable[[str], None], progress: Progress = unseen
) -> Pinned:
    """Make the lock file, or move what is in it.

    Args:
        request: which manifests.
        upgrade: the image whose sources are asked again; empty: all; None: none.
        warn: told what is odd about the manifest.
        progress: told how far downloads are.

    Raises:
        ManifestError, UsageError, LockFileError: nothing was touched.
    """
    loaded, _ = load_graph(request, warn)
    if upgrade and upgrade not in loaded.images:
        hint = (
            f"bangerbuild lock {upgrade} --upgrade"
            if "." in upgrade
            else f"known: {', '.join(loaded.images)}"
        )
        raise UsageError(f"no image is called '{upgrade}'", hint=hint)
    names = () if upgrade is None else (upgrade,) if upgrade else tuple(loaded.images)
    means = pinning.Means(epoch(), request.offline, progress)
    found = pinning.pinned(loaded, Wish(whole=True, upgrade=names), means)
    found.write()
    return found


def _owners(made: Plan) -> frozenset[str]:
    """The VMs and images of which something is to be done: `vm.web` for `vm.web.root`."""
    changing = (action.id for action in made.actions if action.verb not in {Verb.KEEP, Verb.BLOCKED})
    return frozenset(".".join(step_id.split(".")[:2]) for step_id in changing)


def _forced(wanted: Graph, loaded: Manifest, request: Request) -> frozenset[str]:
    for name in request.replace:
        if "." not in name:  # what is right for --target would discard everything here
            raise UsageError(f"--replace {name} names no VM, image or step", hint=f"--replace {name}.NAME")
        _refuse_outside(wanted, loaded, name, request.targets)
    return frozenset(step_id for name in request.replace for step_id in graph.matching(wanted, name))


def _refuse_outside(wanted: Graph, loaded: Manifest, name: str, targets: tuple[str, ...]) -> None:
    """Say so where something is declared, and is no part of what the targets need."""
    if not targets or graph.matches(wanted, name):
        return
    if graph.matches([step.id for step in steps.declare(loaded)], name):
        raise UsageError(
            f"--replace {name} is no part of --target {', '.join(targets)}", hint=f"--target {name} too"
        )


def _plan(
    wanted: Graph, forced: frozenset[str], opened: Store, seconds: int, *, previews: bool = True
) -> tuple[Plan, Surveys]:
    """The plan, and the host trees that it walked."""
    surveys = Surveys()
    host = LocalHost(opened, seconds, surveys)
    return plan.make(wanted, opened, host, epoch=seconds, forced=forced, previews=previews), surveys
