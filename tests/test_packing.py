"""Placement: what has a place keeps it, nothing goes over capacity, and a placement that exists is found.

Small cases are compared with trying every way to place the VMs.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from bangerbuild.packing import UNLIMITED, Amounts, Capacity, Demand, Packed, pack

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from random import Random

NAMES = ("a", "b", "c")


def node(name: str, vcpus: float = UNLIMITED, memory: float = UNLIMITED, disk: float = UNLIMITED) -> Capacity:
    return Capacity(name, Amounts(vcpus, memory, disk))


def vm(
    name: str,
    memory: int,
    *,
    vcpus: int = 1,
    disk: int = 0,
    nodes: Sequence[str] = NAMES,
    pinned: str | None = None,
    held: str | None = None,
) -> Demand:
    there = (pinned,) if pinned else nodes
    return Demand(name, Amounts(vcpus, memory, disk), frozenset(there), pinned, held)


def test_the_largest_goes_first_and_each_where_the_largest_share_of_memory_is_free() -> None:
    nodes = [node("small", memory=8), node("large", memory=32)]
    both = ("small", "large")
    packed = pack(nodes, [vm("one", 4, nodes=both), vm("two", 12, nodes=both), vm("three", 2, nodes=both)])
    # two: both are wholly free, the first by name; one: small is; three: large has 20 of 32, small 4 of 8
    assert packed.places == {"two": "large", "one": "small", "three": "large"}


def test_nodes_that_give_no_memory_share_the_vms() -> None:
    packed = pack([node("a"), node("b")], [vm(f"v{number}", 1) for number in range(4)])
    assert packed.places == {"v0": "a", "v1": "b", "v2": "a", "v3": "b"}


def test_each_amount_counts() -> None:
    nodes = [node("a", vcpus=4, memory=100, disk=10), node("b", vcpus=8, memory=10, disk=100)]
    packed = pack(nodes, [vm("disks", 1, disk=50), vm("memory", 50), vm("cpus", 1, vcpus=6)])
    assert packed.places == {"disks": "b", "memory": "a", "cpus": "b"}


def test_what_is_pinned_is_placed_before_what_stays_and_that_before_what_is_new() -> None:
    nodes = [node("a", memory=10), node("b", memory=10)]
    both = ("a", "b")
    vms = [
        vm("new", 5, nodes=both),
        vm("stays", 6, nodes=both, held="a"),
        vm("goes", 7, nodes=both, held="a"),
        vm("pinned", 3, pinned="a"),
    ]
    packed = pack(nodes, vms)
    assert {name: packed.places[name] for name in ("pinned", "stays", "goes")} == {
        "pinned": "a",
        "stays": "a",
        "goes": "b",
    }
    assert [one.name for one in packed.homeless] == ["new"]
    assert packed.free["b"].memory_bytes == 3


def test_a_node_that_is_pinned_over_its_capacity_shows_by_what_is_free() -> None:
    packed = pack([node("a", memory=4)], [vm("x", 3, pinned="a"), vm("y", 3, pinned="a")])
    assert packed.free["a"].memory_bytes == -2


def test_a_placement_that_the_rule_alone_misses_is_found() -> None:
    nodes = [node("a", memory=10), node("b", memory=10)]
    sizes = {"v1": 5, "v2": 4, "v3": 4, "v4": 4, "v5": 3}
    packed = pack(nodes, [vm(name, size, nodes=("a", "b")) for name, size in sizes.items()])
    assert [one.name for one in packed.homeless] != []  # 20 are needed and 20 are there, but in no two halves
    sizes["v5"] = 2
    packed = pack(nodes, [vm(name, size, nodes=("a", "b")) for name, size in sizes.items()])
    assert len(packed.places) == 5


def test_the_search_ends_where_there_is_no_placement() -> None:
    nodes = [node(name, memory=100) for name in NAMES]
    packed = pack(nodes, [vm(f"v{number:02}", 20 + number) for number in range(14)])
    assert packed.homeless


# --- small cases, against trying everything


sizes = st.integers(min_value=1, max_value=6)
choices = st.sets(st.sampled_from(NAMES), min_size=1).map(sorted)
capacities = st.builds(
    lambda memory, vcpus: {name: (one, two) for name, one, two in zip(NAMES, memory, vcpus, strict=True)},
    st.tuples(*[st.integers(min_value=3, max_value=10)] * 3),
    st.tuples(*[st.integers(min_value=3, max_value=10)] * 3),
)
wishes = st.lists(st.tuples(sizes, sizes, choices), max_size=6)


def nodes_of(given: Mapping[str, tuple[int, int]]) -> list[Capacity]:
    return [node(name, vcpus=vcpus, memory=memory) for name, (memory, vcpus) in given.items()]


def vms_of(asked: Sequence[tuple[int, int, Sequence[str]]]) -> list[Demand]:
    return [vm(f"v{at}", memory, vcpus=vcpus, nodes=where) for at, (memory, vcpus, where) in enumerate(asked)]


def with_places(vms: Sequence[Demand], places: Mapping[str, str]) -> list[Demand]:
    return [Demand(one.name, one.amounts, one.nodes, None, places.get(one.name)) for one in vms]


def is_within(nodes: Sequence[Capacity], vms: Sequence[Demand], places: Mapping[str, str]) -> bool:
    for one in nodes:
        there = [demand.amounts for demand in vms if places.get(demand.name) == one.name]
        total = Amounts(*(sum(column) for column in zip(*there, strict=True))) if there else Amounts(0, 0, 0)
        if not total.fits_in(one.amounts):
            return False
    return all(places[one.name] in one.nodes for one in vms if one.name in places)


def exists(nodes: Sequence[Capacity], vms: Sequence[Demand], fixed: Mapping[str, str]) -> bool:
    """Whether there is a placement in which what is fixed is where it is, tried one after the other."""
    asked = [[fixed[one.name]] if one.name in fixed else sorted(one.nodes) for one in vms]
    names = [one.name for one in vms]
    return any(is_within(nodes, vms, dict(zip(names, where, strict=True))) for where in product(*asked))


@settings(max_examples=150)
@given(capacities, wishes)
def test_a_placement_is_found_if_there_is_one_and_never_goes_over_capacity(
    given_nodes: dict[str, tuple[int, int]], asked: list[tuple[int, int, list[str]]]
) -> None:
    nodes, vms = nodes_of(given_nodes), vms_of(asked)
    packed = pack(nodes, vms)
    assert is_within(nodes, vms, packed.places)
    assert (not packed.homeless) == exists(nodes, vms, {})
    assert packed.places.keys() | {one.name for one in packed.homeless} == {one.name for one in vms}


@settings(max_examples=100)
@given(capacities, wishes, st.randoms())
def test_the_order_of_declaration_does_not_matter(
    given_nodes: dict[str, tuple[int, int]],
    asked: list[tuple[int, int, list[str]]],
    random: Random,
) -> None:
    nodes, vms = nodes_of(given_nodes), vms_of(asked)
    packed = pack(nodes, vms)
    random.shuffle(nodes)
    random.shuffle(vms)
    again = pack(nodes, vms)
    assert (again.places, again.homeless) == (packed.places, packed.homeless)


@settings(max_examples=100)
@given(capacities, wishes, st.tuples(sizes, sizes))
def test_a_new_node_moves_nothing(
    given_nodes: dict[str, tuple[int, int]],
    asked: list[tuple[int, int, list[str]]],
    more: tuple[int, int],
) -> None:
    nodes, vms = nodes_of(given_nodes), vms_of(asked)
    before = pack(nodes, vms)
    if before.homeless:
        return
    wider = [Demand(one.name, one.amounts, one.nodes | {"0"}, None, one.held) for one in vms]
    after = pack([*nodes, node("0", *more)], with_places(wider, before.places))
    assert after.places == before.places


@settings(max_examples=150)
@given(capacities, wishes, st.sampled_from(NAMES))
def test_a_node_that_is_gone_moves_only_its_vms_and_all_of_them_where_that_can_be_done(
    given_nodes: dict[str, tuple[int, int]], asked: list[tuple[int, int, list[str]]], gone: str
) -> None:
    nodes, vms = nodes_of(given_nodes), vms_of(asked)
    before = pack(nodes, vms)
    if before.homeless:
        return
    left = [one for one in nodes if one.name != gone]
    narrower = [Demand(one.name, one.amounts, one.nodes - {gone}) for one in vms]
    after = pack(left, with_places(narrower, before.places))
    stay = {name: where for name, where in before.places.items() if where != gone}
    assert {name: after.places[name] for name in stay} == stay
    assert is_within(left, narrower, after.places)
    assert (not after.homeless) == exists(left, narrower, stay)


@settings(max_examples=150)
@given(capacities, wishes, st.tuples(sizes, sizes), st.integers(min_value=0, max_value=5))
def test_a_vm_that_grew_moves_vms_of_its_own_node_alone(
    given_nodes: dict[str, tuple[int, int]],
    asked: list[tuple[int, int, list[str]]],
    grown: tuple[int, int],
    at: int,
) -> None:
    nodes, vms = nodes_of(given_nodes), vms_of(asked)
    before = pack(nodes, vms)
    if before.homeless or at >= len(vms):
        return
    changed = list(vms)
    changed[at] = Demand(vms[at].name, Amounts(*grown, 0), vms[at].nodes)
    after = pack(nodes, with_places(changed, before.places))
    own = before.places[vms[at].name]
    stay = {name: where for name, where in before.places.items() if where != own}
    assert {name: after.places.get(name) for name in stay} == stay
    assert is_within(nodes, changed, after.places)
    assert (not after.homeless) == exists(nodes, changed, stay)


def test_thousands_of_vms_are_placed_on_a_hundred_nodes() -> None:
    nodes = [node(f"n{number:03}", memory=1000, vcpus=400) for number in range(100)]
    names = tuple(one.name for one in nodes)
    packed: Packed = pack(nodes, [vm(f"v{number}", 1 + number % 9, nodes=names) for number in range(5000)])
    assert not packed.homeless
    assert len(packed.places) == 5000
