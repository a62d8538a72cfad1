"""Records of a store made anew from what lies in it, step by step, each after its inputs. Reads only.

A step that is declared says what it finds (`Step.recover`). Its recipe is then taken to be that of today, but
for what the files themselves say, such as the image in the header of an exception store. What the files do
not say is not guessed: a disk counts as its guest's.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bangerbuild import graph as graphs
from bangerbuild.disk import clone
from bangerbuild.errors import BangerError
from bangerbuild.model import ArtifactPath, Recipe, Record
from bangerbuild.model.fingerprint import fingerprint
from bangerbuild.model.recovered import Recovered, Unrecovered
from bangerbuild.planning.plan import Planner
from bangerbuild.planning.plan_view import KeptOpen
from bangerbuild.store import Staged
from bangerbuild.store import stamps as stamping

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from bangerbuild.epoch import Epoch
    from bangerbuild.graph import Graph
    from bangerbuild.model import Host, Pin, Step
    from bangerbuild.model.recovered import Stray
    from bangerbuild.store import Stamp, Store


@dataclass(frozen=True)
class Found:
    """What was found in a store."""

    jobs: tuple[Staged, ...]
    """Records with their stamps, and what patches have written."""
    unrecovered: tuple[Unrecovered, ...]


def recover(graph: Graph, store: Store, host: Host, *, epoch: Epoch, pins: Mapping[str, Pin]) -> Found:
    """What can be told of declared steps that no record knows; the store learns it and writes nothing."""
    jobs: list[Staged] = []
    unrecovered: list[Unrecovered] = []
    with ExitStack() as stack:
        planner = Planner(store, host, epoch, pins, frozenset(), previews=False, kept=KeptOpen(stack))
        for step in graphs.ordered(graph):
            for again in planner.on_base(step).again:
                if all(map(store.exists, again.artifacts)):
                    jobs.append(_job(store, again.id, again.recipe, Recovered(again.artifacts)))
                    planner.learn(jobs[-1:])
            found = _found(planner, step)
            if isinstance(found, Unrecovered):
                unrecovered.append(found)
            elif found is not None:
                jobs.append(_job(store, step.id, planner.wanted(step).recipe, found))
                planner.learn(jobs[-1:])
            planner.actions[step.id] = planner.action(step)
    return Found(tuple(jobs), tuple(dict.fromkeys(unrecovered)))


def _found(planner: Planner, step: Step) -> Recovered | Unrecovered | None:
    """What a step says of its artifacts, unless a record knows it, or somebody has one of them open."""
    on_base, wanted = planner.on_base(step), planner.wanted(step)
    step = on_base.step
    if planner.store.record(step.id, wanted.fingerprint):
        return None
    artifacts = planner.artifacts(step, None, wanted)
    if step.changes and step.changes not in planner.store.records:
        return None
    if step.exclusive:
        for artifact in filter(planner.store.exists, artifacts):
            if holder := planner.host.holder(planner.store.path / artifact):
                return Unrecovered(artifact, f"it is in use by {holder}: shut the VM down first")
    try:
        return step.recover(planner.view(on_base.stand_ins), artifacts)
    except BangerError as err:
        return Unrecovered(artifacts[0], err.brief)


def _job(store: Store, step_id: str, recipe: Recipe, found: Recovered) -> Staged:
    """The record of a step, and the stamps of its artifacts."""
    recipe = replace(
        recipe,
        kind=found.kind or recipe.kind,
        fields={**recipe.fields, **found.fields},
        inputs=recipe.inputs if found.inputs is None else found.inputs,
    )
    record = Record(step_id, recipe, fingerprint(recipe), found.artifacts, found.facts)
    records: tuple[Record, ...] = (record,)
    is_beside = record.step_id != record.id
    if not is_beside and any(ArtifactPath(artifact).image_directory for artifact in found.artifacts):
        records = (record, replace(record, id=f"{step_id}@{record.fingerprint}"))
    written = {} if found.written is None else {step_id: found.written}
    own = () if found.written is not None else found.artifacts
    stamps = stamps_of(store, own, guests=found.guests)
    return Staged(records, {}, changed=stamps, written=written)


def stamps_of(store: Store, artifacts: Iterable[str], *, guests: bool) -> dict[str, Stamp]:
    """Stamps of artifacts that are there: with a digest, or of a guest's disk so that it is looked into."""
    stamps = {}
    for artifact in artifacts:
        status = store.status(artifact)
        if status is not None:
            digest = "" if guests else clone.digest(store.path / artifact)
            stamp = stamping.of(status, digest, guest=guests)
            stamps[artifact] = stamp.outdated() if guests else stamp
    return stamps


def of_strays(store: Store, strays: Iterable[Stray]) -> tuple[Staged, ...]:
    """The same for files of VMs that no manifest declares: a record for each step that makes such files."""
    found: dict[str, tuple[str, Recovered]] = {}
    for stray in strays:
        _, before = found.get(stray.id, (stray.kind, None))
        artifacts = (*(before.artifacts if before else ()), *stray.recovered.artifacts)
        found[stray.id] = stray.kind, replace(stray.recovered, artifacts=artifacts)
    jobs = tuple(
        _job(store, step_id, Recipe(kind, {}, {}, {}, {}), one) for step_id, (kind, one) in found.items()
    )
    store.learn(jobs)
    return jobs
