"""The whole flow: a manifest becomes steps, steps a graph, graph and store a plan, and the plan is executed.

Read this first.
"""

from __future__ import annotations

import dataclasses
import fnmatch
import os
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from bangerbuild import execute, graph, manifest, shares, steps, store
from bangerbuild.cache_registry import download
from bangerbuild.cache_registry.download import Order
from bangerbuild.cache_registry.lookup import RegistryCache
from bangerbuild.cache_registry.repository import Repository
from bangerbuild.declared import Manifest
from bangerbuild.errors import BangerError, BusyError, ManifestError, UsageError
from bangerbuild.model import (
    ArtifactPath,
    Plan,
    Reason,
    ReasonCode,
    Relocation,
    Silent,
    StepId,
    Verb,
    unseen,
)
from bangerbuild.model.arguments import check_reporter, check_type, listed
from bangerbuild.model.request import Request, RunOptions, epoch
from bangerbuild.neighbours import near
from bangerbuild.planning import origins, plan_file, recovering, renames
from bangerbuild.planning import plan as planner
from bangerbuild.planning.host import LocalHost, Surveys
from bangerbuild.planning.recorded import Recorded
from bangerbuild.planning.reviewed import refuse_stale, reviewed
from bangerbuild.planning.saved import SavedPlan
from bangerbuild.planning.secrets import Secrets
from bangerbuild.resolving import lockfile
from bangerbuild.resolving.pins import ResolveOptions
from bangerbuild.resolving.resolve import Asking, resolve
from bangerbuild.sources.source import PIN_FACT
from bangerbuild.steps import launch
from bangerbuild.store import secrets_key
from bangerbuild.uptodate import command
from bangerbuild.uptodate.basis import Basis, Done

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from bangerbuild.errors import Problem
    from bangerbuild.graph import Graph
    from bangerbuild.model import Json, Pin, PlanReporter, Progress, Result, Step
    from bangerbuild.model.image_cache import Fetched
    from bangerbuild.planning.recovering import Found
    from bangerbuild.planning.reviewed import Reviewed
    from bangerbuild.resolving.resolve import Resolved
    from bangerbuild.store import Store


NAME_STORE_HINT = "--store DIR names the store, whatever the manifest says"
CACHE_HINT = 'write pull = ["docker://registry.example/team/images"]'
"""How a manifest names a cache."""


def _unheard(_message: str) -> None:
    """A warning that nobody is told."""


@dataclass(frozen=True)
class Loaded:
    """A manifest and the graph of its steps, declared and checked once for the whole run."""

    request: Request
    manifest: Manifest
    whole: Graph
    """Of all that is declared."""
    wanted: Graph
    """The part of it that the targets need; without targets the whole."""
    basis: Basis = field(default_factory=Basis, repr=False, compare=False)
    """What loading looked at on this host."""
    is_read: bool = True
    """Whether it is known what is declared; see `load_to_read`."""
    new_key: bytes = field(default_factory=secrets_key.new, repr=False, compare=False)
    """For digests of secrets, if the store has no key yet."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is odd about the manifests, but no error."""
        return self.manifest.warnings

    @property
    def store(self) -> Path:
        """The store's directory."""
        return self.manifest.store


class Applied(NamedTuple):
    """What was done: the plan, and how each of its actions ended, in the plan's order."""

    plan: Plan
    results: tuple[Result, ...]


def load(  # noqa: PLR0913  # one parameter for each option of the command line
    manifests: Sequence[str | Path] = (),
    *,
    store: str | Path | None = None,
    targets: Sequence[str] = (),
    replace: Sequence[str] = (),
    locked: bool = False,
    offline: bool = False,
    upgrade: Sequence[str] = (),
    variables: Mapping[str, str] | None = None,
    variable_files: Sequence[str | Path] = (),
    node: str | None = None,
    rebalance: bool = False,
) -> Loaded:
    """Load manifests, which act as one, and say which part of them is meant.

    Args:
        manifests: paths; none: `vm.toml` in the current directory.
        store: the store's directory, instead of the manifest's.
        targets: ids of steps, VMs or images; they and what they need are the only ones to be planned.
        replace: ids of what is made anew, whatever a guest has written to it.
        locked: refuse what the lock file would have to be changed for.
        offline: never use the network.
        upgrade: names of images whose sources are asked again what they stand for.
        variables: values of variables, instead of those in `[vars]`.
        variable_files: TOML files of such values; `variables` wins over them.
        node: the node whose share is wanted, or `all`; to plan and to apply where nodes are declared.
        rebalance: place VMs on nodes as if none had been leased one.

    Raises:
        ManifestError: there are problems; it holds all of them, each with file, line and key.
        UsageError: a target, an image to upgrade or the node names nothing.
        TypeError: an argument is of another type, such as one name where a list is asked for.
    """
    given = listed(manifests, "manifests", (str, Path), "a path")
    check_type(store, (str, Path, NoneType), "a path for store")
    check_type(locked, bool, "True or False for locked")
    check_type(offline, bool, "True or False for offline")
    check_type(node, (str, NoneType), "a name for node")
    check_type(rebalance, bool, "True or False for rebalance")
    check_type(variables, (dict, NoneType), "a dict of names and values for variables")
    return load_request(
        Request(
            tuple(Path(path) for path in given) or (Path(command.DEFAULT_MANIFEST),),
            None if store is None else Path(store),
            listed(targets, "targets", str, "a name"),
            listed(replace, "replace", str, "a name"),
            offline,
            locked,
            listed(upgrade, "upgrade", str, "a name"),
            tuple((variables or {}).items()),
            tuple(map(Path, listed(variable_files, "variable_files", (str, Path), "a path"))),
            node,
            rebalance,
        )
    )


def load_request(
    request: Request, warn: Callable[[str], None] = _unheard, *, needs_files: bool = True
) -> Loaded:
    """The same of a request as a value; `warn` is told what is odd about the manifests.

    Without `needs_files`, files of this host that they name may be missing: nothing can be planned then.
    """
    basis = Basis()
    with basis.recording():
        found = manifest.load(
            request.manifests, store=request.store, settings=_settings(request), needs_files=needs_files
        )
        for message in found.warnings:
            warn(message)
        return _declared(request, found, basis)


def _settings(request: Request) -> manifest.Settings:
    return manifest.Settings(request.variables, request.variable_files, request.rebalance)


def load_to_read(
    request: Request, warn: Callable[[str], None], tell: Callable[[Problem], None] | None = None
) -> Loaded:
    """The same for a command that only reads the store, or removes what it is told to.

    Files of the host may be missing. Of a manifest with problems, or that is not there, nothing counts as
    declared.

    Args:
        request: the manifests, and the store.
        warn: is told what is odd.
        tell: is told the problems; None: they are warned of.

    Raises:
        ManifestError: there are problems, and it is not known which store is meant, or nothing is in it.
        UsageError: a target names nothing.
    """
    told = tell or partial(_warn_of, warn)
    try:
        found = manifest.load(
            request.manifests, store=request.store, settings=_settings(request), needs_files=False
        )
    except ManifestError as err:
        if err.store is None or not store.read(err.store).records:
            err.hint = None if request.store else NAME_STORE_HINT
            raise
        for problem in err.problems:
            told(problem)
        warn(f"nothing can be said of what is declared: only what lies in '{err.store}' counts")
        nothing = graph.build(())
        return Loaded(request, Manifest(err.store, {}, {}), nothing, nothing, Basis(), is_read=False)
    for message in found.warnings:
        warn(message)
    for problem in found.absent:
        told(problem)
    return _declared(request, found, Basis())


def places(loaded: Loaded) -> dict[str, tuple[str, int]]:
    """The file and line of each image, VM, network and fleet, by ids such as `vm.web`."""
    return manifest.declared_at(loaded.manifest)


def _warn_of(warn: Callable[[str], None], problem: Problem) -> None:
    warn("; ".join(line.strip() for line in problem.lines()))


def narrowed(loaded: Loaded, targets: tuple[str, ...]) -> Loaded:
    """What is loaded, with other targets."""
    request = dataclasses.replace(loaded.request, targets=targets)
    names = expanded(loaded.manifest, targets)
    wanted = shares.wanted(loaded.manifest, loaded.whole, targets, names)
    return dataclasses.replace(loaded, request=request, wanted=wanted)


def refuse_without_node(loaded: Loaded) -> None:
    """Refuse to do anything for a node that is not named; images alone are no node's.

    Raises:
        UsageError: nodes are declared, and none is named.
    """
    if loaded.request.targets and all(StepId(one).table == "image" for one in loaded.wanted):
        return
    shares.refuse_unnamed(loaded.manifest, loaded.request.node)


def expanded(found: Manifest, targets: Sequence[str]) -> tuple[str, ...]:
    """What targets stand for: `fleet.runner` for each of its VMs, `fleet.runner.root` for their roots.

    Raises:
        UsageError: there is no such fleet.
    """
    names: list[str] = []
    for target in targets:
        table, _, rest = target.partition(".")
        name, dot, part = rest.partition(".")
        if table != "fleet" or not rest:
            names.append(target)
        elif meant := fnmatch.filter(found.fleets, name):
            names += (f"vm.{member}{dot}{part}" for fleet in meant for member in found.fleets[fleet])
        else:
            known = [f"fleet.{one}" for one in found.fleets]
            hint = near(f"fleet.{name}", known) or f"known: {', '.join(known) or 'none'}"
            raise UsageError(f"no fleet is called '{name}'", hint=hint)
    return tuple(names)


def load_image(found: Manifest, *, offline: bool) -> Loaded:
    """A manifest that is no file; its sources are asked what they stand for today."""
    asked_again = () if offline else tuple(found.images)  # no lock file says what is meant
    return _declared(Request((), offline=offline, upgrade=asked_again), found, Basis())


def _declared(request: Request, found: Manifest, basis: Basis) -> Loaded:
    for name in request.upgrade:
        _refuse_unknown_image(found, name)
    found = shares.seen_from(found, request.node)
    whole = graph.build(steps.declare(found))
    wanted = shares.wanted(found, whole, request.targets, expanded(found, request.targets))
    return Loaded(request, found, whole, wanted, basis)


def plan(loaded: Loaded, *, previews: bool = True, progress: Progress = unseen) -> Plan:
    """What `apply` would do, and why. Only downloads are written, into the user's cache.

    Args:
        loaded: the manifest.
        previews: whether the plan says what updates would change inside guests.
        progress: told how far downloads are.

    Raises:
        UsageError: what shall be replaced is not there.
        LockFileError: the lock file can't be used, or says something else than there is.
        SourceError, ToolError, StoreError: something that must be looked at can't be.
        TypeError: `loaded` was not made by `load`.
    """
    check_type(loaded, Loaded, "what `bangerbuild.load` gives")
    made, _ = look(loaded, ask=True, previews=previews, progress=progress)
    return dataclasses.replace(made, origin=loaded)


def look(
    loaded: Loaded, *, ask: bool = False, previews: bool = True, progress: Progress = unseen
) -> tuple[Plan, Store]:
    """The plan and the store it was made for."""
    refuse_without_node(loaded)
    forced = _forced(loaded)
    resolved = _resolved(loaded, progress, ask=ask)
    opened = store.read(loaded.store)
    secrets = _secrets(loaded, lambda: secrets_key.read(loaded.store) or loaded.new_key)
    host = LocalHost(opened, epoch(), Surveys(), secrets)
    cache = _cache(loaded, resolved) if ask else None
    return _planned(loaded, resolved, forced, opened, host, cache, previews=previews), opened


def look_leniently(
    loaded: Loaded, warn: Callable[[str], None], *, previews: bool = False
) -> tuple[Plan, Store]:
    """A plan that is only to be looked at, and its store.

    No source is asked what it stands for: one that was never built counts as changed. One that can't be read
    is taken to be as it was. `previews` says whether to look into guests for what would change there, as far
    as that can be told without secrets.
    """
    refuse_without_node(loaded)
    opened, seconds = store.read(loaded.store), epoch()
    plan = planner.make(
        loaded.wanted,
        opened,
        LocalHost(opened, seconds, Surveys()),
        epoch=seconds,
        pins=_pins_as_far_as_known(loaded, warn),
        previews=previews,
        is_lenient=True,
    )
    absent = {problem.key.partition("[")[0] for problem in loaded.manifest.absent}
    unjudged = {action.id for action in plan.actions if action.step.changes and _is_of(action.id, absent)}
    fleets = loaded.manifest.fleets
    return dataclasses.replace(plan, unjudged=plan.unjudged | unjudged, fleets=fleets), opened


def _is_of(step_id: str, keys: set[str]) -> bool:
    """Whether a key of the manifest may be about a step of a VM; what is no VM's may be every one's."""
    owner = StepId(step_id).owner
    return any(StepId(key).owner == owner or StepId(key).table not in {"vm", "image"} for key in keys)


def _pins_as_far_as_known(loaded: Loaded, warn: Callable[[str], None]) -> Mapping[str, Pin]:
    try:
        return _resolved(loaded, unseen, ask=False).pins
    except BangerError as err:
        warn(f"{err.brief}: what it is about can't be judged")
        records = store.read(loaded.store).records
        entries = {key: lockfile.remembered(one.facts.get(PIN_FACT)) for key, one in records.items()}
        return {key: entry.pin for key, entry in entries.items() if entry}


def known_pins(loaded: Loaded) -> Mapping[str, Pin]:
    """The pins that the lock file and the store know; no source elsewhere is asked.

    Raises:
        LockFileError: the lock file can't be used, or says something else than there is.
    """
    return _resolved(loaded, unseen, ask=False).pins


def _resolved(loaded: Loaded, progress: Progress, *, ask: bool = True) -> Resolved:
    """What the sources that are needed stand for."""
    request = loaded.request
    options = ResolveOptions(
        needed=loaded.wanted.__contains__, locked=request.locked, ask=ask, upgrade=request.upgrade
    )
    return resolve(loaded.manifest, options, Asking(loaded.store, epoch(), request.offline, progress))


def keep_key(loaded: Loaded) -> None:
    """See that the store has a key for digests of secrets, if there are any.

    Else the next run would have another key, and not know whether a secret has changed since.

    Raises:
        BusyError, StoreError: the store can't be written.
    """
    if _holders(loaded) and secrets_key.read(loaded.store) is None:
        with store.writing(loaded.store, timeout_seconds=RunOptions().lock_seconds) as opened:
            opened.secrets_key(loaded.new_key)


def saved_plan(made: Plan) -> SavedPlan:
    """A plan of `plan`, as a document that `apply` can be held to later."""
    loaded, here = cast("Loaded", made.origin), Path.cwd()
    return SavedPlan(loaded.request, here, _reviewed(loaded, made, here))


def _reviewed(loaded: Loaded, made: Plan, directory: Path) -> Reviewed:
    """What of a plan has to hold; paths of a project that may lie elsewhere count from a directory."""
    vms = loaded.manifest.vms.values()
    wanted = {StepId(step_id).owner for step_id in loaded.wanted}
    leases = {
        str(_vm(vm.name)): vm.network.address
        for vm in vms
        if vm.network.name and vm.network.address and _vm(vm.name) in wanted
    }
    found = epoch()
    return reviewed(
        made,
        leases,
        store=plan_file.shown_store(loaded.store, directory),
        epoch=str(int(found)) if found.is_set else "",
    )


def check_reviewed(loaded: Loaded, saved: SavedPlan, directory: Path, made: Plan) -> None:
    """See that a plan is the one that was saved.

    Args:
        loaded: what the plan was made from.
        saved: what was reviewed.
        directory: what its paths count from.
        made: the plan.

    Raises:
        StalePlanError: something moved since.
    """
    refuse_stale(saved.reviewed, _reviewed(loaded, made, directory), made)


def apply(
    wanted: Plan | Loaded,
    *,
    options: RunOptions | None = None,
    reporter: PlanReporter | None = None,
    check: Callable[[Plan], None] | None = None,
) -> Applied:
    """Bring the store to what the manifests declare.

    Args:
        wanted: a plan that was made by `plan`, of which exactly that is done; or a loaded manifest, which is
            planned first.
        options: how it is done; None: with all cores, and until the first failure.
        reporter: told what happens; None: nobody.
        check: called with the plan before anything is done; what it raises ends the run.

    Raises:
        StalePlanError: the plan no longer holds, and nothing was touched.
        UsageError, LockFileError, SourceError, ToolError: nothing was touched.
        BusyError: another writer did not let go of the store in time.
        StoreError: the store can't be written; what was published before stays whole.
        TypeError: `wanted` is neither a plan of `plan` nor a loaded manifest, or `options` or
            `reporter` are none.
    """
    check_type(wanted, (Loaded, Plan), "what `bangerbuild.load` or `bangerbuild.plan` gives")
    check_type(options, (RunOptions, NoneType), "RunOptions")
    chosen, telling = options or RunOptions(), Silent() if reporter is None else reporter
    check_reporter(telling)
    checks = [check] if check else []
    loaded = wanted if isinstance(wanted, Loaded) else wanted.origin
    if not isinstance(loaded, Loaded):
        raise TypeError("this plan was not made by `bangerbuild.plan`")
    if isinstance(wanted, Plan):
        seen = reviewed(wanted)
        checks.append(lambda made: refuse_stale(seen, reviewed(made), made))
    if checks and not loaded.store.exists():  # a plan that is refused makes no store
        made, _ = look(loaded, ask=True, previews=False, progress=telling.progressed)
        _check(made, checks)
    return _run(loaded, checks, chosen, telling)


def _check(made: Plan, checks: Iterable[Callable[[Plan], None]]) -> None:
    for check in checks:
        check(made)


def pull(
    loaded: Loaded,
    names: Sequence[str],
    *,
    options: RunOptions | None = None,
    reporter: PlanReporter | None = None,
) -> Applied:
    """Fetch images out of the caches that the manifest names; what no cache has is blocked, and not built.

    Args:
        loaded: the manifest.
        names: of images; empty: all.
        options: see `apply`.
        reporter: see `apply`.

    Raises:
        UsageError: an image is not declared, or the manifest names no cache.
    """
    if not loaded.manifest.cache.pull:
        raise UsageError("the manifest names no cache to pull from", hint=f"{CACHE_HINT}, under [cache]")
    wanted = of_images(loaded, names)
    telling = Silent() if reporter is None else reporter
    return _run(wanted, (), options or RunOptions(), telling, frozenset(wanted.request.targets))


def of_images(loaded: Loaded, names: Sequence[str]) -> Loaded:
    """What is loaded, for the artifacts of some images alone; of all where none is named.

    Raises:
        UsageError: one of them is not declared.
    """
    for name in names:
        _refuse_unknown_image(loaded.manifest, name)
    chosen = {f"image.{name}" for name in names or loaded.manifest.images}
    artifacts = graph.immutable(loaded.whole)
    targets = tuple(one for one in artifacts if StepId(one).owner in chosen)
    request = dataclasses.replace(loaded.request, targets=targets)
    return dataclasses.replace(loaded, request=request, wanted=graph.restrict(loaded.whole, targets))


def _run(
    loaded: Loaded,
    checks: Sequence[Callable[[Plan], None]],
    run: RunOptions,
    reporter: PlanReporter,
    only_fetched: frozenset[str] = frozenset(),
) -> Applied:
    """Plan while the store is held, and do it if nobody refuses it.

    `only_fetched` are the steps that are done, and only if a cache has what they make; none: all.
    """
    refuse_without_node(loaded)
    forced, basis = _forced(loaded), loaded.basis
    options = execute.ExecuteOptions(run.jobs, run.keep_going, epoch(), loaded.request.offline)
    with basis.recording():
        resolved = _resolved(loaded, reporter.progressed)
    cache = _cache(loaded, resolved)
    with store.writing(loaded.store, timeout_seconds=run.lock_seconds) as opened:
        with basis.recording():
            secrets = _secrets(loaded, lambda: opened.secrets_key(loaded.new_key))

        def planned() -> tuple[Plan, LocalHost]:
            with basis.recording():
                while True:
                    host = LocalHost(opened, options.epoch, Surveys(), secrets)
                    made = _planned(loaded, resolved, forced, opened, host, cache, previews=run.previews)
                    if not opened.lock(_owners(made)):  # else another writer may have done the work
                        return made, host

        made, host = planned()
        _check(made, checks)
        if cache is not None:
            made, host, fetched = _fetched(made, host, planned, cache, opened, reporter)
            options = dataclasses.replace(options, fetched=fetched)
        if only_fetched:
            made = _only_fetched(made, only_fetched)
        resolved.write()
        reporter.planned(made)
        for step_id, warning in cache.told() if cache else ():
            reporter.warned(step_id, warning)
        made_of = {StepId(action.id).owner for action in made.actions}
        opened.keep_origins(
            origins.of(made_of, loaded.manifest.origins, opened)
        )  # a killed run leaves VMs too
        _move(made, opened, host)
        results = execute.execute(made, opened, host, reporter, options)
        opened.mark((action.id for action in made.actions if action.verb is Verb.KEEP), destroyed=False)
        opened.make_current(
            (action.id, action.fingerprint) for action in made.actions if action.verb is Verb.KEEP
        )
        if not only_fetched:
            done = Done(made, results, partial(_startable, loaded, opened))
            basis.remember(loaded.request, loaded.manifest, resolved, done, opened)
        return Applied(made, results)


def _fetched(  # noqa: PLR0913, PLR0917  # the plan, how it is made again, and what fetching takes
    made: Plan,
    host: LocalHost,
    planned: Callable[[], tuple[Plan, LocalHost]],
    cache: RegistryCache,
    opened: Store,
    reporter: PlanReporter,
) -> tuple[Plan, LocalHost, dict[str, Fetched]]:
    """Fetch what the plan says. What fails is planned again: to be built, or to be fetched from elsewhere."""
    done: dict[str, Fetched] = {}
    while True:
        offered = {action.offer.reference: action for action in made.actions if action.offer}
        orders = [
            Order(action.offer, frozenset(ArtifactPath(path).file for path in action.artifacts))
            for reference, action in offered.items()
            if action.offer and reference not in done
        ]
        if not orders:
            found = {action.id: done[reference] for reference, action in offered.items()}
            return made, host, found
        brought = download.fetch_all(orders, cache, opened.stage, reporter.progressed)
        done |= brought
        if len(brought) < len(orders):
            made, host = planned()


def _only_fetched(made: Plan, targets: frozenset[str]) -> Plan:
    """The plan without what is not fetched; of the targets it says so."""
    facts: dict[str, Json] = {
        "message": "no cache has it as it is declared, with a digest in bangerbuild.lock",
        "hint": "`bangerbuild apply` builds it, `bangerbuild push` shares it",
    }
    why = (Reason(ReasonCode.WOULD_FAIL, facts),)
    actions = (
        action
        if action.verb in {Verb.KEEP, Verb.FETCH}
        else dataclasses.replace(action, verb=Verb.BLOCKED, reasons=why)
        for action in made.actions
    )
    kept = (one for one in actions if one.id in targets or one.verb is not Verb.BLOCKED)
    return dataclasses.replace(made, actions=tuple(kept))


def _startable(loaded: Loaded, opened: Store) -> dict[str, Any]:
    return launch.startable(graph.all_steps(loaded.wanted), Recorded(opened).as_input_of)


def lock(loaded: Loaded, upgrade: str | None, progress: Progress = unseen) -> Resolved:
    """Make the lock file, or move what is in it.

    Args:
        loaded: the manifest.
        upgrade: the image whose sources are asked again; empty: all; None: none.
        progress: told how far downloads are.

    Raises:
        UsageError, LockFileError: nothing was touched.
    """
    if upgrade:
        _refuse_unknown_image(loaded.manifest, upgrade)
    names = () if upgrade is None else (upgrade,) if upgrade else tuple(loaded.manifest.images)
    asking = Asking(loaded.store, epoch(), loaded.request.offline, progress)
    others = manifest.images_beside(loaded.manifest.files)
    choices = ResolveOptions(
        whole=True, upgrade=names, is_others=lambda name: others is None or name in others
    )
    resolved = resolve(loaded.manifest, choices, asking)
    resolved.write()
    return resolved


def strangers(loaded: Loaded, opened: Store) -> dict[str, str | None]:
    """See `origins.strangers`."""
    return origins.strangers(loaded.request.manifests, loaded.whole, opened)


def undeclared(loaded: Loaded, opened: Store) -> tuple[str, ...]:
    """See `origins.undeclared`; who asks for a part is told of that part."""
    if loaded.request.targets:
        return ()
    found = origins.undeclared(loaded.request.manifests, loaded.whole, opened)
    taken_over = to_be_renamed(loaded, opened)
    return tuple(owner for owner in found if owner not in taken_over)


def orphans(loaded: Loaded, opened: Store) -> dict[str, str]:
    """What a manifest declared that is not there any more, with the path of that one from here."""
    if loaded.request.targets:
        return {}
    taken_over = to_be_renamed(loaded, opened)
    found = origins.orphans(loaded.request.manifests, loaded.whole, opened)
    return {
        owner: os.path.relpath(opened.path / origin)
        for owner, origin in found.items()
        if owner not in taken_over
    }


def to_be_renamed(loaded: Loaded, opened: Store) -> frozenset[str]:
    """The VMs that a declared one, which is not there yet, takes over."""
    there = opened.vms
    vms = (vm for vm in loaded.manifest.vms.values() if vm.name not in there)
    return frozenset(_vm(old) for vm in vms for old in vm.renamed_from)


def _refuse_unknown_image(found: Manifest, name: str) -> None:
    """Refuse to upgrade an image that is not declared."""
    if name not in found.images:
        hint = near(name, found.images) or f"known: {', '.join(found.images)}"
        raise UsageError(f"no image is called '{name}'", hint=hint)


def recover(loaded: Loaded, opened: Store) -> Found:
    """What can be told of declared steps of which a store has no record; the store learns it.

    Raises:
        SourceError, FetchError, ToolError: a source that has to be asked gives no answer.
    """
    seconds = epoch()
    asking = Asking(loaded.store, seconds, loaded.request.offline, unseen, opened)
    resolved = resolve(loaded.manifest, ResolveOptions(), asking)
    secrets = _secrets(loaded, lambda: opened.secrets_key(loaded.new_key))
    host = LocalHost(opened, seconds, Surveys(), secrets)
    return recovering.recover(loaded.whole, opened, host, epoch=seconds, pins=resolved.pins)


def _owners(made: Plan) -> frozenset[str]:
    """The VMs and images of which something is to be done: `vm.web` for `vm.web.root`."""
    changing = (action.id for action in made.actions if action.verb not in {Verb.KEEP, Verb.BLOCKED})
    moved = (owner for names in made.moves.items() for owner in map(_vm, names))
    return frozenset((*(StepId(step_id).owner for step_id in changing), *moved))


def _vm(name: str) -> StepId:
    return StepId(f"vm.{name}")


def _move(made: Plan, opened: Store, host: LocalHost) -> None:
    """Give VMs their new names, before anything else is done to them.

    Raises:
        BusyError: a VM was started since the plan was made; nothing was done.
        StoreError: the store can't be written.
    """
    opened.forget_supposed()
    if not made.moves:
        return
    held = renames.find({new: (old,) for new, old in made.moves.items()}, opened, host).holders
    for new, holder in held.items():
        brief = f"'vm.{made.moves[new]}' is in use by {holder} now, and can't be renamed"
        raise BusyError(brief, hint="shut the VM down first")
    opened.move(made.moves)


def _forced(loaded: Loaded) -> frozenset[str]:
    """The ids of the steps that `replace` names."""
    for name in loaded.request.replace:
        if graph.is_pattern(name):
            raise UsageError(
                f"--replace {name} is a pattern", hint="name each of them: it discards what is in it"
            )
        if "." not in name:  # what is right for --target would discard everything here
            raise graph.without_table(loaded.whole, "--replace", name)
        _refuse_outside(loaded, name)
    return frozenset(
        step_id for name in loaded.request.replace for step_id in graph.matching(loaded.wanted, name)
    )


def _refuse_outside(loaded: Loaded, name: str) -> None:
    """Say so where something is declared, and is no part of what the targets need."""
    shares.refuse_elsewhere(loaded.manifest, "--replace", name)
    targets = loaded.request.targets
    if targets and not graph.matches(loaded.wanted, name) and graph.matches(loaded.whole, name):
        raise UsageError(
            f"--replace {name} is no part of --target {', '.join(targets)}", hint=f"--target {name} too"
        )


def _holders(loaded: Loaded) -> list[str]:
    """The names of the VMs that have secrets."""
    return [vm.name for vm in loaded.manifest.vms.values() if any(file.secret for file in vm.files)]


def _secrets(loaded: Loaded, key: Callable[[], bytes]) -> Secrets | None:
    """The secrets of the wanted steps, which are read now; the key is asked for only if there are any."""
    holders = _holders(loaded)
    if not holders:
        return None
    owners = {f"vm.{name}" for name in holders}
    patches = (step for step in graph.all_steps(loaded.wanted) if step.changes)
    sources = (source for step in patches if StepId(step.id).owner in owners for source in step.sources)
    wanted = [source.secret for source in sources if source.secret]
    return Secrets(key(), wanted) if wanted else None


def _cache(loaded: Loaded, resolved: Resolved) -> RegistryCache | None:
    """Where images are looked for that would have to be built; None: nowhere."""
    settings = loaded.manifest.cache
    if loaded.request.offline or not settings.pull:
        return None
    repositories = tuple(map(Repository.parse, settings.pull))
    return RegistryCache(repositories, settings.trust, resolved.before.built())


def _planned(  # noqa: PLR0913, PLR0917  # what is planned, and what is asked for it
    loaded: Loaded,
    resolved: Resolved,
    forced: frozenset[str],
    opened: Store,
    host: LocalHost,
    cache: RegistryCache | None = None,
    *,
    previews: bool,
) -> Plan:
    opened.forget_supposed()
    named = renames.find(_before(loaded), opened, host)
    opened.suppose_moved(named.moves)
    made = planner.make(
        loaded.wanted,
        opened,
        host,
        epoch=epoch(),
        pins=resolved.pins,
        forced=forced,
        previews=previews,
        renames=named,
        cache=cache,
    )
    left, lost = undeclared(loaded, opened), orphans(loaded, opened)
    nodes = {vm.name: vm.node for vm in loaded.manifest.vms.values() if vm.node}
    return dataclasses.replace(
        made,
        undeclared=left,
        orphans=lost,
        fleets=loaded.manifest.fleets,
        nodes=nodes,
        relocations=tuple(_relocations(loaded, opened, nodes)),
    )


def _relocations(loaded: Loaded, opened: Store, nodes: Mapping[str, str]) -> Iterator[Relocation]:
    """The VMs whose disks stay behind: those that move now, and those whose disks are in this store."""
    found = loaded.manifest
    for name, old in sorted(found.moved.items()):
        disks = (path for step in _disks_of(loaded, name) for path in step.outputs)
        if old != found.node:
            yield Relocation(name, old, nodes[name], tuple(disks), is_here=False)
    for name, new in sorted(shares.elsewhere(found).items()):
        if name not in opened.vms:
            continue
        records = (opened.records.get(step.id) for step in _disks_of(loaded, name))
        there = tuple(path for record in records if record for path in record.artifacts)
        if any(map(opened.may_exist, there)):
            yield Relocation(name, str(found.node), new, there, is_here=True)


def _disks_of(loaded: Loaded, vm: str) -> list[Step]:
    """The steps that make the disks of a VM."""
    names = graph.selected(loaded.whole, [_vm(vm)])
    return [
        step for name, step in loaded.whole.items() if name in names and step.exclusive and not step.changes
    ]


def _before(loaded: Loaded) -> dict[str, tuple[str, ...]]:
    """What the wanted VMs were called before."""
    named = {vm.name: vm.renamed_from for vm in loaded.manifest.vms.values() if vm.renamed_from}
    wanted = {StepId(step_id).owner for step_id in loaded.wanted} if named else set()
    return {name: before for name, before in named.items() if _vm(name) in wanted}
