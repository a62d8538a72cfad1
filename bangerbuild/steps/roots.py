"""Making a VM's root from its image, in either format: what both root steps and the root patch share."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

from bangerbuild.disk import overlay
from bangerbuild.errors import FilesystemError
from bangerbuild.model import Reason, ReasonCode, Verb, Verdict
from bangerbuild.steps import disks, in_place

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from bangerbuild.model import Json, Situation, Workspace

FORMAT_KEY = "root.format"
"""Where the manifest says which of the two a root is; a change of it is a change of the recipe."""
IN_PLACE = {Verb.GROW, Verb.UPDATE}
"""What is done to a root that stays where it is."""


def make(workspace: Workspace, artifact: str, facts: Mapping[str, Json]) -> dict[str, Json]:
    """Make a root anew in staging, as its facts `format`, `base` and `declared_bytes` say; its new facts."""
    base, target = workspace.path(cast("str", facts["base"])), workspace.create(artifact)
    _MAKERS[cast("str", facts["format"])](
        base, target, cast("int | None", facts["declared_bytes"]), workspace
    )
    return {**facts, "file_bytes": target.stat().st_size}


def change(workspace: Workspace, disk_id: str, declared_bytes: int | None) -> dict[str, Json]:
    """Mend a root that a change was interrupted of, and grow it to its size; its new facts."""
    facts = workspace.facts(disk_id)
    artifact = workspace.artifact(disk_id)
    if facts["format"] == "snapshot":
        in_place.grow_store(workspace, artifact, declared_bytes)
    else:
        in_place.change(workspace, disk_id, declared_bytes)
    size_bytes = workspace.path(artifact).stat().st_size
    return {**facts, "declared_bytes": declared_bytes, "file_bytes": size_bytes}


def _make_snapshot(base: Path, target: Path, size_bytes: int | None, _workspace: Workspace) -> None:
    overlay.make_file(target, base.stat().st_size, capacity_bytes=size_bytes)


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
    return Verdict(Verb.BLOCKED, (*situation.changes, Reason(ReasonCode.GUEST_WROTE, _how_much(situation))))


def _how_much(situation: Situation) -> dict[str, Json]:
    """What a store takes up, which is the guest's but for some hundred KiB; of a raw root nobody can tell."""
    is_snapshot = situation.record is not None and situation.record.facts.get("format") == "snapshot"
    return {"bytes": situation.allocated_bytes} if is_snapshot and situation.allocated_bytes else {}


def _judge_base(situation: Situation, image_id: str, on_new_base: str, resized: Verdict) -> Verdict:
    verdict = _judge_other(situation)
    if verdict.verb is Verb.BLOCKED and on_new_base == "keep":
        return replace(resized, reasons=(*resized.reasons, Reason(ReasonCode.BASE_BEHIND, {"id": image_id})))
    return verdict
