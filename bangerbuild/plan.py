"""Graph and store to a plan: an action with reasons for every step. Reads; never writes.

A kept step stands for the fingerprint it was recorded with, not for the one it would have today, so that a
tool's new version, or a base that is kept on purpose, moves nothing that is built on it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from bangerbuild import graph as graphs
from bangerbuild.errors import BangerError
from bangerbuild.fingerprint import differences, fingerprint, step_fields, tool_differences
from bangerbuild.model import Action, FileDiff, Plan, Reason, ReasonCode, Recipe, Situation, Verb, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from bangerbuild.graph import Graph
    from bangerbuild.model import Host, Json, Record, Step
    from bangerbuild.store import Store


NEW = {Verb.CREATE, Verb.REPLACE}


def make(graph: Graph, store: Store, host: Host, *, epoch: int, forced: frozenset[str] = frozenset()) -> Plan:
    """The plan for these steps.

    Args:
        graph: what is declared.
        store: what is there.
        host: asked for digests, versions and holders.
        epoch: for previews of what a patch would write.
        forced: ids of steps that are made anew whatever is lost.

    Raises:
        SourceError, ToolError, StoreError: something that must be looked at can't be.
    """
    planner = _Planner(store, host, epoch, forced)
    for step in graphs.ordered(graph):
        planner.actions[step.id] = planner.action(step)
    return Plan(store.path, tuple(planner.actions.values()))


@dataclass
class _Planner:
    store: Store
    host: Host
    epoch: int
    forced: frozenset[str]
    actions: dict[str, Action] = field(default_factory=dict)

    def action(self, step: Step) -> Action:
        recipe = self._recipe(step)
        record = self._record(step, recipe)
        changes = differences(record.recipe, recipe, _written(step)) if record else ()
        artifacts = self._artifacts(step, record, recipe)
        settled = record is not None and not changes and step.id not in self.forced
        holder = None if settled else self._holder(step, artifacts)
        situation = Situation(
            record=record,
            changes=changes,
            missing=not all(self.store.exists(artifact) for artifact in artifacts),
            modified=lambda: self._modified(self._at_stake(step, artifacts), may_read=holder is None),
            disk_verb=self.actions[step.changes].verb if step.changes else None,
            file_bytes=self.store.size(artifacts[0]) if changes and artifacts else None,
        )
        return self._decided(step, recipe, situation, self._verdict(step, situation), holder)

    def _recipe(self, step: Step) -> Recipe:
        return Recipe(
            kind=step.kind,
            fields=step_fields(step),
            inputs={step_id: self.actions[step_id].fingerprint for step_id in step.inputs},
            sources={source.role: self.host.digest(source) for source in step.sources},
            tools={f"bangerbuild {step.kind}": str(step.format)}
            | {tool: self.host.version(tool) for tool in step.tools},
        )

    def _record(self, step: Step, recipe: Recipe) -> Record | None:
        """What is remembered of the step; of another kind under its id, as long as its artifact is there."""
        record = self.store.record(step.id, fingerprint(recipe))
        if record and record.recipe.kind != step.kind and not any(map(self.store.exists, record.artifacts)):
            return None
        return record

    def _artifacts(self, step: Step, record: Record | None, recipe: Recipe) -> tuple[str, ...]:
        if step.changes:
            return self.actions[step.changes].artifacts
        if record is not None:
            return record.artifacts
        return tuple(output.format(fingerprint=fingerprint(recipe)) for output in step.outputs)

    def _at_stake(self, step: Step, artifacts: tuple[str, ...]) -> frozenset[str]:
        """The disks that a new one would take the place of: one may lie where the old one does not."""
        there = filter(self.store.exists, step.outputs if step.exclusive else ())
        return frozenset((*artifacts, *there))

    def _holder(self, step: Step, artifacts: tuple[str, ...]) -> str | None:
        """Who has the disk open, if it can't be shared; asked only where something must be done to it."""
        if not step.exclusive:
            return None
        present = [self.store.path / artifact for artifact in artifacts if self.store.exists(artifact)]
        return next((holder for path in present if (holder := self.host.holder(path))), None)

    def _modified(self, artifacts: Iterable[str], *, may_read: bool) -> bool:
        return any(self.store.modified(artifact, may_read=may_read) for artifact in artifacts)

    def _verdict(self, step: Step, situation: Situation) -> Verdict:
        for disk in (self.actions[step_id] for step_id in step.inputs):
            if disk.verb is Verb.BLOCKED and disk.id not in self.store.records:
                # The disk stays, and nothing is known of it: not even a launch config can name its base.
                causes = (reason for reason in disk.reasons if reason.code is not ReasonCode.IN_USE)
                return Verdict(Verb.BLOCKED, tuple(causes))
        if step.id not in self.forced or situation.missing or (step.changes and situation.record is None):
            return step.judge(situation)
        reasons = (*situation.changes, Reason(ReasonCode.FORCED))
        return Verdict(Verb.UPDATE if step.changes else Verb.REPLACE, reasons)

    def _decided(
        self, step: Step, recipe: Recipe, situation: Situation, verdict: Verdict, holder: str | None
    ) -> Action:
        record = situation.record
        stays = record if record and verdict.verb in {Verb.KEEP, Verb.BLOCKED} else None
        if record and verdict.verb is Verb.GROW:  # on what it was made from
            recipe = replace(recipe, inputs=record.recipe.inputs)
        reasons = verdict.reasons
        if record and verdict.verb is Verb.KEEP:
            reasons += tool_differences(record.recipe, recipe)
        if holder and verdict.verb is not Verb.KEEP:
            reasons += (Reason(ReasonCode.IN_USE, {"holder": holder}),)
        stays_there = situation.disk_verb in {Verb.KEEP, Verb.GROW}
        pristine = situation.disk_verb in NEW or verdict.verb is not Verb.UPDATE or not situation.modified()
        remade = verdict.verb is Verb.REPLACE or (verdict.verb is Verb.UPDATE and stays_there and pristine)
        action = Action(
            step=step,
            verb=verdict.verb,
            reasons=reasons,
            recipe=stays.recipe if stays else recipe,
            fingerprint=stays.fingerprint if stays else fingerprint(recipe),
            artifacts=self._artifacts(step, stays, recipe),
            pristine=pristine,
            untouched=step.exclusive and remade and step.id not in self.forced,
        )
        return self._previewed(action) if action.verb is Verb.UPDATE and stays_there else action

    def _previewed(self, action: Action) -> Action:
        return action if action.in_use else replace(action, diffs=self._preview(action.step))

    def _preview(self, step: Step) -> tuple[FileDiff, ...]:
        """What the step would change. A guest that can't be read is no reason to plan nothing for others."""
        try:
            return step.preview(PlanView(self.store, self.actions, self.epoch))
        except BangerError as err:
            return (FileDiff("/", note=f"can't be compared now: {err.brief}"),)


@dataclass(frozen=True)
class PlanView:
    """What a step may read while it is planned: published artifacts only."""

    store: Store
    actions: Mapping[str, Action]
    epoch: int

    def artifact(self, step_id: str) -> str:
        """The name of an input's artifact."""
        return self.artifacts(step_id)[0]

    def artifacts(self, step_id: str) -> tuple[str, ...]:
        """The names of all its artifacts."""
        return self.actions[step_id].artifacts

    def path(self, artifact: str) -> Path:
        """A published artifact."""
        return self.store.path / artifact

    def facts(self, step_id: str) -> Mapping[str, Json]:
        """What an input remembers of the run that made what it has now."""
        record = self.store.record(step_id, self.actions[step_id].fingerprint)
        return record.facts if record else {}


def _written(step: Step) -> dict[str, str]:
    return {source.role: source.written for source in step.sources}
