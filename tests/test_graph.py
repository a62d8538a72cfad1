"""The graph: what it refuses, its order, and names that users type."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild import graph
from bangerbuild.errors import GraphError, UsageError
from tests.fakes import FakeStep

VM = (
    FakeStep("image.deb.rootfs", outputs=("images/deb/{fingerprint}/rootfs.ext4",)),
    FakeStep("vm.web.root", inputs=("image.deb.rootfs",), outputs=("vms/web/root.cow",)),
    FakeStep("vm.web.root.patch", inputs=("vm.web.root",), changes="vm.web.root"),
    FakeStep("vm.db.root", inputs=("image.deb.rootfs",), outputs=("vms/db/root.cow",)),
    FakeStep("image.deb.work_seed@16GiB", outputs=("images/deb/{fingerprint}/work-seed@16GiB.ext4",)),
)


def ids(steps: list[FakeStep] | tuple[FakeStep, ...]) -> list[str]:
    return [step.id for step in graph.ordered(graph.build(steps))]


def error(*steps: FakeStep) -> str:
    with pytest.raises(GraphError) as caught:
        graph.build(steps)
    return caught.value.brief


def test_an_input_that_no_step_makes_is_named_with_who_needs_it() -> None:
    assert error(FakeStep("a", inputs=("b",))) == "step 'a' needs 'b', which no step makes"


def test_two_steps_with_one_id_are_refused() -> None:
    assert error(FakeStep("a"), FakeStep("a", text="other")) == "two steps are called 'a'"


def test_an_output_made_twice_is_named_with_both_makers() -> None:
    assert error(FakeStep("a", outputs=("x",)), FakeStep("b", outputs=("y", "x"))) == (
        "'x' is made by both 'a' and 'b'"
    )


def test_a_cycle_is_told_as_a_path_that_comes_back_to_its_start() -> None:
    steps = (FakeStep("a", ("c",)), FakeStep("b", ("a",)), FakeStep("c", ("b",)), FakeStep("d", ("a",)))
    assert error(*steps) == "steps need each other in a circle: a -> b -> c -> a"


def test_a_step_that_needs_itself_is_a_cycle() -> None:
    assert error(FakeStep("a", ("a",))) == "steps need each other in a circle: a -> a"


def test_no_steps_make_an_empty_graph() -> None:
    assert graph.ordered(graph.build([])) == []


def test_inputs_may_be_declared_after_who_needs_them() -> None:
    assert ids(VM[::-1]) == [
        "image.deb.work_seed@16GiB",
        "image.deb.rootfs",
        "vm.db.root",
        "vm.web.root",
        "vm.web.root.patch",
    ]


def test_the_order_is_that_of_declaration_where_the_graph_leaves_a_choice() -> None:
    assert ids(VM) == [step.id for step in VM]
    assert ids((FakeStep("b"), FakeStep("a"), FakeStep("c"))) == ["b", "a", "c"]


@st.composite
def acyclic_steps(draw: st.DrawFn) -> list[FakeStep]:
    """Steps that need only earlier ones, in any order of declaration."""
    number = draw(st.integers(1, 8))
    steps = [
        FakeStep(f"s{index}", tuple(f"s{needed}" for needed in draw(st.sets(st.integers(0, index - 1)))))
        if index
        else FakeStep("s0")
        for index in range(number)
    ]
    return draw(st.permutations(steps))


@given(acyclic_steps())
def test_every_step_comes_after_all_it_needs_and_only_once(steps: list[FakeStep]) -> None:
    order = ids(steps)
    assert sorted(order) == sorted(step.id for step in steps)
    assert all(order.index(needed) < order.index(step.id) for step in steps for needed in step.inputs)


@given(acyclic_steps())
def test_the_same_declaration_gives_the_same_order(steps: list[FakeStep]) -> None:
    assert ids(steps) == ids(list(steps))


@pytest.mark.parametrize(
    ("name", "matched"),
    [
        ("vm.web.root.patch", ["vm.web.root.patch"]),
        ("vm.web.root", ["vm.web.root", "vm.web.root.patch"]),
        ("vm.web", ["vm.web.root", "vm.web.root.patch"]),
        ("vm", ["vm.web.root", "vm.web.root.patch", "vm.db.root"]),
        ("image.deb.work_seed", ["image.deb.work_seed@16GiB"]),
    ],
)
def test_a_name_stands_for_a_step_and_all_below_it(name: str, matched: list[str]) -> None:
    assert graph.matching(graph.build(VM), name) == matched


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("vm.wbe", "did you mean 'vm.web'?"),
        ("vm.web.rot", "did you mean 'vm.web.root'?"),
        ("vm.we", "did you mean 'vm.web'?"),  # a name is never a mere beginning of another
        ("web", "did you mean 'vm.web'?"),  # rather than the step that is nearest
        ("zzz", "`bangerbuild graph` lists the steps"),
        ("", "`bangerbuild graph` lists the steps"),
    ],
)
def test_a_name_that_stands_for_nothing_is_answered_with_its_neighbour(name: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        graph.matching(graph.build(VM), name)
    assert (caught.value.brief, caught.value.hint) == (f"no step is called '{name}'", hint)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("vm", "--replace vm.NAME"),
        ("web", "--replace vm.web"),
        ("small", "--replace image.small"),
        ("zzz", "`bangerbuild graph` lists the steps"),
        ("", "`bangerbuild graph` lists the steps"),
    ],
)
def test_a_name_without_its_table_is_answered_with_what_can_be_meant(name: str, hint: str) -> None:
    error = graph.without_table(["image.small.rootfs", "vm.web.root", "image.web.rootfs"], "--replace", name)
    assert (error.brief, error.hint) == (f"--replace {name} names no VM, image or step", hint)


def test_restricting_brings_what_the_targets_need_and_nothing_else() -> None:
    part = graph.restrict(graph.build(VM), ["vm.web.root"])
    assert [step.id for step in graph.ordered(part)] == [
        "image.deb.rootfs",
        "vm.web.root",
        "vm.web.root.patch",
    ]


def test_restricting_to_several_targets_is_their_union() -> None:
    part = graph.restrict(graph.build(VM), ["vm.db", "image.deb.work_seed"])
    assert [step.id for step in graph.ordered(part)] == [
        "image.deb.rootfs",
        "vm.db.root",
        "image.deb.work_seed@16GiB",
    ]


def test_restricting_leaves_the_whole_graph_as_it_was() -> None:
    whole = graph.build(VM)
    graph.restrict(whole, ["vm.db"])
    assert [step.id for step in graph.ordered(whole)] == [step.id for step in VM]
