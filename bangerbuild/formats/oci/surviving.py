"""The paths that the members of one layer have in the merged tree.

Stored compactly: most members keep only their own path, which takes one byte.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class SurvivingPaths:
    """The surviving paths of a layer's members, each member's in the order they were added."""

    def __init__(self) -> None:
        self._own = bytearray()
        """By member number: 1 if its own path survives and was added first."""
        self._others: defaultdict[int, list[str]] = defaultdict(list)
        """By member number: the other paths."""
        self.count = 0
        """The number of members with a surviving path."""

    def add(self, member: int, path: str, *, is_own: bool) -> None:
        """Add a path of a member; `is_own`: it is the member's own path."""
        is_first = not (self._has_own(member) or member in self._others)
        self.count += is_first
        if is_own and is_first:
            self._own.extend(bytes(max(0, member + 1 - len(self._own))))
            self._own[member] = 1
        else:
            self._others[member].append(path)

    def paths(self, member: int, own: str) -> Sequence[str]:
        """All paths of a member whose own path is `own`; empty if none survives."""
        others = self._others.get(member, ())
        return (own, *others) if self._has_own(member) else others

    def _has_own(self, member: int) -> bool:
        return member < len(self._own) and bool(self._own[member])
