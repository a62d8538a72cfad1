"""`[node.NAME]`: the machines that VMs run on, and what a VM says of where it may be."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bangerbuild.declared import ALL_NODES, Node
from bangerbuild.errors import few
from bangerbuild.manifest.files import Location
from bangerbuild.manifest.merge import has
from bangerbuild.manifest.values import parse_size
from bangerbuild.neighbours import near

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bangerbuild.manifest.files import ManifestFile, Table
    from bangerbuild.manifest.merge import MergedVM
    from bangerbuild.manifest.problems import Findings

NODE, PLACEMENT = "node", "placement"


def nodes(documents: Sequence[ManifestFile], findings: Findings) -> dict[str, Node]:
    """The nodes of all files."""
    found = {}
    for document in documents:
        for name, table in document.tree.get("node", {}).items():
            found[name] = _node(name, table, Location(document, ("node", name)), findings)
    return found


def _node(name: str, table: Table, place: Location, findings: Findings) -> Node:
    if name == ALL_NODES:
        message = f"a node can't be called '{name}': --node {name} means all of them"
        findings.add(place, message, "rename it")

    def size(key: str) -> int | None:
        return findings.attempt(place / key, parse_size, table[key], None) if key in table else None

    labels = tuple(dict.fromkeys(table.get("labels", ())))
    return Node(name, table.get("vcpus"), size("memory"), size("disk"), labels)


@dataclass(frozen=True)
class Wish:
    """Where a VM may be."""

    pinned: str | None = None
    """The node that it names."""
    nodes: frozenset[str] = frozenset()
    """The nodes that it may be on."""


@dataclass
class Wishes:
    """Reads where VMs may be; what can't be meant is a problem.

    Args:
        found: the nodes.
        names: of all nodes, those too that the schema refuses.
        findings: takes the problems.
    """

    found: Mapping[str, Node]
    names: frozenset[str]
    findings: Findings
    _fitting: dict[tuple[str, ...], frozenset[str]] = field(default_factory=dict)

    def of(self, vm: MergedVM) -> Wish | None:
        """Where a VM may be; None: it has a problem.

        Of `node` and `placement`, what a layer says wins over what the layers below it say.
        """
        says = [
            (NODE in layer.table, PLACEMENT in layer.table)
            for layer in reversed(vm.layers)
            if has(layer.table, (NODE,)) or has(layer.table, (PLACEMENT,))
        ]
        if any(vm.is_refused(key) for key in (NODE, PLACEMENT)):
            return None
        by_name, by_labels = says[0] if says else (False, False)
        if by_name and by_labels:
            message = "both node and placement are given"
            self.findings.add(vm.place(PLACEMENT), message, "leave out one of the two")
            return None
        return self._named(vm) if by_name else self._labelled(vm, is_said=by_labels)

    def _named(self, vm: MergedVM) -> Wish | None:
        name = vm.get(NODE, None)
        if name in self.found:
            return Wish(name, frozenset((name,)))
        if name is not None and name not in self.names:
            hint = near(name, self.names) or f"define it in [node.{name}]"
            self.findings.add(vm.place(NODE), f"unknown node '{name}'", hint)
        return None

    def _labelled(self, vm: MergedVM, *, is_said: bool) -> Wish | None:
        if is_said and not self.names:
            hint = "define one in [node.NAME], or leave it out"
            self.findings.add(vm.place(PLACEMENT), "placement is given, but there are no nodes", hint)
            return None
        wanted = tuple(vm.table(PLACEMENT).get("labels", ())) if is_said else ()
        fitting = self._having(wanted)
        if wanted and not fitting:
            message, hint = self._no_node_has(wanted)
            self.findings.add(vm.place(PLACEMENT, "labels"), message, hint)
            return None
        return Wish(None, fitting)

    def _having(self, wanted: tuple[str, ...]) -> frozenset[str]:
        """The nodes that have these labels."""
        if wanted not in self._fitting:
            having = (node.name for node in self.found.values() if {*wanted} <= {*node.labels})
            self._fitting[wanted] = frozenset(having)
        return self._fitting[wanted]

    def _no_node_has(self, wanted: tuple[str, ...]) -> tuple[str, str]:
        known = sorted({label for node in self.found.values() for label in node.labels})
        strange = [label for label in wanted if label not in known]
        shown = ", ".join(f"'{label}'" for label in wanted)
        if strange:
            hint = near(strange[0], known) or (f"known: {few(known)}" if known else "give labels to a node")
            return f"no node has the label '{strange[0]}'", hint
        return f"no node has all of the labels {shown}", "ask for fewer, or give them to one node"


def where_capacity_is(name: str, key: str, documents: Sequence[ManifestFile]) -> Location:
    """Where a node says how much it has of something."""
    defining = (document for document in documents if name in document.tree.get("node", {}))
    return Location(next(defining), ("node", name, key))


def names(documents: Sequence[ManifestFile]) -> frozenset[str]:
    """The names of all nodes, those too that the schema refuses."""
    return frozenset(name for document in documents for name in document.names["node"])


def are_known(documents: Sequence[ManifestFile]) -> bool:
    """Whether the schema has found no fault with any node, so that what they have can be told."""
    return not any(document.is_refused_below(("node",)) for document in documents)
