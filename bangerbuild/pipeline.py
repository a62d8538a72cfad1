"""The whole flow: a manifest becomes steps, steps a graph, graph and store a plan, and the plan is executed.

Read this first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bangerbuild import execute, graph, manifest, steps, store
from bangerbuild.errors import UsageError
from bangerbuild.model import StepId, Verb, unseen
from bangerbuild.planning import plan
from bangerbuild.planning.host import LocalHost, Surveys
from bangerbuild.request import Request, RunOptions, epoch
from bangerbuild.resolving.pins import ResolveOptions
from bangerbuild.resolving.resolve import Asking, resolve
from bangerbuild.uptodate.basis import Basis

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bangerbuild.declared import Manifest
    from bangerbuild.graph import Graph
    from bangerbuild.model import Pin, Plan, PlanReporter, Progress, Result
    from bangerbuild.resolving.resolve import Resolved
    from bangerbuild.store import Store


@dataclass(frozen=True)
class Loaded:
    """A manifest and the graph of its steps, declared and checked once for the whole run."""

    manifest: Manifest
    whole: Graph
    """Of all that is declared."""
    wanted: Graph
    """The part of it that the targets need; without targets the whole."""


def load(request: Request, warn: Callable[[str], None]) -> Loaded:
    """Load the manifests; `warn` is told what is odd about them, but no error.

    Raises:
        ManifestError: there are problems; it holds all of them.
        UsageError: a target names nothing.
    """
    loaded = manifest.load(request.manifests, store=request.store)
    for message in loaded.warnings:
        warn(message)
    return declared(loaded, request.targets)


def declared(loaded: Manifest, targets: tuple[str, ...] = ()) -> Loaded:
    """The steps of a manifest as a graph, and the part of it that the targets need."""
    whole = graph.build(steps.declare(loaded))
    return Loaded(loaded, whole, graph.restrict(whole, targets) if targets else whole)


def make_plan(request: Request, warn: Callable[[str], None], progress: Progress = unseen) -> Plan:
    """What `apply` would do; nothing is written but what had to be fetched, into the user's cache."""
    return look(request, warn, progress, ask=True)[0]


def look(
    request: Request, warn: Callable[[str], None], progress: Progress = unseen, *, ask: bool = False
) -> tuple[Plan, Store]:
    """The plan and the store it was made for.

    Unless `ask`, no source is asked what it stands for: one that was never built counts as changed.
    """
    loaded = load(request, warn)
    forced = _forced(loaded, request)
    resolved = _resolved(request, loaded, progress, ask=ask)
    opened = store.read(loaded.manifest.store)
    return _plan(loaded.wanted, resolved.pins, forced, opened)[0], opened


def known_pins(request: Request, loaded: Loaded) -> Mapping[str, Pin]:
    """The pins that the lock file and the store know; no source elsewhere is asked.

    Raises:
        LockFileError: the lock file can't be used, or says something else than there is.
    """
    return _resolved(replace(request, targets=()), loaded, unseen, ask=False).pins


def _resolved(request: Request, loaded: Loaded, progress: Progress, *, ask: bool = True) -> Resolved:
    """What the sources that are needed stand for."""
    options = ResolveOptions(
        needed=loaded.wanted.has_node, locked=request.locked, ask=ask, upgrade=request.upgrade
    )
    return resolve(
        loaded.manifest, options, Asking(loaded.manifest.store, epoch(), request.offline, progress)
    )


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
        loaded = load(request, warn)
    return _do(request, loaded, run_options, reporter, basis)


def build(
    loaded: Manifest, run_options: RunOptions, reporter: PlanReporter, *, offline: bool
) -> tuple[Plan, tuple[Result, ...]]:
    """Bring the store to what a manifest that is no file declares, as of today; errors as `apply`."""
    asked_again = () if offline else tuple(loaded.images)  # no lock file says what is meant
    request = Request((), offline=offline, upgrade=asked_again)
    return _do(request, declared(loaded), run_options, reporter, Basis())


def _do(
    request: Request,
    loaded: Loaded,
    run_options: RunOptions,
    reporter: PlanReporter,
    basis: Basis,
) -> tuple[Plan, tuple[Result, ...]]:
    forced = _forced(loaded, request)
    options = execute.ExecuteOptions(
        jobs=run_options.jobs, keep_going=run_options.keep_going, epoch=epoch(), offline=request.offline
    )
    with basis.recording():
        resolved = _resolved(request, loaded, reporter.progressed)
    with store.writing(loaded.manifest.store, timeout_seconds=run_options.lock_seconds) as opened:
        with basis.recording():
            made, surveys = _plan(loaded.wanted, resolved.pins, forced, opened, run_options)
            while opened.lock(_owners(made)):  # another writer that had the lock may have done the work
                made, surveys = _plan(loaded.wanted, resolved.pins, forced, opened, run_options)
        resolved.write()
        reporter.planned(made)
        host = LocalHost(opened, options.epoch, surveys)
        results = execute.execute(made, opened, host, reporter, options)
        opened.make_current(
            (action.id, action.fingerprint) for action in made.actions if action.verb is Verb.KEEP
        )
        basis.remember(request, loaded.manifest, resolved, (made, results), opened)
        return made, results


def lock(
    request: Request, upgrade: str | None, warn: Callable[[str], None], progress: Progress = unseen
) -> Resolved:
    """Make the lock file, or move what is in it.

    Args:
        request: which manifests.
        upgrade: the image whose sources are asked again; empty: all; None: none.
        warn: told what is odd about the manifest.
        progress: told how far downloads are.

    Raises:
        ManifestError, UsageError, LockFileError: nothing was touched.
    """
    loaded = load(request, warn).manifest
    if upgrade and upgrade not in loaded.images:
        hint = (
            f"bangerbuild lock {upgrade} --upgrade"
            if "." in upgrade
            else f"known: {', '.join(loaded.images)}"
        )
        raise UsageError(f"no image is called '{upgrade}'", hint=hint)
    names = () if upgrade is None else (upgrade,) if upgrade else tuple(loaded.images)
    asking = Asking(loaded.store, epoch(), request.offline, progress)
    resolved = resolve(loaded, ResolveOptions(whole=True, upgrade=names), asking)
    resolved.write()
    return resolved


def _owners(made: Plan) -> frozenset[str]:
    """The VMs and images of which something is to be done: `vm.web` for `vm.web.root`."""
    changing = (action.id for action in made.actions if action.verb not in {Verb.KEEP, Verb.BLOCKED})
    return frozenset(StepId(step_id).owner for step_id in changing)


def _forced(loaded: Loaded, request: Request) -> frozenset[str]:
    for name in request.replace:
        if "." not in name:  # what is right for --target would discard everything here
            raise UsageError(f"--replace {name} names no VM, image or step", hint=f"--replace {name}.NAME")
        _refuse_outside(loaded, name, request.targets)
    return frozenset(step_id for name in request.replace for step_id in graph.matching(loaded.wanted, name))


def _refuse_outside(loaded: Loaded, name: str, targets: tuple[str, ...]) -> None:
    """Say so where something is declared, and is no part of what the targets need."""
    if targets and not graph.matches(loaded.wanted, name) and graph.matches(loaded.whole, name):
        raise UsageError(
            f"--replace {name} is no part of --target {', '.join(targets)}", hint=f"--target {name} too"
        )


def _plan(
    wanted: Graph,
    pins: Mapping[str, Pin],
    forced: frozenset[str],
    opened: Store,
    run_options: RunOptions | None = None,
) -> tuple[Plan, Surveys]:
    """The plan, and the host trees that it walked."""
    seconds, surveys = epoch(), Surveys()
    host = LocalHost(opened, seconds, surveys)
    previews = run_options is None or run_options.previews
    made = plan.make(wanted, opened, host, epoch=seconds, pins=pins, forced=forced, previews=previews)
    return made, surveys
