"""What is said of many VMs in the same words, and takes more than a line, is said once."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from bangerbuild.errors import few
from bangerbuild.model import StepId
from bangerbuild.report.fleets import nameless

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from bangerbuild.model import Action

FEWEST = 3
"""So many are drawn together: of two both are shown."""


class Alike:
    """Steps of several VMs of which the same is said, but for whose they are.

    Args:
        actions: all that are shown.
        said: the lines about one, without its id.
    """

    def __init__(self, actions: Iterable[Action], said: Callable[[Action], Sequence[str]]) -> None:
        alike: defaultdict[tuple[str, ...], list[Action]] = defaultdict(list)
        for action in actions:
            owner = StepId(action.id).owner
            lines = said(action) if owner.table == "vm" else ()
            if len(lines) > 1:
                neutral = (nameless(line, owner.name) for line in lines)
                alike[StepId(action.id).part, *neutral].append(action)
        self._first: dict[str, str] = {}
        """By the id of the first of each: who the others are."""
        self._others: set[str] = set()
        for first, *others in alike.values():
            if len(others) + 1 >= FEWEST:
                self._first[first.id] = _named(others)
                self._others.update(action.id for action in others)

    def is_told(self, action: Action) -> bool:
        """Whether it is said with another step."""
        return action.id in self._others

    def more(self, action: Action) -> Iterator[str]:
        """The line that stands for the others, below what is said of the first."""
        if action.id in self._first:
            yield f"          the same for {self._first[action.id]}"


def _named(actions: Sequence[Action]) -> str:
    return f"{len(actions)} more VMs: {few([StepId(action.id).owner for action in actions])}"
