"""What lies in the store, artifact by artifact, and how it stands to the manifest; for `status`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from bangerbuild.model import Verb
from bangerbuild.report import size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bangerbuild.model import Action, Json, Plan
    from bangerbuild.store import Store

STATES = {
    Verb.KEEP: "current",
    Verb.CREATE: "missing",
    Verb.ADOPT: "unknown",
    Verb.UPDATE: "stale",
    Verb.GROW: "stale",
    Verb.REPLACE: "stale",
    Verb.BLOCKED: "blocked",
}
UNDECLARED = "undeclared"


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
        }


def examine(plan: Plan, store: Store) -> tuple[ArtifactStatus, ...]:
    """The artifacts that the plan speaks of, then those of VMs that no manifest declares."""
    declared = tuple(_declared(plan, store))
    return (*declared, *_undeclared(plan, store))


def _declared(plan: Plan, store: Store) -> Iterator[ArtifactStatus]:
    """A disk with a patch that is due is stale, though the disk's own step has nothing to do."""
    patches = {action.step.changes: action for action in plan.actions if action.step.changes}
    for action in plan.actions:
        if action.step.changes:
            continue
        patch = patches.get(action.id)
        due = patch if action.verb is Verb.KEEP and patch is not None else action
        for artifact in action.artifacts:
            yield _status(store, artifact, action.id, _state(action, due), in_use=action.in_use or due.in_use)


def _state(action: Action, due: Action) -> str:
    return STATES[due.verb if action.verb is Verb.KEEP else action.verb]


def _undeclared(plan: Plan, store: Store) -> Iterator[ArtifactStatus]:
    """Of VMs alone: an image that nothing needs any more is `gc`'s business."""
    known = {action.id for action in plan.actions}
    for record in sorted(store.records.values(), key=lambda record: record.id):
        if record.id.startswith("vm.") and record.id not in known and not record.id.endswith(".patch"):
            for artifact in record.artifacts:
                if store.exists(artifact):
                    yield _status(store, artifact, record.id, UNDECLARED)


def _status(store: Store, artifact: str, step_id: str, state: str, *, in_use: bool = False) -> ArtifactStatus:
    record = store.records.get(step_id)
    base = record.facts.get("base") if record else None
    try:
        found = (store.path / artifact).stat()
    except FileNotFoundError:
        return ArtifactStatus(artifact, step_id, state)
    return ArtifactStatus(
        artifact,
        step_id,
        state,
        found.st_size,
        found.st_blocks * 512,
        str(base) if base is not None else None,
        in_use,
    )


def lines(statuses: Sequence[ArtifactStatus]) -> Iterator[str]:
    """A table to read."""
    rows = [("STATE", "SIZE", "ALLOCATED", "ARTIFACT", "BASE"), *map(_row, statuses)]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _row(status: ArtifactStatus) -> tuple[str, str, str, str, str]:
    sizes = ["-" if value is None else size(value) for value in (status.size_bytes, status.allocated_bytes)]
    state = f"{status.state}, in use" if status.in_use else status.state
    return state, sizes[0], sizes[1], status.path, status.base or ""
