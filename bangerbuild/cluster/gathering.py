"""What nodes say, put together: one plan, one run's progress, one list of results.

Steps of VMs have one id on all nodes. Steps of images and networks are done by several nodes: they are
called by their id and the node, `image.debian.rootfs@rack1-a`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from typing_extensions import override

from bangerbuild import report
from bangerbuild.cluster.dispatch import Listener
from bangerbuild.cluster.events import (
    Ended,
    Finished,
    Listed,
    Locked,
    Planned,
    Printed,
    Progressed,
    Started,
    Warned,
)
from bangerbuild.model import Outcome, OutputReporter, Plan, Relocation, Result, StepId, Verb

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from bangerbuild.cluster.events import Event
    from bangerbuild.errors import BangerError
    from bangerbuild.model import Action, Json, PlanReporter
    from bangerbuild.pipeline import Loaded

AT = "@"


class Gathering(Listener):
    """Gathers what nodes say, and tells a reporter as one run would.

    Args:
        loaded: what is declared on all nodes.
        nodes: those that are asked.
        reporter: is told the plan once each node has made its own or is lost, and all else after that.
        locked: is told the text of a lock file that knows what a node has pushed.
    """

    def __init__(
        self,
        loaded: Loaded,
        nodes: Collection[str],
        reporter: PlanReporter,
        locked: Callable[[str], None],
    ) -> None:
        self._loaded = loaded
        self._reporter = reporter
        self._locked = locked
        self._to_plan = dict.fromkeys(nodes)
        """Nodes of which no plan came yet."""
        self._early: list[tuple[str, Event]] = []
        """What came before the plan of all."""
        self._actions: dict[str, Action] = {}
        self.failures: dict[str, BangerError] = {}
        """By node, why it did not do its share."""
        self.results: dict[str, Result] = {}
        self.rows: dict[str, list[Mapping[str, Json]]] = {}
        """What nodes list, of `status` and `verify`."""
        self.stores: dict[str, str] = {}
        self.notes: list[str] = []
        """What there is to say of single nodes' stores."""
        self.pushed: list[Mapping[str, Json]] = []
        self._relocations: list[Relocation] = []

    @property
    def plan(self) -> Plan:
        """The plan of all nodes, as far as they have made theirs."""
        found = self._loaded.manifest
        nodes = {vm.name: vm.node for vm in found.vms.values() if vm.node}
        moved = tuple(
            Relocation(name, old, nodes[name], (), is_here=False)
            for name, old in sorted(found.moved.items())
            if name in nodes
        )
        return Plan(
            self._loaded.store,
            tuple(self._actions.values()),
            fleets=found.fleets,
            nodes=nodes,
            relocations=moved,
        )

    def node_of(self, step_id: str) -> str | None:
        """The node that a step is on."""
        node = step_id.rpartition(AT)[2] if AT in step_id else None
        vm = self._loaded.manifest.vms.get(StepId(step_id).name) if step_id.startswith("vm.") else None
        return vm.node if vm else node

    @override
    def heard(self, node: str, event: Event) -> None:
        if not self._to_plan and isinstance(event, (Started, Finished)):
            self._tell(node, event)
        elif isinstance(event, Planned):
            self._plan(node, event)
        elif isinstance(event, Ended):
            if event.error is not None:
                self.failed(node, event.error.error())
        elif isinstance(event, Listed):
            self.stores[node] = event.store
            self.rows.setdefault(node, []).extend(event.rows)
        elif isinstance(event, Locked):
            self.pushed += event.pushed
            self._locked(event.lock)
        elif self._to_plan and not isinstance(event, (Progressed, Printed)):
            self._early.append((node, event))
        else:
            self._tell(node, event)

    @override
    def failed(self, node: str, error: BangerError) -> None:
        if node in self.failures:
            return
        self.failures[node] = error
        self._reporter.warned(f"node {node}", error.brief)
        self._has_planned(node)

    @override
    def slow(self, node: str, seconds: float) -> None:
        self._reporter.warned(f"node {node}", f"nothing was heard of it for {seconds:.0f} s; still waiting")

    @override
    def sent(self, node: str, what: str, done_bytes: int, total_bytes: int) -> None:
        self._reporter.progressed(f"{what} to {node}", done_bytes, total_bytes)

    def finish(self) -> tuple[Result, ...]:
        """No node says anything more; a result for each action of the plan. What is not known was skipped."""
        for node in tuple(self._to_plan):
            self._has_planned(node)
        return tuple(
            self.results.get(action.id, Result(action.id, Outcome.SKIPPED))
            for action in self._actions.values()
        )

    def _plan(self, node: str, event: Planned) -> None:
        self.stores[node] = event.store
        for sent in event.actions:
            step_id = _called(sent.id, node)
            self._actions[step_id] = sent.action(step_id)
        self.notes += self._notes(node, event)
        self._has_planned(node)

    def _notes(self, node: str, event: Planned) -> Iterator[str]:
        """What lies in a node's store beside its share: undeclared, or on another node now."""
        vms = self._loaded.manifest.vms
        elsewhere = {
            owner: there
            for owner in event.undeclared
            if (vm := vms.get(StepId(owner).name)) and owner.startswith("vm.") and (there := vm.node) != node
        }
        left = tuple(owner for owner in event.undeclared if owner not in elsewhere)
        moved = tuple(
            Relocation(StepId(owner).name, node, str(there), (), is_here=True)
            for owner, there in elsewhere.items()
        )
        own = Plan(Path(event.store), (), undeclared=left, orphans=event.orphans, relocations=moved)
        yield from (f"node {node}: {line}" for line in report.undeclared_lines(own))

    def _has_planned(self, node: str) -> None:
        """Note that a node has planned, or never will; after the last of them the reporter is told."""
        if node not in self._to_plan:
            return
        del self._to_plan[node]
        if not self._to_plan:
            self._reporter.planned(self.plan)
            early, self._early = self._early, []
            for one, event in early:
                self._tell(one, event)

    def _tell(self, node: str, event: Event) -> None:
        if isinstance(event, Started):
            if action := self._actions.get(_called(event.id, node)):
                self._reporter.started(action)
        elif isinstance(event, Finished):
            self._finish(_called(event.id, node), event)
        elif isinstance(event, Warned):
            self._reporter.warned(_called(event.id, node) if event.id else f"node {node}", event.message)
        elif isinstance(event, Progressed):
            what = event.what if event.what.startswith("vm.") else f"{event.what}{AT}{node}"
            self._reporter.progressed(what, event.done_bytes, event.total_bytes)
        elif isinstance(event, Printed) and isinstance(self._reporter, OutputReporter):
            self._reporter.said(f"{event.what}{AT}{node}", event.line)

    def _finish(self, step_id: str, event: Finished) -> None:
        action = self._actions.get(step_id)
        if action is None:
            return
        error = event.error.error() if event.error else None
        result = Result(step_id, Outcome(event.outcome), float(event.seconds), error)
        self.results[step_id] = result
        if action.verb not in {Verb.KEEP, Verb.BLOCKED}:
            self._reporter.finished(action, result)


def _called(step_id: str, node: str) -> str:
    """What a step of a node is called among those of all nodes."""
    return step_id if step_id.startswith("vm.") else f"{step_id}{AT}{node}"


def own_id(step_id: str) -> str:
    """What the node itself calls a step."""
    return step_id if step_id.startswith("vm.") else step_id.rpartition(AT)[0]


def document(plan: Plan, results: tuple[Result, ...] | None, gathered: Gathering) -> dict[str, Json]:
    """The document of `plan --json` and `apply --json`: as of one store, and a list of the nodes."""
    found = report.plan_json(plan, results)
    actions = found["actions"]
    for one in actions if isinstance(actions, list) else ():
        if isinstance(one, dict):
            step_id = str(one["id"])
            one |= {"id": own_id(step_id), "node": gathered.node_of(step_id)}
    notes = found["notes"]
    return {
        **found,
        "notes": [*(notes if isinstance(notes, list) else ()), *gathered.notes],
        "nodes": [
            {
                "name": name,
                "store": gathered.stores.get(name),
                "error": report.error_json(gathered.failures[name]) if name in gathered.failures else None,
            }
            for name in sorted({*gathered.stores, *gathered.failures})
        ],
    }
