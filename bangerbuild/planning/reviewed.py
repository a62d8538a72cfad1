"""Compare a reviewed plan with the plan of now, and refuse the reviewed one if they differ."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bangerbuild.errors import StalePlanError, few
from bangerbuild.model import Verb
from bangerbuild.model.fingerprint import differences, tool_differences

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bangerbuild.model import Action, Plan, Reason, Recipe, Step

    Names = Mapping[str, str]

_NAMING = ("key", "path", "id", "guest", "tool")
"""The facts of a reason that say what has changed."""
_NOTHING: Names = {}


@dataclass(frozen=True)
class Decided:
    """What was decided about one step."""

    verb: Verb
    fingerprint: str
    recipe: Recipe | None = None
    """What it will be made of; None where nothing is made."""


@dataclass(frozen=True)
class Reviewed:
    """All of a plan that has to hold when it is done."""

    actions: Mapping[str, Decided]
    pins: Names = field(default_factory=dict)
    """What sources stand for that lie elsewhere: digests by the ids of their steps."""
    leases: Names = field(default_factory=dict)
    """The addresses of VMs that share a network, by `vm.NAME`."""
    moves: Names = field(default_factory=dict)
    """The VMs that are renamed: the old names by the new ones."""
    store: str = ""
    """Its directory, as far as that counts."""
    epoch: str = ""
    """SOURCE_DATE_EPOCH; empty if it is not set."""


def reviewed(plan: Plan, leases: Names = _NOTHING, *, store: str = "", epoch: str = "") -> Reviewed:
    """What of a plan has to hold when it is done."""
    actions = {
        action.id: Decided(
            action.verb,
            action.fingerprint,
            None if action.verb in {Verb.KEEP, Verb.BLOCKED} else action.recipe,
        )
        for action in plan.actions
    }
    pins = {action.id: action.pin.digest for action in plan.actions if action.pin}
    return Reviewed(actions, pins, leases, dict(plan.moves), store, epoch)


def refuse_stale(before: Reviewed, now: Reviewed, plan: Plan) -> None:
    """Compare the plan that was seen with the one that would be made now.

    Writes of a guest to a disk that is kept change neither.

    Args:
        before: what was seen.
        now: what would be done.
        plan: the plan that this is of.

    Raises:
        StalePlanError: a step has another action, or would be made of something else; or a lease, or what
            a source stands for, is another one.
    """
    moved = dict(_moved(before, now, plan))
    if moved:
        raise StalePlanError(
            f"the plan no longer holds: {few(list(moved))}",
            details="\n".join(f"{name}: {what}" for name, what in moved.items()),
            hint="make the plan again",
        )


def _moved(before: Reviewed, now: Reviewed, plan: Plan) -> Iterator[tuple[str, str]]:
    """What moved, each with what it was and what it is."""
    if before.store != now.store:
        yield "the store", f"{before.store} -> {now.store}"
    if before.epoch != now.epoch:
        yield "SOURCE_DATE_EPOCH", f"{before.epoch or 'not set'} -> {now.epoch or 'not set'}"
    yield from _unequal("the pin of ", before.pins, now.pins)
    yield from _unequal("the lease of ", before.leases, now.leases)
    yield from _unequal("the old name of vm.", before.moves, now.moves)
    today = {action.id: action for action in plan.actions}
    for step_id in dict.fromkeys((*before.actions, *now.actions)):
        old, new = before.actions.get(step_id), now.actions.get(step_id)
        if old is None or new is None:
            yield step_id, f"{old.verb if old else 'not there'} -> {new.verb if new else 'not there'}"
        elif _done(old) is not _done(new):
            yield step_id, f"{old.verb} -> {new.verb}{_named(today[step_id].reasons)}"
        elif old.fingerprint != new.fingerprint:
            yield step_id, f"{old.verb}, of something else{_named(_changes(old, today[step_id]))}"


def _done(decided: Decided) -> Verb:
    """What is done: whether something is built or fetched makes no difference to what is there then."""
    return Verb.CREATE if decided.verb is Verb.FETCH else decided.verb


def _unequal(what: str, before: Names, now: Names) -> Iterator[tuple[str, str]]:
    for name in sorted(before.keys() | now.keys()):
        old, new = before.get(name, "none"), now.get(name, "none")
        if old != new:
            yield f"{what}{name}", f"{old} -> {new}"


def _changes(old: Decided, today: Action) -> tuple[Reason, ...]:
    if old.recipe is None:
        return ()
    written = _written(today.step)
    return (*differences(old.recipe, today.recipe, written), *tool_differences(old.recipe, today.recipe))


def _written(step: Step) -> dict[str, str]:
    return {source.role: source.written for source in step.sources}


def _named(reasons: tuple[Reason, ...]) -> str:
    """What reasons are about, in brackets: `(network.dns, site)`."""
    names = dict.fromkeys(
        next((str(reason.facts[fact]) for fact in _NAMING if fact in reason.facts), reason.code.value)
        for reason in reasons
    )
    return f" ({few(list(names))})" if names else ""
