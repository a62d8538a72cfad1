"""Images made again in staging, by the steps and the executor that made them, and compared: `--rebuild`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bangerbuild import execute, report
from bangerbuild.commands.verify.check import Check, CheckResult, told
from bangerbuild.disk import clone
from bangerbuild.model import Outcome, Plan, ReasonCode, Silent, Verb
from bangerbuild.planning import plan
from bangerbuild.planning.host import LocalHost
from bangerbuild.steps import image_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from bangerbuild.graph import Graph
    from bangerbuild.model import Action, Pin, Result
    from bangerbuild.store import Staged, Store

OTHER_TIMES = 'not compared: times of host files that went into it (`times = "host"`) have changed since'


def rebuild(
    images: Graph, pins: Mapping[str, Pin], store: Store, limits: execute.ExecuteOptions
) -> Iterator[Check]:
    """Make every immutable artifact of these steps again; nothing is published.

    Args:
        images: the steps that make immutable artifacts.
        pins: what their sources stand for.
        store: open to be written, for its staging.
        limits: how they are made.

    Raises:
        SourceError, ToolError: a source can't be read, or a tool is missing.
    """
    host = LocalHost(store, limits.epoch)
    actions = plan.make(images, store, host, epoch=limits.epoch, pins=pins).actions
    again = Plan(store.path, tuple(_again(action, store) for action in actions))
    comparison = _Comparison(store)
    results = execute.execute(again, store, host, Silent(), limits, publish=comparison.publish)
    for action, result in zip(actions, results, strict=True):
        for artifact in action.artifacts:
            obstacle = _obstacle(action, store)
            if obstacle is None:
                yield _compared(action, artifact, result, comparison)
            else:
                yield Check(artifact, action.id, "rebuild", CheckResult.SKIPPED, obstacle)


def _again(action: Action, store: Store) -> Action:
    return replace(action, verb=Verb.KEEP if _obstacle(action, store) else Verb.REPLACE)


def _obstacle(action: Action, store: Store) -> str | None:
    """Why what lies in the store can't be compared with what would be made now."""
    record = store.record(action.id, action.fingerprint)
    if record is None or not all(map(store.exists, action.artifacts)):
        return "not compared: it has not been made yet"
    if record.fingerprint != action.fingerprint or action.verb not in {Verb.KEEP, Verb.REPLACE}:
        return f"not compared: {', '.join(map(report.reason, action.reasons))}"
    if any(reason.code is ReasonCode.TOOL_CHANGED for reason in action.reasons):
        return "not compared: it was made with other versions of its tools"
    return None


def _compared(action: Action, artifact: str, result: Result, comparison: _Comparison) -> Check:
    if result.outcome is not Outcome.DONE:
        why = told(result.error) if result.error else "what it is made from could not be made"
        return Check(artifact, action.id, "rebuild", CheckResult.FAILED, f"not made again: {why}")
    if not comparison.same[artifact] and comparison.has_other_times(action):
        return Check(artifact, action.id, "rebuild", CheckResult.SKIPPED, OTHER_TIMES)
    if not comparison.same[artifact]:
        return Check(artifact, action.id, "rebuild", CheckResult.FAILED, "made again, it has other bytes")
    return Check(artifact, action.id, "rebuild", CheckResult.OK, "made again, it has the same bytes")


class _Comparison:
    """Takes the place of publishing."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.same: dict[str, bool] = {}
        """By artifact."""
        self._times: dict[str, object] = {}
        """By step."""

    def has_other_times(self, action: Action) -> bool:
        """Whether host files whose times went into it have other times now, which no fingerprint counts."""
        record = self._store.record(action.id, action.fingerprint)
        before = record.facts.get(image_files.HOST_TIMES) if record else None
        return before is not None and before != self._times.get(action.id)

    def publish(self, batch: Sequence[Staged], _may_take: Callable[[str], bool]) -> list[Staged]:
        """Compare finished jobs with what the store has; none is refused."""
        for job in batch:
            self._times |= {record.id: record.facts.get(image_files.HOST_TIMES) for record in job.records}
            for artifact, staged in job.files.items():
                self.same[artifact] = clone.digest(staged) == clone.digest(self._store.path / artifact)
        return []
