"""The graph of steps as text, in the languages of Graphviz and Mermaid, and as JSON.

Many VMs with the same steps are drawn once, or a picture of 200 of them is too high for any screen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bangerbuild import graph as graphs
from bangerbuild.errors import few
from bangerbuild.model import StepId
from bangerbuild.report.fleets import nameless

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from bangerbuild.graph import Graph
    from bangerbuild.model import Json, Step

FEWEST = 9
"""So many VMs with the same steps are drawn as one; fewer can be looked at."""


@dataclass(frozen=True)
class Node:
    """A step, or that of several VMs, by the first of them."""

    id: str
    kind: str
    needs: tuple[str, ...]
    count: int = 1

    @property
    def title(self) -> str:
        """How it is called: `vm.v1.root (200 VMs)`."""
        return self.id if self.count == 1 else f"{self.id} ({self.count} VMs)"


def nodes(graph: Graph, *, in_full: bool = False) -> tuple[list[Node], dict[str, list[str]]]:
    """What is drawn, in topological order; and who else is meant, by the first of VMs with the same steps."""
    steps = graphs.ordered(graph)
    others = {} if in_full else _alike(steps)
    drawn_as = {other: first for first, more in others.items() for other in more}
    found = []
    for step in steps:
        owner = StepId(step.id).owner
        if owner not in drawn_as:
            needs = tuple(dict.fromkeys(_as_drawn(needed, drawn_as) for needed in step.inputs))
            found.append(Node(step.id, step.kind, needs, 1 + len(others.get(owner, ()))))
    return found, others


def _alike(steps: Sequence[Step]) -> dict[str, list[str]]:
    """The other VMs with the same steps, by the first of them."""
    shapes: dict[str, list[object]] = {}
    for step in steps:
        owner = StepId(step.id).owner
        if owner.table == "vm":
            needs = tuple(nameless(needed, owner.name) for needed in step.inputs)
            shapes.setdefault(owner, []).append((StepId(step.id).part, step.kind, needs))
    alike: dict[tuple[object, ...], list[str]] = {}
    for name, shape in shapes.items():
        alike.setdefault(tuple(shape), []).append(name)
    return {first: others for first, *others in alike.values() if len(others) + 1 >= FEWEST}


def _as_drawn(step_id: str, drawn_as: Mapping[str, str]) -> str:
    owner = StepId(step_id).owner
    return drawn_as.get(owner, owner) + step_id.removeprefix(owner)


def _legend(others: Mapping[str, Sequence[str]], mark: str) -> Iterator[str]:
    """Which VMs are meant by those that are drawn."""
    for first, more in others.items():
        yield f"{mark}{first} stands for {len(more) + 1} VMs with the same steps: {few([first, *more])}\n"


def to_text(graph: Graph, *, in_full: bool = False) -> str:
    """One line per step with its inputs."""
    drawn, others = nodes(graph, in_full=in_full)
    width = max((len(node.title) for node in drawn), default=0)
    lines = (
        f"{node.title:<{width}}  <- {', '.join(node.needs)}\n" if node.needs else f"{node.title}\n"
        for node in drawn
    )
    return "".join((*lines, *_legend(others, "")))


def to_dot(graph: Graph, *, in_full: bool = False) -> str:
    """The graph in the DOT language of Graphviz."""
    drawn, others = nodes(graph, in_full=in_full)
    boxes = (f'  "{node.id}" [label="{node.title}\\n{node.kind}"];\n' for node in drawn)
    edges = (f'  "{needed}" -> "{node.id}";\n' for node in drawn for needed in node.needs)
    head = "digraph bangerbuild {\n  rankdir=LR;\n  node [shape=box];\n"
    return "".join((head, *boxes, *edges, *_legend(others, "  // "), "}\n"))


def to_mermaid(graph: Graph, *, in_full: bool = False) -> str:
    """The graph in the Mermaid language, which Markdown viewers render."""
    drawn, others = nodes(graph, in_full=in_full)
    number = {node.id: f"s{index}" for index, node in enumerate(drawn)}
    boxes = (f'  {number[node.id]}["{node.title}"]\n' for node in drawn)
    edges = (f"  {number[needed]} --> {number[node.id]}\n" for node in drawn for needed in node.needs)
    return "".join(("graph LR\n", *boxes, *edges, *_legend(others, "  %% ")))


def to_json(graph: Graph) -> dict[str, Json]:
    """The graph as JSON, every step, in topological order."""
    return {
        "format": 1,
        "steps": [
            {"id": step.id, "kind": step.kind, "needs": list(step.inputs), "artifacts": list(step.outputs)}
            for step in graphs.ordered(graph)
        ],
    }


RENDERERS: Mapping[str, Callable[..., str]] = {"text": to_text, "dot": to_dot, "mermaid": to_mermaid}
