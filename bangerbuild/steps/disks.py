"""What steps that make or patch disks share: opening, making, growing, and the verdict on a guest's disk.

A disk's record remembers, as facts, its `format` (`snapshot`, `raw`), its `base` (the image under a snapshot,
or the one that a raw root was cloned from; other disks have none) and its `file_bytes`.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, cast

from bangerbuild.disk import clone, interrupted, snapshot, tools
from bangerbuild.disk.base import ParsedBase
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.journal import through_journal
from bangerbuild.disk.overlay import SnapshotStore
from bangerbuild.disk.superblock import read_superblock
from bangerbuild.errors import BangerError, FilesystemError
from bangerbuild.model import Reason, ReasonCode, Verb, Verdict
from bangerbuild.process import run
from bangerbuild.steps import views

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bangerbuild.disk.blocks import Blocks
    from bangerbuild.model import Json, Record, Situation, View, Workspace
    from bangerbuild.tree import DiskMount

SUFFIXES = (".ext4", ".cow")
"""How the names of artifacts end that hold a filesystem, or with their base do."""
TOOLS = ("e2fsprogs", "SOURCE_DATE_EPOCH")
NO_REFLINK = "the store's filesystem can't share blocks between files (btrfs and XFS can): disks are copied"
NO_HOLES = "the store's filesystem can't keep holes in files: a disk takes its whole size from the start"


@contextmanager
def opened(view: View, disk_id: str, place: DiskMount) -> Iterator[Filesystem]:
    """The filesystem on a disk, whatever its format, to be read; paths in it are the guest's.

    One that its guest left with a journal to replay is read as it will be.
    """
    artifact = view.artifact(disk_id)
    with ExitStack() as stack:
        blocks = stack.enter_context(interrupted.open_recovered(view.path(artifact), artifact))
        if view.facts(disk_id).get("format") == "snapshot":
            under = stack.enter_context(RawFile(base_path(view, disk_id)))
            blocks = SnapshotStore(under, blocks, base_name=base_name(view, disk_id))
            blocks.name = artifact
        blocks = through_journal(blocks)
        yield stack.enter_context(Filesystem(blocks, now=view.epoch, allow_unclean=True, place=place))


@contextmanager
def opened_to_write(workspace: Workspace, disk_id: str, place: DiskMount) -> Iterator[Filesystem]:
    """The same in staging, to be written."""
    artifact = workspace.artifact(disk_id)
    with ExitStack() as stack:
        blocks: Blocks = stack.enter_context(RawFile(workspace.path(artifact), writable=True, durable=False))
        parsed = None
        if workspace.facts(disk_id)["format"] == "snapshot":
            parsed = parsed_base(workspace, disk_id)
            blocks = SnapshotStore(parsed.base, blocks, durable=False)
        blocks.name = artifact  # what a user knows it by, not its place in staging
        yield stack.enter_context(
            Filesystem(blocks, writable=True, now=workspace.epoch, place=place, parsed=parsed)
        )


def parsed_base(workspace: Workspace, disk_id: str) -> ParsedBase:
    """What is parsed of the image under a root, for all jobs of a run."""
    base = base_path(workspace, disk_id)
    return workspace.shared(f"parsed {base}", lambda: _parse(base))


@contextmanager
def _parse(base: Path) -> Iterator[ParsedBase]:
    with RawFile(base) as blocks, ParsedBase(blocks) as parsed:
        yield parsed


def shared_view(workspace: Workspace, artifact: str) -> views.ImageView:
    """An image to be asked by all jobs of a run."""
    return workspace.shared(f"view of {artifact}", lambda: _viewed(workspace.path(artifact)))


@contextmanager
def _viewed(image: Path) -> Iterator[views.ImageView]:
    with RawFile(image) as blocks, Filesystem(blocks) as filesystem:
        yield views.ImageView(filesystem)


@contextmanager
def opened_image(view: View, artifact: str) -> Iterator[Filesystem]:
    """The filesystem of an image."""
    with RawFile(view.path(artifact)) as blocks, Filesystem(blocks, now=view.epoch) as image:
        yield image


def base_path(view: View, disk_id: str) -> Path:
    """Where the image is that a root stands on."""
    return view.path(base_name(view, disk_id))


def base_name(view: View, disk_id: str) -> str:
    """What that image is called in the store, wherever the store lies; a snapshot is marked with it."""
    return cast("str", view.facts(disk_id)["base"])


def judge(situation: Situation, size_bytes: int | None) -> Verdict:
    """What is done about a disk that is a guest's from the moment it is published: made, adopted, grown.

    What it was first filled with no longer counts. `size_bytes` is the declared size; None: any.
    """
    if situation.missing:
        return Verdict(Verb.CREATE, (Reason(ReasonCode.MISSING),))
    if situation.record is None:
        return judge_unknown(situation, size_bytes)
    return judge_found(situation, judge_size(file_bytes(situation, situation.record), size_bytes))


def judge_unknown(situation: Situation, size_bytes: int | None) -> Verdict:
    """A disk that no record knows is taken over as it is, and grown to its size, unless it can't be."""
    if situation.found:
        return Verdict(Verb.BLOCKED, situation.found)
    unknown = Reason(ReasonCode.MISSING, {"record": True})
    sized = (
        Verdict(Verb.KEEP) if situation.file_bytes is None else judge_size(situation.file_bytes, size_bytes)
    )
    return Verdict(Verb.BLOCKED if sized.verb is Verb.BLOCKED else Verb.ADOPT, (unknown, *sized.reasons))


def judge_found(situation: Situation, verdict: Verdict) -> Verdict:
    """What is done about a recorded disk that was looked into: nothing, if that would fail.

    Of one that is only kept it matters whether it is another than was recorded: then it was cut, or swapped.
    """
    if not situation.found or situation.record is None or verdict.verb is Verb.REPLACE:
        return verdict
    is_other = any(reason.code is ReasonCode.BASE_UNKNOWN for reason in situation.found)
    resized = file_bytes(situation, situation.record) != situation.record.facts["file_bytes"]
    if verdict.verb is Verb.KEEP and not is_other and not resized:
        return verdict
    reasons = verdict.reasons if verdict.verb is Verb.BLOCKED else ()
    return Verdict(Verb.BLOCKED, (*reasons, *situation.found))


def file_bytes(situation: Situation, record: Record) -> int:
    """What a disk has now, which somebody may have changed; as long as nothing changes, what it had."""
    known = cast("int", record.facts["file_bytes"])
    return known if situation.file_bytes is None else situation.file_bytes


def judge_size(old: int, new: int | None) -> Verdict:
    """Whether a disk keeps its size, grows, or can't shrink."""
    if new is None or new == old:
        return Verdict(Verb.KEEP)
    sizes = {"old": old, "new": new}
    if new < old:
        return Verdict(Verb.BLOCKED, (Reason(ReasonCode.SIZE_SHRINK, dict(sizes)),))
    return Verdict(Verb.GROW, (Reason(ReasonCode.SIZE_GROW, dict(sizes)),))


def inspect(view: View, artifact: str) -> tuple[Reason, ...]:
    """What keeps a disk that no record knows from being taken over: it is no ext4, or none in good order."""
    try:
        with interrupted.open_recovered(view.path(artifact), artifact) as blocks:
            read_superblock(blocks, writable=True, allow_unreplayed=True)
            Filesystem(blocks, now=view.epoch, allow_unclean=True).abandon()
    except BangerError as err:
        facts = {"path": artifact, "error": err.brief, "hint": err.hint}
        return (Reason(ReasonCode.ARTIFACT_MODIFIED, facts),)
    return ()


def inspect_store(view: View, artifact: str, disk_id: str, image_id: str) -> tuple[Reason, ...]:
    """What keeps a recorded exception store from being used: its base is gone, or it was made on another."""
    base = str(view.facts(disk_id)["base"])
    if not view.path(base).is_file():
        made_again = view.artifact(image_id) == base
        return () if made_again else (Reason(ReasonCode.BASE_UNKNOWN, {"missing": base}),)
    try:
        with (
            RawFile(view.path(base)) as under,
            interrupted.open_recovered(view.path(artifact), artifact) as file,
        ):
            marked = snapshot.parse_mark(file.read(0, min(snapshot.HEAD_BYTES, file.size_bytes)))
            if marked not in {None, base}:
                return (Reason(ReasonCode.BASE_UNKNOWN, {"base": marked, "recorded": base}),)
            SnapshotStore(under, file)
    except BangerError as err:
        facts = {"path": artifact, "error": err.brief, "hint": err.hint}
        return (Reason(ReasonCode.ARTIFACT_MODIFIED, facts),)
    return ()


def refuse_to_shrink(artifact: str, old: int, new: int | None) -> None:
    """Raise if a disk is larger than it shall be: what lies beyond would be lost."""
    if new is not None and new < old:
        raise FilesystemError(
            f"'{artifact}' has {old} bytes, and the manifest wants {new}: a disk can't shrink",
            hint="give it at least that size in the manifest, or move the file away",
        )


def facts(path: Path) -> dict[str, Json]:
    """What is remembered of a disk that stands on nothing."""
    return {"format": "raw", "file_bytes": path.stat().st_size}


def make_empty(path: Path, geometry: tools.Geometry, workspace: Workspace) -> None:
    """Make a disk with an empty ext4 that allocates next to nothing.

    mke2fs leaves zeroed ranges allocated; a sparse copy of the few blocks it wrote leaves them behind.
    """
    _check_holes(workspace)
    skeleton = workspace.staging / "skeleton.ext4"
    run(tools.mke2fs(skeleton, geometry, fingerprint=workspace.fingerprint, epoch=workspace.epoch))
    clone.sparse_copy(skeleton, path)
    os.truncate(path, geometry.size_bytes)  # mke2fs leaves out a last group that would hold next to nothing
    skeleton.unlink()


def make_clone(source: Path, target: Path, workspace: Workspace) -> None:
    """Make a disk as a copy of another; said if it takes more room than it would have to."""
    _check_holes(workspace)
    if not clone.clone(source, target):
        workspace.warn(NO_REFLINK)


def _check_holes(workspace: Workspace) -> None:
    if not workspace.shared("holes", lambda: nullcontext(clone.keeps_holes(workspace.staging))):
        workspace.warn(NO_HOLES)


def grow(path: Path, size_bytes: int, epoch: int) -> None:
    """Grow the filesystem in a file of this job's own, its journal replayed first."""
    run(tools.e2fsck_preen(path, epoch=epoch, size_bytes=path.stat().st_size))
    os.truncate(path, size_bytes)
    run(tools.resize2fs(path, size_bytes=size_bytes, epoch=epoch))
