"""What is left of one layer, kept in as little memory as it can be: a byte for most of its members."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class SurvivingPaths:
    """The paths that the members of a layer's tarball have in the end, each in the order it was told."""

    def __init__(self) -> None:
        self._own = bytearray()
        """By the member: 1 where its own path comes first."""
        self._others: defaultdict[int, list[str]] = defaultdict(list)
        """Those that come after it, or all of them."""
        self.count = 0
        """Of the members that are left."""

    def add(self, member: int, path: str, *, is_own: bool) -> None:
        """A further path of a member; `is_own`: it is what the member itself says."""
        is_first = not (self._has_own(member) or member in self._others)
        self.count += is_first
        if is_own and is_first:
            self._own.extend(bytes(max(0, member + 1 - len(self._own))))
            self._own[member] = 1
        else:
            self._others[member].append(path)

    def paths(self, member: int, own: str) -> Sequence[str]:
        """All paths of a member, whose own is `own`; none if nothing is left of it."""
        others = self._others.get(member, ())
        return (own, *others) if self._has_own(member) else others

    def _has_own(self, member: int) -> bool:
        return member < len(self._own) and bool(self._own[member])
