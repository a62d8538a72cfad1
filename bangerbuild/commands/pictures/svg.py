"""The graph as an SVG picture, drawn by Graphviz, with what is the same for members of a fleet drawn once."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from bangerbuild.errors import BangerError, ToolError
from bangerbuild.host import process
from bangerbuild.host.process import Command
from bangerbuild.model import StepId

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bangerbuild.graph import Graph

_SECONDS = 120
_MOST_BYTES = 64 << 20
_HINT = "bangerbuild graph --format html shows graphs of any size; or draw a part: --target vm.NAME"


def svg(graph: Graph, fleets: Mapping[str, Sequence[str]]) -> str:
    """The picture.

    Raises:
        ToolError: Graphviz is not installed, or failed.
    """
    process.find("dot")
    with tempfile.TemporaryDirectory(prefix="bangerbuild-") as directory:
        source = Path(directory) / "graph.dot"
        source.write_text(folded_dot(graph, fleets))
        command = Command(
            ("dot", "-Tsvg", str(source)),
            timeout_seconds=_SECONDS,
            output_bytes=_MOST_BYTES,
            label="dot -Tsvg",
        )
        try:
            return process.printed(command).decode()
        except BangerError as err:
            raise ToolError(err.brief, details=err.details, hint=_HINT) from err


def folded_dot(graph: Graph, fleets: Mapping[str, Sequence[str]]) -> str:
    """The graph in the DOT language; the VMs of a fleet are one, and its label says how many they are."""
    fleet_of = {f"vm.{name}": fleet for fleet, names in fleets.items() for name in names}

    def folded(step_id: str) -> str:
        fleet = fleet_of.get(StepId(step_id).owner)
        return f"fleet.{fleet}.{StepId(step_id).part}" if fleet else step_id

    counts: dict[str, int] = {}
    kinds: dict[str, str] = {}
    edges: dict[tuple[str, str], None] = {}
    for step_id, step in graph.items():
        name = folded(step_id)
        counts[name] = counts.get(name, 0) + 1
        kinds[name] = step.kind
        edges |= dict.fromkeys((folded(needed), name) for needed in step.inputs)
    nodes = (
        f'  "{name}" [label="{name}\\n{kinds[name]}{f", {count} VMs" if count > 1 else ""}"];\n'
        for name, count in counts.items()
    )
    lines = (f'  "{needed}" -> "{name}";\n' for needed, name in edges)
    return f"digraph bangerbuild {{\n{_STYLE}{''.join((*nodes, *lines))}}}\n"


_STYLE = """\
  rankdir=LR;
  bgcolor="transparent";
  node [shape=box, style="rounded,filled", fillcolor="#eef2f7", color="#64748b"];
  node [fontname="sans-serif", fontsize=11];
  edge [color="#64748b"];
"""
