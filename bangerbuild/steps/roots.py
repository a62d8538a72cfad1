"""Making a VM's root from its image, in either format: what both root steps and the root patch share."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.overlay import SnapshotStore
from bangerbuild.errors import FilesystemError
from bangerbuild.model import Reason, ReasonCode, Verb, Verdict
from bangerbuild.steps import disks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from bangerbuild.model import Json, Situation, Workspace

FORMAT_KEY = "root.format"
"""Where the manifest says which of the two a root is; a change of it is a change of the recipe."""


def make(workspace: Workspace, artifact: str, facts: Mapping[str, Json]) -> dict[str, Json]:
    """Make a root anew in staging, as its facts `format`, `base` and `declared_bytes` say; its new facts."""
    base, target = workspace.path(cast("str", facts["base"])), workspace.create(artifact)
    _MAKERS[cast("str", facts["format"])](
        base, target, cast("int | None", facts["declared_bytes"]), workspace
    )
    return {**facts, "file_bytes": target.stat().st_size}


def grow(workspace: Workspace, artifact: str, facts: Mapping[str, Json]) -> dict[str, Json]:
    """Grow a root in staging to `declared_bytes`; its new facts."""
    size_bytes = cast("int", facts["declared_bytes"])
    _GROWERS[cast("str", facts["format"])](workspace, artifact, size_bytes)
    return {**facts, "file_bytes": size_bytes}


def _make_snapshot(base: Path, target: Path, size_bytes: int | None, _workspace: Workspace) -> None:
    with RawFile(base) as blocks:
        SnapshotStore.create(blocks, target, capacity_bytes=size_bytes, durable=False).close()


def _grow_snapshot(workspace: Workspace, artifact: str, size_bytes: int) -> None:
    """Give the store room for more chunks; what is in it stays where it is."""
    path = workspace.edit(artifact)
    disks.refuse_to_shrink(artifact, path.stat().st_size, size_bytes)
    os.truncate(path, size_bytes)


def _make_raw(base: Path, target: Path, size_bytes: int | None, workspace: Workspace) -> None:
    base_bytes = base.stat().st_size
    size_bytes = size_bytes or base_bytes
    if size_bytes < base_bytes:
        raise FilesystemError(
            f"a root of {size_bytes} bytes is too small for its image, which has {base_bytes}",
            hint="give `size` under [vm.NAME.root] at least the image's size, or leave it out",
        )
    disks.make_clone(base, target, workspace)
    if size_bytes > base_bytes:
        disks.grow(target, size_bytes, workspace.epoch)


_MAKERS: Mapping[str, Callable[[Path, Path, int | None, Workspace], None]] = {
    "snapshot": _make_snapshot,
    "raw": _make_raw,
}
_GROWERS: Mapping[str, Callable[[Workspace, str, int], None]] = {
    "snapshot": _grow_snapshot,
    "raw": disks.change,
}


def judge(situation: Situation, image_id: str, on_new_base: str, size_bytes: int | None) -> Verdict:
    """What is done about a recorded root: made anew while it is ours; a guest's is kept, grown or blocked.

    Args:
        situation: with a record and nothing missing.
        image_id: the step whose artifact it stands on.
        on_new_base: what becomes of a guest's root when that changes.
        size_bytes: as declared; None: any.
    """
    record, changes = situation.record, situation.changes
    if record is None or not changes:
        return Verdict(Verb.KEEP)
    if any(reason.facts.get("key") == FORMAT_KEY for reason in changes):
        return _judge_other(situation)
    verdict = disks.judge_size(disks.file_bytes(situation, record), size_bytes)
    if any(reason.code is ReasonCode.INPUT_CHANGED for reason in changes):
        return _judge_base(situation, image_id, on_new_base, verdict)
    if verdict.verb is Verb.BLOCKED and not situation.modified():
        return Verdict(Verb.REPLACE, verdict.reasons)
    return verdict


def _judge_other(situation: Situation) -> Verdict:
    """A root of another base or format takes this one's place unless a guest has written to it."""
    if not situation.modified():
        return Verdict(Verb.REPLACE, situation.changes)
    return Verdict(Verb.BLOCKED, (*situation.changes, Reason(ReasonCode.GUEST_WROTE)))


def _judge_base(situation: Situation, image_id: str, on_new_base: str, resized: Verdict) -> Verdict:
    verdict = _judge_other(situation)
    if verdict.verb is Verb.BLOCKED and on_new_base == "keep":
        return replace(resized, reasons=(*resized.reasons, Reason(ReasonCode.BASE_BEHIND, {"id": image_id})))
    return verdict
