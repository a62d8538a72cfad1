"""Which part of what is declared is one node's: its VMs, the networks that they join, and their images.

What is placed on other nodes is declared all the same, and so never undeclared.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bangerbuild import graph
from bangerbuild.declared import ALL_NODES
from bangerbuild.errors import UsageError, few
from bangerbuild.model import StepId
from bangerbuild.neighbours import near

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from bangerbuild.declared import Manifest
    from bangerbuild.graph import Graph


def seen_from(found: Manifest, node: str | None) -> Manifest:
    """The manifest with the node whose share is wanted; unchanged for all nodes, or where none is named.

    Raises:
        UsageError: there is no such node.
    """
    if node is None:
        return found
    if not found.nodes:
        hint = f"leave it out, or declare [node.{node}] and the others"
        raise UsageError(f"--node {node}, but the manifest declares no nodes", hint=hint)
    if node == ALL_NODES:
        return found
    if node not in found.nodes:
        hint = (
            near(node, found.nodes) or f"known: {few(sorted(found.nodes), 'nodes')}; or declare [node.{node}]"
        )
        raise UsageError(f"no node is called '{node}'", hint=hint)
    return replace(found, node=node)


def refuse_unnamed(found: Manifest, node: str | None) -> None:
    """Refuse to go on where there are nodes and it is not said which of them is meant.

    Raises:
        UsageError: that is so.
    """
    if found.nodes and node is None:
        known = few(sorted(found.nodes), "nodes")
        raise UsageError(
            "the manifest declares nodes, and it is not said which of them is meant",
            hint=f"--node NAME does the share of one ({known}), "
            f"--node {ALL_NODES} that of all of them, in one store, and --cluster has each do its own",
        )


def wanted(found: Manifest, whole: Graph, asked: Sequence[str], targets: Sequence[str]) -> Graph:
    """The steps that are wanted: of one node, of the targets, of both, or all.

    Args:
        found: the manifest, with the node whose share it is.
        whole: all that is declared.
        asked: the targets, as they were asked for.
        targets: the same, with fleets replaced by their members.

    Raises:
        UsageError: a target names nothing, or what is placed on another node.
    """
    if found.node is None:
        return graph.restrict(whole, targets) if targets else whole
    own = graph.restrict(whole, list(_owners(found, whole)))
    if not targets:
        return own
    for name in asked:
        refuse_elsewhere(found, "--target", name)
    named = graph.selected(whole, targets)
    here = {one for one in named if one in own or StepId(one).table == "image"}
    if not here:
        given = " ".join(f"--target {name}" for name in asked)
        raise UsageError(f"{given}: nothing of that is on node '{found.node}'", hint="`bangerbuild show`")
    return graph.with_needed(whole, here)


def refuse_elsewhere(found: Manifest, option: str, name: str) -> None:
    """Refuse a VM, or a step of one, that is named and placed on another node.

    Raises:
        UsageError: that is so.
    """
    step_id = StepId(name)
    node = elsewhere(found).get(step_id.name) if step_id.table == "vm" else None
    if node is not None:
        raise UsageError(f"{option} {name}: vm.{step_id.name} is on node '{node}'", hint=f"--node {node}")


def elsewhere(found: Manifest) -> dict[str, str]:
    """The VMs that are placed on other nodes than the one whose share is wanted, with these."""
    if found.node is None:
        return {}
    return {vm.name: vm.node for vm in found.vms.values() if vm.node and vm.node != found.node}


def states(found: Manifest, whole: Collection[str], own: Collection[str]) -> dict[str, str]:
    """What is declared and is no part of the node's share, with what to call it."""
    there = elsewhere(found)
    owners = {StepId(one).owner for one in whole} - {StepId(one).owner for one in own}
    return {
        owner: f"on node {there[owner.name]}" if owner.table == "vm" else "unneeded here"
        for owner in owners
        if owner.table != "vm" or owner.name in there
    }


def _owners(found: Manifest, whole: Graph) -> Iterator[str]:
    """The VMs of a node, and the networks that they join, as far as they have steps."""
    known = {StepId(step_id).owner for step_id in whole}
    here = [vm for vm in found.vms.values() if vm.node == found.node]
    yield from (f"vm.{vm.name}" for vm in here)
    networks = dict.fromkeys(StepId(f"network.{vm.network.name}") for vm in here if vm.network.name)
    yield from (network for network in networks if network in known)
