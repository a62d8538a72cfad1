"""Nodes, and what VMs say of where they may be: what can't be meant is told with its line and a way out."""

from __future__ import annotations

import pytest

from bangerbuild.declared import Node
from tests.manifest.loading import loaded, problems_of

HEAD = """image.ci.rootfs.tar = "root.tar"
[node.a]
vcpus = 4
memory = "8GiB"
disk = "1TiB"
labels = ["ssd", "rack=1"]
[node.b]
labels = ["gpu"]
[defaults]
image = "ci"
"""


def test_what_a_node_has_is_read_and_what_it_does_not_say_is_unlimited() -> None:
    found = loaded(HEAD).nodes
    assert found == {
        "a": Node("a", 4, 8 << 30, 1 << 40, ("ssd", "rack=1")),
        "b": Node("b", labels=("gpu",)),
    }


@pytest.mark.parametrize(
    ("text", "key", "message", "hint"),
    [
        ('[vm.x]\nnode = "c"', "vm.x.node", "unknown node 'c'", "define it in [node.c]"),
        (
            '[vm.x]\nnode = "b"\nplacement.labels = ["ssd"]',
            "vm.x.placement",
            "both node and placement are given",
            "leave out one of the two",
        ),
        (
            '[vm.x]\nplacement = { labels = ["sd"] }',
            "vm.x.placement.labels",
            "no node has the label 'sd'",
            "did you mean 'ssd'?",
        ),
        (
            '[vm.x]\nplacement = { labels = ["ssd", "gpu"] }',
            "vm.x.placement.labels",
            "no node has all of the labels 'ssd', 'gpu'",
            "ask for fewer, or give them to one node",
        ),
        (
            "[node.all]",
            "node.all",
            "a node can't be called 'all': --node all means all of them",
            "rename it",
        ),
        ("[node.c]\ncpus = 4", "node.c.cpus", "unknown key 'cpus'", "did you mean 'vcpus'?"),
        (
            "[node.c]\nmemory = 0",
            "node.c.memory",
            'memory is 0: give a number of bytes or a size such as "2GiB"',
            None,
        ),
    ],
)
def test_what_can_not_be_meant_is_told_with_a_way_out(
    text: str, key: str, message: str, hint: str | None
) -> None:
    (problem,) = problems_of(f"{HEAD}{text}\n")
    assert (problem.file, problem.key, problem.message, problem.hint) == ("vm.toml", key, message, hint)
    assert problem.line > HEAD.count("\n")


def test_a_name_that_is_nearly_a_nodes_is_asked_for() -> None:
    (problem,) = problems_of(HEAD.replace("node.b", "node.rack-1") + '[vm.x]\nnode = "rack1"\n')
    assert problem.hint == "did you mean 'rack-1'?"


def test_a_node_that_is_named_where_there_are_none_is_told() -> None:
    text = 'image.ci.rootfs.tar = "root.tar"\n[vm.x]\nimage = "ci"\n'
    (problem,) = problems_of(text + 'node = "a"\n')
    assert problem.message == "unknown node 'a'"
    (problem,) = problems_of(text + 'placement.labels = ["ssd"]\n')
    assert problem.message == "placement is given, but there are no nodes"


def test_what_a_vm_says_wins_over_what_the_defaults_say() -> None:
    defaults = HEAD + 'placement.labels = ["ssd"]\n'
    found = loaded(defaults + '[vm.x]\n[vm.y]\nnode = "b"\n[vm.z]\nplacement.labels = ["gpu"]\n')
    assert {vm.name: vm.node for vm in found.vms.values()} == {"x": "a", "y": "b", "z": "b"}
    found = loaded(HEAD + 'node = "b"\n[vm.x]\n[vm.y]\nplacement.labels = ["ssd"]\n')
    assert {vm.name: vm.node for vm in found.vms.values()} == {"x": "b", "y": "a"}


def test_members_of_a_fleet_may_name_their_nodes_by_a_template() -> None:
    fleet = '[fleet.r]\nnames = "r{1..2}"\nvm.node = "{{ \'ab\'[index - 1] }}"\n'
    assert {vm.name: vm.node for vm in loaded(HEAD + fleet).vms.values()} == {"r1": "a", "r2": "b"}
