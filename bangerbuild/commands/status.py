"""The artifacts in the store, and how each one compares with the manifest; for `status`."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, cast

from bangerbuild import graph, pipeline, shares
from bangerbuild import store as stores
from bangerbuild.disk import formats, in_use, interrupted
from bangerbuild.errors import BangerError, StoreError
from bangerbuild.model import ReasonCode, StepId, Verb
from bangerbuild.model.artifacts import PLAIN_TABLES, VM_FILES
from bangerbuild.planning import origins
from bangerbuild.store.faults import nothing_new

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Container, Iterator, Mapping, Sequence
    from pathlib import Path

    from bangerbuild.errors import Problem
    from bangerbuild.model import Action, Json, Plan
    from bangerbuild.model.request import Request
    from bangerbuild.pipeline import Loaded
    from bangerbuild.store import Store

STATES = {
    Verb.KEEP: "current",
    Verb.CREATE: "missing",
    Verb.FETCH: "missing",
    Verb.MOVE: "stale",
    Verb.ADOPT: "unknown",
    Verb.UPDATE: "stale",
    Verb.GROW: "stale",
    Verb.REPLACE: "stale",
    Verb.BLOCKED: "blocked",
}
UNDECLARED = "undeclared"
RENAMED = "renamed"
"""Of a VM that is called something else now; the next apply moves it."""
DAMAGED = "damaged"
"""A disk that nobody has open, and whose header or superblock says that it is in no good order."""
UNREADABLE = "unreadable"
"""Who asks may not look at it."""
UNJUDGED = "unjudged"
"""Of what it is made of, or whether it is declared, nothing is known now."""


@dataclass(frozen=True)
class ArtifactStatus:
    """One artifact, as it stands."""

    path: str
    """Relative to the store."""
    id: str
    """The step that makes it."""
    state: str
    size_bytes: int | None = None
    """None where it is not there."""
    allocated_bytes: int | None = None
    base: str | None = None
    """The artifact it stands on."""
    in_use: bool = False
    declared_by: str | None = None
    """The manifest that declares it, where that is another than was asked about."""

    def to_json(self) -> dict[str, Json]:
        """As `status --json` shows it."""
        return {
            "path": self.path,
            "id": self.id,
            "state": self.state,
            "size_bytes": self.size_bytes,
            "allocated_bytes": self.allocated_bytes,
            "base": self.base,
            "in_use": self.in_use,
            "declared_by": self.declared_by,
        }


class Looked(NamedTuple):
    """A store, as it stands."""

    store: Path
    artifacts: tuple[ArtifactStatus, ...]
    fleets: Mapping[str, Sequence[str]]
    """The names of the members of each fleet; none where the manifest can't be read."""


@nothing_new()
def look(
    request: Request, warn: Callable[[str], None], tell: Callable[[Problem], None] | None = None
) -> Looked:
    """The store, and its artifacts: all, or those of the targets, which may be only recorded.

    Raises:
        ManifestError, UsageError: there is nothing to look at.
        StoreError: the store can't be read.
    """
    return look_at(pipeline.load_to_read(replace(request, targets=()), warn, tell), request.targets, warn)


def look_at(loaded: Loaded, targets: Sequence[str], warn: Callable[[str], None]) -> Looked:
    """The same of manifests that are loaded, without targets of their own.

    Raises:
        UsageError: a target names nothing.
        StoreError: the store can't be read.
    """
    opened = stores.read(loaded.store)
    names = pipeline.expanded(loaded.manifest, targets)
    if not loaded.is_read:
        opened.check_records()
        return Looked(loaded.store, recorded(opened, names), {})
    left = {one.step_id for one in opened.records.values()} - loaded.whole.keys()
    asked = graph.selected((*loaded.whole, *left), names)
    wanted = graph.restrict(loaded.whole, [one for one in loaded.wanted if one in asked])
    part = replace(loaded, wanted=wanted) if names else loaded
    plan, opened = pipeline.look_leniently(part, warn, renames_vms=False)
    renamed = pipeline.to_be_renamed(loaded, opened)
    apart = shares.states(loaded.manifest, loaded.whole, loaded.wanted)
    found = examine(plan, opened, pipeline.strangers(loaded, opened), renamed, apart)
    shown = asked | {action.id for action in plan.actions}
    artifacts = tuple(one for one in found if not names or one.id in shown)
    return Looked(loaded.store, artifacts, loaded.manifest.fleets)


def examine(
    plan: Plan,
    store: Store,
    strangers: Mapping[str, str | None] = MappingProxyType({}),
    renamed: Collection[str] = (),
    apart: Mapping[str, str] = MappingProxyType({}),
) -> tuple[ArtifactStatus, ...]:
    """The artifacts that the plan speaks of, then those of VMs and networks that are not declared.

    Args:
        plan: of what is declared, or of a part of it.
        store: what is there.
        strangers: what is not declared, with the manifest that declares it.
        renamed: those of them that the next apply gives to a VM with another name.
        apart: what is declared and is no part of this node's share, with what that is called.
    """
    declared = tuple(_declared(plan, store))
    shown = {status.path for status in declared}
    called = {**apart, **dict.fromkeys(renamed, RENAMED)}
    return (*declared, *_undeclared(plan, store, shown, strangers, called))


def recorded(store: Store, targets: Collection[str] = ()) -> tuple[ArtifactStatus, ...]:
    """The artifacts that records know, where it is not known what is declared.

    Raises:
        UsageError: a target names nothing.
    """
    own = {record.step_id for record in store.records.values()}
    asked = {step_id for target in targets for step_id in graph.matching(own, target)} if targets else own
    made_by: dict[str, str] = {}
    for _, record in sorted(store.records.items()):
        if record.step_id in asked:
            for artifact in record.artifacts:
                made_by.setdefault(artifact, record.step_id)
    return tuple(
        _status(
            store,
            artifact,
            step_id,
            UNJUDGED if store.may_exist(artifact) else "missing",
            may_be_used=StepId(step_id).table == "vm",
        )
        for artifact, step_id in made_by.items()
    )


def _declared(plan: Plan, store: Store) -> Iterator[ArtifactStatus]:
    """A disk with a patch that is due is stale, though the disk's own step has nothing to do."""
    patches = {action.step.changes: action for action in plan.actions if action.step.changes}
    for action in plan.actions:
        if action.step.changes:
            continue
        due = patches.get(action.id, action) if action.verb is Verb.KEEP else action
        there = _there(action, store)
        state = STATES[Verb.REPLACE if there and due.verb is Verb.CREATE else due.verb]
        if there and due.verb is Verb.KEEP and action.is_damaged:
            state = DAMAGED
        if not there and any(reason.code is ReasonCode.DISK_GONE for reason in action.reasons):
            state = STATES[Verb.CREATE]
        if there and plan.unjudged & {action.id, due.id, patches.get(action.id, action).id}:
            state = UNJUDGED
        for artifact in there or action.artifacts:
            yield _status(store, artifact, action.id, state, may_be_used=action.step.exclusive)


def _there(action: Action, store: Store) -> tuple[str, ...]:
    """What lies in the store of the step: not always where the next run will put it."""
    record = store.records.get(action.id)
    known = (action.artifacts, record.artifacts if record else ())
    try:
        return next((artifacts for artifacts in known if artifacts and all(map(store.exists, artifacts))), ())
    except StoreError:  # it can't be looked at
        return ()


def _undeclared(
    plan: Plan,
    store: Store,
    shown: Container[str],
    strangers: Mapping[str, str | None],
    called: Mapping[str, str],
) -> Iterator[ArtifactStatus]:
    """Of VMs and networks: an image that nothing needs any more is `gc`'s business."""
    known = {action.id for action in plan.actions}
    made_by: dict[str, str] = {}
    for step_id, record in sorted(store.records.items()):
        if StepId(step_id).table in PLAIN_TABLES and step_id not in known:
            for artifact in record.artifacts:
                made_by.setdefault(artifact, step_id)  # a disk's step comes before that of its patch
    for artifact, step_id in made_by.items():
        if artifact not in shown and store.may_exist(artifact):
            owner = StepId(step_id).owner
            origin, by = strangers.get(owner), None
            if origin is not None and not origins.is_gone(store, origin):
                by = os.path.relpath(store.path / origin)
            state = UNDECLARED if by is None else f"declared by {by}"
            found = _status(store, artifact, step_id, called.get(owner, state), may_be_used=True)
            yield replace(found, declared_by=by)


def _status(store: Store, artifact: str, step_id: str, state: str, *, may_be_used: bool) -> ArtifactStatus:
    record = store.records.get(step_id)
    facts = record.facts if record else {}
    base, path = facts.get("base"), store.path / artifact
    try:
        found = path.stat()
        if not store.may_read(artifact, found):
            return ArtifactStatus(artifact, step_id, UNREADABLE, found.st_size, found.st_blocks * 512)
        is_used = may_be_used and in_use.holder(path) is not None
    except FileNotFoundError:
        return ArtifactStatus(artifact, step_id, state)
    except OSError:
        return ArtifactStatus(artifact, step_id, UNREADABLE)
    return ArtifactStatus(
        artifact,
        step_id,
        state,
        _size_bytes(path, facts, found.st_size, is_used=is_used),
        found.st_blocks * 512,
        str(base) if base is not None else None,
        is_used,
    )


def _size_bytes(path: Path, facts: Mapping[str, Json], file_bytes: int, *, is_used: bool) -> int:
    """The size of an artifact, of a disk as the manifest's `size` counts it; one in use is not opened."""
    if "format" not in facts:
        return file_bytes
    if is_used:
        return cast("int", facts.get("file_bytes", file_bytes))
    try:
        return formats.named(str(facts["format"])).size_of(path)
    except BangerError:  # the plan says what is wrong with it
        return file_bytes


def by_half(store: Path) -> list[str]:
    """The disks that somebody changes now, or that a run was interrupted in, by their names in the store."""
    disks = (path for path in store.glob(VM_FILES) if formats.is_disk(path.name))
    return sorted(
        str(disk.relative_to(store))
        for disk in disks
        if interrupted.is_half_patched(disk) or interrupted.is_half_grown(disk)
    )
