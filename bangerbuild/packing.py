"""Which VM goes on which node: bin packing that never takes from a VM the place it has. Pure.

The rule, in this order:

1. A VM that names its node goes there.
2. A VM that has a place keeps it, as long as the node is one that it may go to and has room.
3. Each other VM, the largest first, goes to the node with the largest free share of memory, then by name.

Where that leaves a VM without a place, all ways to place the VMs of 3 are searched, within bounds. A node
that is too small for the VMs that it has keeps the smallest, so that the fewest move; those that it has are
searched too, if that does not lead to a placement. What is decided depends on names and amounts alone, never
on the order in which VMs and nodes are given.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

MOST_STEPS = 20_000
"""So often is a VM tried on a node before the search is given up: after a second or so."""
MOST_SEARCHED = 200
"""Of more VMs, no other ways than that of 3 are tried."""
_WHOLE = 1 << 128
"""A share of 1, as a whole number: fine enough that two shares of sizes below 2^60 differ if they do."""


class Amounts(NamedTuple):
    """What a VM needs, or what is free on a node."""

    vcpus: float
    memory_bytes: float
    disk_bytes: float

    def fits_in(self, free: Amounts) -> bool:
        """Whether there is as much of each."""
        return (
            self.vcpus <= free.vcpus
            and self.memory_bytes <= free.memory_bytes
            and (self.disk_bytes <= free.disk_bytes)
        )

    def without(self, taken: Amounts) -> Amounts:
        """What is left."""
        return Amounts(*(own - other for own, other in zip(self, taken, strict=True)))

    def plus(self, given: Amounts) -> Amounts:
        """Both together."""
        return Amounts(*(own + other for own, other in zip(self, given, strict=True)))


UNLIMITED = float("inf")


@dataclass(frozen=True)
class Capacity:
    """A node: what it has, `UNLIMITED` where it does not say."""

    name: str
    amounts: Amounts


@dataclass(frozen=True)
class Demand:
    """A VM: what it needs, and where it may go."""

    name: str
    amounts: Amounts
    nodes: frozenset[str]
    """The nodes that it may go to; one that is not there is none."""
    pinned: str | None = None
    """The one that it names."""
    held: str | None = None
    """The one that it has been on."""

    @property
    def rank(self) -> tuple[float, float, float, str]:
        """Sorts the largest first, then by name."""
        amounts = self.amounts
        return -amounts.memory_bytes, -amounts.disk_bytes, -amounts.vcpus, self.name


@dataclass(frozen=True)
class Packed:
    """What came of it."""

    places: Mapping[str, str]
    """The node of each VM that has one."""
    homeless: tuple[Demand, ...] = ()
    """The VMs that no node has room for, the largest first."""
    free: Mapping[str, Amounts] = field(default_factory=dict)
    """What is left on each node; below 0 where VMs that name their node need more than it has."""


def pack(nodes: Iterable[Capacity], demands: Iterable[Demand]) -> Packed:
    """Place every VM, or as many as there is room for."""
    ordered = sorted(demands, key=lambda one: one.rank)
    room = _Room(sorted(nodes, key=lambda one: one.name))
    contested, waiting = _settle(room, ordered)
    if not waiting:
        return room.packed()
    greedy = room.copy()
    homeless = tuple(one for one in waiting if not greedy.put_anywhere(one))
    if homeless:
        return _searched(room, waiting, contested) or greedy.packed(homeless)
    return greedy.packed()


def _settle(room: _Room, ordered: Sequence[Demand]) -> tuple[tuple[Demand, ...], tuple[Demand, ...]]:
    """Put what is pinned and what stays; the VMs of nodes that are too small, and those to be placed."""
    for one in ordered:
        if one.pinned is not None:
            room.put(one, one.pinned)
    held: dict[str, list[Demand]] = {}
    waiting = []
    for one in ordered:
        if one.pinned is None and one.held in one.nodes and one.held in room.free:
            held.setdefault(str(one.held), []).append(one)
        elif one.pinned is None:
            waiting.append(one)
    contested: list[Demand] = []
    for node, there in held.items():
        moving = [one for one in reversed(there) if not room.put_if_it_fits(one, node)]
        contested += there if moving else ()
        waiting += moving
    return tuple(contested), tuple(sorted(waiting, key=lambda one: one.rank))


def _searched(room: _Room, waiting: Sequence[Demand], contested: Sequence[Demand]) -> Packed | None:
    """A placement found by search: of those that wait, then of all VMs of nodes that are too small too."""
    search = _Search(room)
    if search.run(waiting):
        return search.room.packed()
    if not contested:
        return None
    moving = room.copy()
    for one in contested:
        moving.take_away(one)
    again = _Search(moving)
    everyone = sorted({one.name: one for one in (*waiting, *contested)}.values(), key=lambda one: one.rank)
    return again.room.packed() if again.run(everyone) else None


class _Room:
    """The nodes with what is free on each, and who is where."""

    def __init__(self, nodes: Sequence[Capacity]) -> None:
        self.capacities = {one.name: one.amounts for one in nodes}
        self.free = dict(self.capacities)
        self.places: dict[str, str] = {}
        self._used_bytes: dict[str, float] = dict.fromkeys(self.capacities, 0)
        """Of memory."""
        self._by_share: list[tuple[float, float, str]] = [(0, 0, one.name) for one in nodes]

    def copy(self) -> _Room:
        """One that can be filled without changing this one."""
        made = _Room(())
        made.capacities = self.capacities
        made.free, made.places = dict(self.free), dict(self.places)
        made._used_bytes, made._by_share = dict(self._used_bytes), list(self._by_share)
        return made

    def preferred(self) -> list[str]:
        """The nodes, the one with the largest free share of memory first."""
        return [name for _, _, name in self._by_share]

    def put(self, one: Demand, node: str) -> None:
        """Place a VM, whether or not there is room."""
        self._change(node, self.free[node].without(one.amounts), one.amounts.memory_bytes)
        self.places[one.name] = node

    def put_if_it_fits(self, one: Demand, node: str) -> bool:
        """Place a VM if there is room."""
        if not one.amounts.fits_in(self.free[node]):
            return False
        self.put(one, node)
        return True

    def put_anywhere(self, one: Demand) -> bool:
        """Place a VM on the node that is preferred among those that have room."""
        return any(node in one.nodes and self.put_if_it_fits(one, node) for node in self.preferred())

    def take_away(self, one: Demand) -> None:
        """Undo `put`; nothing if it has no place."""
        node = self.places.pop(one.name, None)
        if node is not None:
            self._change(node, self.free[node].plus(one.amounts), -one.amounts.memory_bytes)

    def packed(self, homeless: tuple[Demand, ...] = ()) -> Packed:
        """As a value."""
        return Packed(self.places, homeless, self.free)

    def _change(self, node: str, free: Amounts, used_bytes: float) -> None:
        self._by_share.remove(self._share(node))
        self.free[node] = free
        self._used_bytes[node] += used_bytes
        insort(self._by_share, self._share(node))

    def _share(self, node: str) -> tuple[float, float, str]:
        """Sorts the nodes: by the share of memory that is used; where that is unlimited, by how much is."""
        capacity, used = self.capacities[node].memory_bytes, self._used_bytes[node]
        return (0, used, node) if capacity == UNLIMITED else (int(used) * _WHOLE // int(capacity), 0, node)


class _Search:
    """Tries every way to place VMs, the preferred first; what can't work is not tried twice."""

    def __init__(self, room: _Room) -> None:
        self.room = room.copy()  # with what was found once `run` is true
        self._steps = 0
        self._failed: set[tuple[int, tuple[Amounts, ...]]] = set()

    def run(self, demands: Sequence[Demand]) -> bool:
        """Place all of them; False: there is no way, or none was found in time."""
        if len(demands) > MOST_SEARCHED or any(not self._choices(one) for one in demands):
            return False
        return self._place(demands, 0)

    def _place(self, demands: Sequence[Demand], index: int) -> bool:
        if index == len(demands):
            return True
        state = index, tuple(self.room.free.values())
        if state in self._failed:
            return False
        one = demands[index]
        for node in self._choices(one):
            self._steps += 1
            if self._steps > MOST_STEPS:
                return False
            self.room.put(one, node)
            if self._place(demands, index + 1):
                return True
            self.room.take_away(one)
        self._failed.add(state)
        return False

    def _choices(self, one: Demand) -> list[str]:
        """The nodes that have room for a VM: its own first, then as preferred."""
        fitting = (node for node in self.room.preferred() if node in one.nodes)
        found = [node for node in fitting if one.amounts.fits_in(self.room.free[node])]
        return sorted(found, key=lambda node: node != one.held)
