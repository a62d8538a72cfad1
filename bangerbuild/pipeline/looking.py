"""A plan, and the store that it is made for."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from bangerbuild import graph, shares, store
from bangerbuild.cache_registry.lookup import RegistryCache
from bangerbuild.cache_registry.repository import Repository
from bangerbuild.errors import BangerError, UsageError
from bangerbuild.model import Plan, StepId, unseen
from bangerbuild.model.arguments import check_type
from bangerbuild.model.request import epoch
from bangerbuild.pipeline.belonging import orphans, relocations, undeclared, vm_id
from bangerbuild.pipeline.loading import Loaded, refuse_without_node
from bangerbuild.planning import plan as planner
from bangerbuild.planning import renames
from bangerbuild.planning.host import LocalHost, Surveys
from bangerbuild.planning.secrets import Secrets
from bangerbuild.resolving import lockfile
from bangerbuild.resolving.pins import ResolveOptions
from bangerbuild.resolving.resolve import Asking, resolve
from bangerbuild.sources.source import PIN_FACT
from bangerbuild.store import secrets_key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from bangerbuild.model import Pin, Progress
    from bangerbuild.resolving.resolve import Resolved
    from bangerbuild.store import Store


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
    forced = forced_ids(loaded)
    resolved = resolve_wanted(loaded, progress, ask=ask)
    opened = store.read(loaded.store)
    secrets = secrets_of(loaded, lambda: secrets_key.read(loaded.store) or loaded.new_key)
    host = LocalHost(opened, epoch(), Surveys(), secrets)
    cache = cache_of(loaded, resolved) if ask else None
    return make_plan(loaded, resolved, forced, opened, host, cache, previews=previews), opened


def look_leniently(
    loaded: Loaded, warn: Callable[[str], None], *, previews: bool = False, renames_vms: bool = True
) -> tuple[Plan, Store]:
    """A plan that is only to be looked at, and its store.

    No source is asked what it stands for: one that was never built counts as changed. One that can't be read
    is taken to be as it was. `previews` says whether to look into guests for what would change there, as far
    as that can be told without secrets; `renames_vms` whether VMs have the names that they are to get.
    """
    refuse_without_node(loaded)
    opened, seconds = store.read(loaded.store), epoch()
    host = LocalHost(opened, seconds, Surveys())
    named = renames.find(_before(loaded), opened, host) if renames_vms else None
    opened.suppose_moved(named.moves if named else {})
    plan = planner.make(
        loaded.wanted,
        opened,
        host,
        epoch=seconds,
        pins=_pins_as_far_as_known(loaded, warn),
        previews=previews,
        renames=named,
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
        return resolve_wanted(loaded, unseen, ask=False).pins
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
    return resolve_wanted(loaded, unseen, ask=False).pins


def resolve_wanted(loaded: Loaded, progress: Progress, *, ask: bool = True) -> Resolved:
    """What the sources that are needed stand for."""
    request = loaded.request
    options = ResolveOptions(
        needed=loaded.wanted.__contains__, locked=request.locked, ask=ask, upgrade=request.upgrade
    )
    return resolve(loaded.manifest, options, Asking(loaded.store, epoch(), request.offline, progress))


def forced_ids(loaded: Loaded) -> frozenset[str]:
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


def holders_of_secrets(loaded: Loaded) -> list[str]:
    """The names of the VMs that have secrets."""
    return [vm.name for vm in loaded.manifest.vms.values() if any(file.secret for file in vm.files)]


def secrets_of(loaded: Loaded, key: Callable[[], bytes]) -> Secrets | None:
    """The secrets of the wanted steps, which are read now; the key is asked for only if there are any."""
    holders = holders_of_secrets(loaded)
    if not holders:
        return None
    owners = {f"vm.{name}" for name in holders}
    patches = (step for step in graph.all_steps(loaded.wanted) if step.changes)
    sources = (source for step in patches if StepId(step.id).owner in owners for source in step.sources)
    wanted = [source.secret for source in sources if source.secret]
    return Secrets(key(), wanted) if wanted else None


def cache_of(loaded: Loaded, resolved: Resolved) -> RegistryCache | None:
    """Where images are looked for that would have to be built; None: nowhere."""
    settings = loaded.manifest.cache
    if loaded.request.offline or not settings.pull:
        return None
    repositories = tuple(map(Repository.parse, settings.pull))
    return RegistryCache(repositories, settings.trust, resolved.before.built())


def make_plan(  # noqa: PLR0913, PLR0917  # what is planned, and what is asked for it
    loaded: Loaded,
    resolved: Resolved,
    forced: frozenset[str],
    opened: Store,
    host: LocalHost,
    cache: RegistryCache | None = None,
    *,
    previews: bool,
) -> Plan:
    """A plan of what is wanted, with what the manifests say beside it.

    Args:
        loaded: what is declared.
        resolved: what the sources stand for.
        forced: the steps that are made anew, whatever is in them.
        opened: the store.
        host: reads the files that count.
        cache: where images are looked for; None: nowhere.
        previews: whether the plan says what would change in guests.
    """
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
        relocations=tuple(relocations(loaded, opened, nodes)),
    )


def _before(loaded: Loaded) -> dict[str, tuple[str, ...]]:
    """What the wanted VMs were called before."""
    named = {vm.name: vm.renamed_from for vm in loaded.manifest.vms.values() if vm.renamed_from}
    wanted = {StepId(step_id).owner for step_id in loaded.wanted} if named else set()
    return {name: before for name, before in named.items() if vm_id(name) in wanted}
