"""Compare a reviewed plan with the plan of now, and refuse the reviewed one if they differ."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild.errors import StalePlanError, few
from bangerbuild.model import Verb

if TYPE_CHECKING:
    from bangerbuild.model import Action, Plan


def refuse_stale(reviewed: Plan, today: Plan) -> None:
    """Compare the plan that was seen with the one that would be made now.

    Writes of a guest to a disk that is kept change neither.

    Raises:
        StalePlanError: a step has another action, or would be made of something else.
    """
    before = {action.id: _decided(action) for action in reviewed.actions}
    now = {action.id: _decided(action) for action in today.actions}
    moved = [step_id for step_id in (before | now) if before.get(step_id) != now.get(step_id)]
    if moved:
        raise StalePlanError(
            f"the plan no longer holds: {few(moved)}",
            details="\n".join(_moved(step_id, before, now) for step_id in moved),
            hint="make the plan again",
        )


def _decided(action: Action) -> tuple[str, str]:
    """What is done: whether something is built or fetched makes no difference to what is there then."""
    verb = Verb.CREATE if action.verb is Verb.FETCH else action.verb
    return verb.value, action.fingerprint


def _moved(step_id: str, before: dict[str, tuple[str, str]], now: dict[str, tuple[str, str]]) -> str:
    old, new = (found.get(step_id, ("not there", ""))[0] for found in (before, now))
    return f"{step_id}: {old} -> {new}" if old != new else f"{step_id}: {old}, of something else"
