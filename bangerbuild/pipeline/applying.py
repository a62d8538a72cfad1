"""A plan, executed while its store is held."""

from __future__ import annotations

import dataclasses
from contextlib import ExitStack
from functools import partial
from types import NoneType
from typing import TYPE_CHECKING, Any, NamedTuple

from bangerbuild import execute, graph, store
from bangerbuild.cache_registry import download
from bangerbuild.cache_registry.download import Order
from bangerbuild.errors import BusyError, UsageError
from bangerbuild.model import ArtifactPath, Plan, Reason, ReasonCode, Silent, StepId, Verb, phase
from bangerbuild.model.arguments import check_reporter, check_type
from bangerbuild.model.request import RunOptions, epoch
from bangerbuild.pipeline.belonging import vm_id
from bangerbuild.pipeline.loading import Loaded, of_images, refuse_without_node
from bangerbuild.pipeline.looking import cache_of, forced_ids, look, make_plan, resolve_wanted, secrets_of
from bangerbuild.planning import origins, renames
from bangerbuild.planning.host import LocalHost, Surveys
from bangerbuild.planning.recorded import Recorded
from bangerbuild.planning.reviewed import refuse_stale, reviewed
from bangerbuild.steps import startable
from bangerbuild.uptodate.basis import Done

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from bangerbuild.cache_registry.lookup import RegistryCache
    from bangerbuild.model import Json, PlanReporter, Result
    from bangerbuild.model.image_cache import Fetched
    from bangerbuild.store import Store


CACHE_HINT = 'write pull = ["docker://registry.example/team/images"]'
"""How a manifest names a cache."""


class Applied(NamedTuple):
    """What was done: the plan, and how each of its actions ended, in the plan's order."""

    plan: Plan
    results: tuple[Result, ...]


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
        with phase(telling, "plan"):
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
    forced, basis = forced_ids(loaded), loaded.basis
    options = execute.ExecuteOptions(run.jobs, run.keep_going, epoch(), loaded.request.offline)
    with basis.recording(), phase(reporter, "resolve"):
        resolved = resolve_wanted(loaded, reporter.progressed)
    cache = cache_of(loaded, resolved)
    with ExitStack() as held:
        with phase(reporter, "lock"):
            opened = held.enter_context(store.writing(loaded.store, timeout_seconds=run.lock_seconds))
        with basis.recording():
            secrets = secrets_of(loaded, lambda: opened.secrets_key(loaded.new_key))

        def planned() -> tuple[Plan, LocalHost]:
            with basis.recording(), phase(reporter, "plan"):
                while True:
                    host = LocalHost(opened, options.epoch, Surveys(), secrets)
                    made = make_plan(loaded, resolved, forced, opened, host, cache, previews=run.previews)
                    with phase(reporter, "lock"):
                        was_taken = opened.lock(_owners(made))
                    if not was_taken:  # else another writer may have done the work
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
        opened.keep_origins(origins.of(made_of, loaded.manifest.origins, opened))  # a killed run leaves VMs
        _move(made, opened, host)
        with phase(reporter, "execute"):
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
        with phase(reporter, "fetch"):
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
    return dict(startable.plain(graph.all_steps(loaded.wanted), Recorded(opened), opened.settled_ledgers))


def _owners(made: Plan) -> frozenset[str]:
    """The VMs and images of which something is to be done: `vm.web` for `vm.web.root`."""
    changing = (action.id for action in made.actions if action.verb not in {Verb.KEEP, Verb.BLOCKED})
    moved = (owner for names in made.moves.items() for owner in map(vm_id, names))
    return frozenset((*(StepId(step_id).owner for step_id in changing), *moved))


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
