"""Build and check the dependency graph of steps, and select parts of it. Does no I/O.

A graph is a table of steps by their ids, in the order of their declaration. An edge leads from an input to
the step that reads it, and from a step to one that waits for it. The later step names it, and it is kept
nowhere else: what networkx keeps for an edge takes more memory than the step.
"""

from __future__ import annotations

import fnmatch
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, cast

from bangerbuild.errors import GraphError, UsageError
from bangerbuild.model import StepId
from bangerbuild.neighbours import near, nearest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from typing import TypeAlias

    import networkx as nx

    from bangerbuild.model import Record, Step

    Graph: TypeAlias = Mapping[str, Step]


_LIST_HINT = "`bangerbuild graph` lists the steps"


def build(steps: Iterable[Step]) -> Graph:
    """The graph of these steps.

    Raises:
        GraphError: two steps have the same id or output, no step makes an input, or there is a cycle.
    """
    graph: dict[str, Step] = {}
    for step in steps:
        step_id = step.id
        if step_id in graph:
            raise GraphError(f"two steps are called '{step_id}'")
        graph[step_id] = step
    for step_id, step in graph.items():
        for needed in _needs(step):
            if needed not in graph:
                raise GraphError(f"step '{step_id}' needs '{needed}', which no step makes")
    _check_outputs(graph)
    _check_acyclic(graph)
    return graph


def _needs(step: Step) -> tuple[str, ...]:
    """The steps that come before it."""
    return (*step.inputs, *step.waits_for)


def of_records(records: Iterable[Record], targets: Sequence[str] = ()) -> Graph:
    """What a store's records say was made of what; what is left of that, as an input may be forgotten.

    Raises:
        UsageError: a target names nothing.
    """
    last = {record.id: record for record in records if record.id == record.step_id}
    shown = {
        record.id: Recorded(
            record.id,
            record.recipe.kind,
            tuple(step_id for step_id in record.recipe.inputs if step_id in last),
            record.artifacts,
        )
        for record in last.values()
    }
    graph = cast("Graph", shown)  # to be drawn, a step needs no more
    return restrict(graph, targets) if targets else graph


@dataclass(frozen=True)
class Recorded:
    """A step as a record has it, to be shown."""

    id: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    waits_for: ClassVar[tuple[str, ...]] = ()


def _check_outputs(graph: Graph) -> None:
    makers: dict[str, str] = {}
    for step_id, step in graph.items():
        for output in step.outputs:
            if output in makers:
                raise GraphError(f"'{output}' is made by both '{makers[output]}' and '{step_id}'")
            makers[output] = step_id


def _check_acyclic(graph: Graph) -> None:
    if _is_in_order(graph):
        return
    import networkx as nx  # noqa: PLC0415  # 0.1 s, for the few graphs that are not declared in their order

    edges = _edges(graph)
    if nx.is_directed_acyclic_graph(edges):
        return
    cycle = nx.find_cycle(edges)
    path = " -> ".join([*(edge[0] for edge in cycle), cycle[0][0]])
    raise GraphError(f"steps need each other in a circle: {path}")


def _is_in_order(graph: Graph) -> bool:
    """Whether every step is declared after those that it needs, as nearly all are."""
    seen: set[str] = set()
    for step_id, step in graph.items():
        if not seen.issuperset(_needs(step)):
            return False
        seen.add(step_id)
    return True


def _edges(graph: Graph) -> nx.DiGraph[str]:
    """The graph as networkx has it."""
    import networkx as nx  # noqa: PLC0415  # see above

    edges: nx.DiGraph[str] = nx.DiGraph()
    edges.add_nodes_from(graph)
    edges.add_edges_from((needed, step_id) for step_id, step in graph.items() for needed in _needs(step))
    return edges


def all_steps(graph: Graph) -> list[Step]:
    """The steps, in the order of their declaration."""
    return list(graph.values())


def ordered(graph: Graph) -> list[Step]:
    """The steps in topological order; the order of declaration decides between independent steps."""
    if _is_in_order(graph):
        return list(graph.values())
    import networkx as nx  # noqa: PLC0415  # see above

    position = {step_id: index for index, step_id in enumerate(graph)}
    order = nx.lexicographical_topological_sort(_edges(graph), key=position.__getitem__)
    return [graph[step_id] for step_id in order]


def matching(ids: Collection[str], name: str) -> list[str]:
    """The ids that a name on the command line selects: a step, or all steps below it (`vm.web`).

    Raises:
        UsageError: it selects none.
    """
    if found := matches(ids, name):
        return found
    if is_pattern(name):
        raise _met_nothing(ids, name)
    if owned := _owners(ids, name):
        raise UsageError(f"no step is called '{name}'", hint=f"did you mean '{owned[0]}'?")
    alike = _owners(ids, nearest(name, {StepId(step_id).name for step_id in ids}) or "")
    if alike and "." not in name:
        raise UsageError(f"no step is called '{name}'", hint=f"did you mean '{alike[0]}'?")
    raise UsageError(f"no step is called '{name}'", hint=near(name, _prefixes(ids)) or _LIST_HINT)


def _prefixes(ids: Iterable[str]) -> set[str]:
    """All that an id can be named by: itself, and what it is a part of."""
    return {prefix for step_id in ids for prefix in StepId(step_id).prefixes}


def selected(ids: Collection[str], names: Sequence[str]) -> set[str]:
    """The ids that any of the names selects, of which there may be as many as a fleet has members.

    Raises:
        UsageError: a name selects none.
    """
    by_owner: defaultdict[str, list[str]] = defaultdict(list)
    for step_id in ids:
        by_owner[StepId(step_id).owner].append(step_id)
    return {step_id for name in names for step_id in by_owner.get(name) or matching(ids, name)}


def matches(ids: Collection[str], name: str) -> list[str]:
    """The ids that a name selects, or a pattern such as `vm.web-*`; may be empty."""
    if is_pattern(name):
        return [step_id for step_id in ids if _named_by(step_id, name)]
    return [step_id for step_id in ids if step_id == name or step_id.startswith((f"{name}.", f"{name}@"))]


def is_pattern(name: str) -> bool:
    """Whether a name on the command line may stand for several."""
    return any(mark in name for mark in "*?[")


def _named_by(step_id: str, pattern: str) -> StepId | None:
    """What of an id a pattern names: `vm.web-1` of `vm.web-1.root`."""
    prefixes = StepId(step_id).prefixes
    return next((prefix for prefix in prefixes if fnmatch.fnmatchcase(prefix, pattern)), None)


def expanded(ids: Iterable[str], name: str) -> list[str]:
    """What a name stands for: itself; a pattern for all that it names.

    Raises:
        UsageError: a pattern names nothing.
    """
    if not is_pattern(name):
        return [name]
    known = tuple(ids)
    found = dict.fromkeys(named for step_id in known if (named := _named_by(step_id, name)))
    if not found:
        raise _met_nothing(known, name)
    return list(found)


def _met_nothing(ids: Iterable[str], pattern: str) -> UsageError:
    """The error for a pattern that names nothing, with what was meant."""
    known = _prefixes(ids)
    meant = _meant_pattern(known, pattern) or nearest(pattern, known)
    hint = f"did you mean '{meant}'?" if meant else _LIST_HINT
    return UsageError(f"nothing is called like '{pattern}'", hint=hint)


def _meant_pattern(known: Collection[str], pattern: str) -> str | None:
    """The same pattern after what names really begin with."""
    letters = re.split(r"[*?\[]", pattern, maxsplit=1)[0]
    for length in (len(letters), len(letters) + 1, len(letters) - 1):
        meant = nearest(letters, {name[:length] for name in known})
        found = f"{meant}{pattern[len(letters) :]}"
        if meant and any(fnmatch.fnmatchcase(name, found) for name in known):
            return found
    return None


def without_table(ids: Collection[str], option: str, name: str) -> UsageError:
    """The error for an option that asks for one VM, image or step, and got a name without a dot."""
    if any(StepId(step_id).table == name for step_id in ids):
        hint = f"{option} {name}.NAME"
    else:
        owned = _owners(ids, name)
        alike = nearest(name, {StepId(step_id).name for step_id in ids})
        owned = owned or _owners(ids, alike or "")
        hint = f"{option} {owned[0]}" if owned else _LIST_HINT
    return UsageError(f"{option} {name} names no VM, image or step", hint=hint)


def _owners(ids: Collection[str], name: str) -> list[StepId]:
    """The VMs and images of that name, as they are to be called: `vm.web` for `web`; a VM comes first."""
    found = {StepId(step_id).owner for step_id in ids if name and StepId(step_id).name == name}
    return sorted(found, reverse=True)


def restrict(graph: Graph, targets: Sequence[str]) -> Graph:
    """The subgraph of the targets and everything they need."""
    return with_needed(graph, selected(graph, targets))


def with_needed(graph: Graph, ids: Collection[str]) -> Graph:
    """The subgraph of these steps and everything they need."""
    left = list(ids)
    needed = set(left)
    while left:
        more = {step_id for step_id in _needs(graph[left.pop()]) if step_id not in needed}
        needed |= more
        left += more
    return {step_id: step for step_id, step in graph.items() if step_id in needed}


def immutable(graph: Graph) -> list[str]:
    """The ids of steps whose artifacts are never changed."""
    return [step.id for step in all_steps(graph) if is_immutable(step)]


def is_immutable(step: Step) -> bool:
    """Whether a step has its fingerprint in the path of its artifacts, which are never changed then."""
    return any("{fingerprint}" in output for output in step.outputs)
