"""What a plan means to do for the members of a fleet, drawn together where it is the same for many."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bangerbuild.model import StepId, Verb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from bangerbuild.model import Action

FEWEST = 2
"""As many members are drawn together."""
_WORD = re.compile(r"[a-z0-9_-]+")
"""As much as may be a name."""
_NUMBER = re.compile(r"[0-9]+")
_MOST_DIGITS = 18


@dataclass(frozen=True, eq=False)
class Group:
    """Members of a fleet for which the same is to be done."""

    fleet: str
    names: tuple[str, ...]
    """Of the members."""
    actions: tuple[Action, ...]
    """Those of the first of them."""

    @property
    def verb(self) -> Verb | None:
        """What is done about every step; None if not the same."""
        verbs = {action.verb for action in self.actions}
        return verbs.pop() if len(verbs) == 1 else None

    @property
    def members(self) -> str:
        """Who they are, in few words: `199 VMs (001-006, 008-200)`."""
        return f"{len(self.names)} VM{'' if len(self.names) == 1 else 's'} ({drawn_together(self.names)})"


def grouped(
    actions: Sequence[Action],
    fleets: Mapping[str, Sequence[str]],
    said: Callable[[Action], Sequence[str]],
) -> Iterator[Action | Group]:
    """The actions, those of members of fleets together where they say the same.

    Args:
        actions: those that are shown.
        fleets: the names of the members of each fleet.
        said: what is said of an action, but for whose it is.
    """
    if not fleets:
        yield from actions
        return
    fleet_of = {f"vm.{name}": fleet for fleet, names in fleets.items() for name in names}
    own: dict[str, list[Action]] = {}
    for action in actions:
        owner = str(StepId(action.id).owner)
        if owner in fleet_of:
            own.setdefault(owner, []).append(action)
    alike: dict[tuple[str, tuple[object, ...]], list[str]] = {}
    for owner, found in own.items():
        signature = tuple(_signature(action, owner, said(action)) for action in found)
        alike.setdefault((fleet_of[owner], signature), []).append(owner)
    first = {owners[0]: (fleet, owners) for (fleet, _), owners in alike.items() if len(owners) >= FEWEST}
    drawn = {owner for _, owners in first.values() for owner in owners}
    begun = set()
    for action in actions:
        owner = str(StepId(action.id).owner)
        if owner not in drawn:
            yield action
        elif owner in first and owner not in begun:
            begun.add(owner)
            fleet, owners = first[owner]
            yield Group(fleet, tuple(StepId(one).name for one in owners), tuple(own[owner]))


def _signature(action: Action, owner: str, said: Sequence[str]) -> tuple[object, ...]:
    """What has to be the same for two members to be drawn together."""
    return StepId(action.id).part, action.verb, action.in_use, *(_neutral(text, owner) for text in said)


def _neutral(text: str, owner: str) -> str:
    return nameless(text, StepId(owner).name)


def nameless(text: str, name: str) -> str:
    """A text about one member as it is about all of them: `*` for the name."""
    if name not in text:
        return text
    return _WORD.sub(lambda found: "*" if found[0] == name else found[0], text)


class Progress:
    """The steps of members of fleets that are done, until all of a group are: then they make one line.

    Args:
        actions: that are to be done.
        fleets: the names of the members of each fleet.
        said: what is said of an action, but for whose it is.
    """

    def __init__(
        self,
        actions: Sequence[Action],
        fleets: Mapping[str, Sequence[str]],
        said: Callable[[Action], Sequence[str]],
    ) -> None:
        self._groups: dict[str, Group] = {}
        self._open: dict[Group, int] = {}
        self._done: dict[Group, dict[str, None]] = {}
        for group in grouped(actions, fleets, said) if fleets else ():
            if isinstance(group, Group):
                self._groups |= {f"vm.{name}": group for name in group.names}
                self._open[group] = len(group.names) * len(group.actions)
                self._done[group] = {}

    def is_grouped(self, action: Action) -> bool:
        """Whether a line of the whole group comes later."""
        return StepId(action.id).owner in self._groups

    def finished(self, action: Action, *, is_done: bool) -> Group | None:
        """Note that a step has ended; the group, if it was the last of it."""
        owner = StepId(action.id).owner
        group = self._groups[owner]
        if is_done:
            self._done[group][owner.name] = None
        self._open[group] -= 1
        return self._closed(group) if not self._open[group] else None

    def left(self) -> Iterator[Group]:
        """The groups of which not every step has ended, with the members of which any has."""
        for group in [group for group, count in self._open.items() if count]:
            if (found := self._closed(group)) is not None:
                yield found

    def _closed(self, group: Group) -> Group | None:
        self._open[group] = 0
        names = self._done[group]
        return replace(group, names=tuple(name for name in group.names if name in names)) if names else None


def drawn_together(names: Sequence[str]) -> str:
    """Names in few words: `001-006, 008-200`, without what all of them begin with, up to their numbers."""
    split = [_at_number(name) for name in names]
    stems = {(stem, tail) for stem, number, tail in split}
    if len(stems) > 1 or any(not number for _, number, _ in split):
        return ", ".join(names)
    runs: list[list[str]] = []
    for number in sorted((number for _, number, _ in split), key=int):
        if runs and len(number) >= len(runs[-1][-1]) and int(number) == int(runs[-1][-1]) + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(run[0] if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _at_number(name: str) -> tuple[str, str, str]:
    found = list(_NUMBER.finditer(name))
    if not found or len(found[-1][0]) > _MOST_DIGITS:
        return name, "", ""
    return name[: found[-1].start()], found[-1][0], name[found[-1].end() :]
