"""What is said of a plan, row by row, for every form that a plan is shown in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bangerbuild.errors import printable
from bangerbuild.model import StepId, Verb
from bangerbuild.report import group_name, grouped_actions, is_one_line, reason, way_out
from bangerbuild.report.fleets import Group, nameless

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.model import Action, FileDiff, Plan


@dataclass(frozen=True)
class Row:
    """What is said of one step, or of one part of each VM of a fleet for which the same is done."""

    name: str
    verb: Verb
    owner: StepId
    """The VM, image or network; of several VMs the first."""
    steps: int = 1
    """How many steps it stands for."""
    members: str = ""
    """Which VMs it stands for, if several: `199 VMs (001-006, 008-200)`."""
    in_use: bool = False
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    way_out: str | None = None
    """Of a blocked step."""
    diffs: tuple[FileDiff, ...] = ()


def rows(plan: Plan, *, in_full: bool = False, diffs: bool = True) -> Iterator[Row]:
    """The rows of a plan, in its order.

    Args:
        plan: the plan.
        in_full: kept steps too, and each VM of a fleet by itself.
        diffs: what patches would change in guests, too.
    """
    for one in grouped_actions(plan, in_full=in_full, diffs=diffs):
        if isinstance(one, Group):
            yield from _of_group(one, diffs=diffs)
        else:
            yield _of_action(one, diffs=diffs)


def _of_action(action: Action, *, diffs: bool) -> Row:
    return Row(
        name=action.id,
        verb=action.verb,
        owner=StepId(action.id).owner,
        in_use=action.in_use,
        reasons=tuple(map(reason, action.reasons)),
        notes=tuple(map(printable, action.notes)),
        warnings=tuple(map(printable, action.warnings)),
        way_out=way_out(action),
        diffs=action.diffs if diffs else (),
    )


def _of_group(group: Group, *, diffs: bool) -> Iterator[Row]:
    if is_one_line(group):
        warnings = dict.fromkeys(printable(text) for action in group.actions for text in action.warnings)
        yield Row(
            name=f"fleet.{group.fleet}",
            verb=Verb.CREATE,
            owner=StepId(group.actions[0].id).owner,
            steps=len(group.names) * len(group.actions),
            members=group.members,
            warnings=tuple(nameless(text, group.names[0]) for text in warnings),
        )
        return
    for action in group.actions:
        yield _of_members(_of_action(action, diffs=diffs), group, action)


def _of_members(row: Row, group: Group, action: Action) -> Row:
    """What is said of one member, as it is about all of them."""

    def about_all(texts: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(nameless(text, group.names[0]) for text in texts)

    return Row(
        name=group_name(group, action),
        verb=row.verb,
        owner=row.owner,
        steps=len(group.names),
        members=group.members,
        in_use=row.in_use,
        reasons=about_all(row.reasons),
        notes=about_all(row.notes),
        warnings=about_all(row.warnings),
        way_out=row.way_out and nameless(row.way_out, group.names[0]),
        diffs=row.diffs,
    )
