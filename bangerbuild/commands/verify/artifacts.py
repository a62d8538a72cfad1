"""One artifact and what the store knows of it: what is to be checked, and the checks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bangerbuild.commands.verify.check import Check, CheckResult, judged, told
from bangerbuild.disk import checking, clone, in_use
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.errors import BangerError, ToolError
from bangerbuild.steps import KINDS, PATCHES, disks, ledger
from bangerbuild.tree import DiskMount

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from bangerbuild.model import Record
    from bangerbuild.store import Stamp, Store


@dataclass(frozen=True)
class Artifact:
    """One artifact as its record has it; a plain value, so that threads need not share the store."""

    name: str
    """Relative to the store."""
    file: Path
    id: str
    """The step that makes it."""
    exclusive: bool
    """Whether a guest may write to it, or be writing now."""
    stamp: Stamp | None
    base: Path | None
    """The image under a snapshot; None: it is none."""
    base_name: str
    """What it is called in the store."""
    patch: str
    """The step that writes into it."""
    lines: Mapping[str, str] = field(default_factory=dict)
    """What that wrote, as `steps.ledger` has it."""
    mount_point: str = "/"
    """Where the guest sees it."""


def of(store: Store, record: Record) -> Iterator[Artifact]:
    """What a record says of each of its artifacts; nothing for a step that makes none of its own."""
    if record.recipe.kind in PATCHES:
        return
    kind = KINDS.get(record.recipe.kind)
    snapshot = record.facts.get("format") == "snapshot"
    base = record.facts.get("base") if snapshot else None
    patch = f"{record.id}.patch"
    patched = store.records.get(patch)
    for name in record.artifacts:
        yield Artifact(
            name=name,
            file=store.path / name,
            id=record.step_id,
            exclusive=kind is None or kind.exclusive,
            stamp=store.stamps.get(name),
            base=store.path / str(base) if base else None,
            base_name=str(base or ""),
            patch=patch,
            lines=store.ledger(patch) if patched and patched.artifacts == record.artifacts else {},
            mount_point=str(patched.facts.get("mount_point", "/")) if patched else "/",
        )


@dataclass(frozen=True)
class CheckContext:
    """What the checks of one artifact may use."""

    directory: Path
    """A private one on the store's filesystem, empty; the caller removes it."""
    skeletons: checking.Skeletons
    epoch: int
    """Seconds since 1970 for what is written into copies."""


def examine(artifact: Artifact, means: CheckContext) -> tuple[Check, ...]:
    """Every check of an artifact, which is only read, as far as the ones before allow the next."""
    try:
        before = artifact.file.stat()
        holder = in_use.writer(artifact.file) if artifact.exclusive else None
    except FileNotFoundError:
        return (_check(artifact, "artifact", CheckResult.FAILED, "it is missing"),)
    except OSError as err:
        return (_check(artifact, "artifact", CheckResult.FAILED, told(err)),)
    if holder:
        return (_check(artifact, "use", CheckResult.IN_USE, f"in use by {holder}"),)
    checks = (_check(artifact, "artifact", CheckResult.OK), *_contents(artifact, before, means))
    if artifact.exclusive and _was_used(artifact, before):
        return (_check(artifact, "use", CheckResult.IN_USE, "it was used while it was checked"),)
    return checks


def _check(artifact: Artifact, check: str, result: CheckResult, message: str = "") -> Check:
    return Check(artifact.name, artifact.id, check, result, message)


def _was_used(artifact: Artifact, before: os.stat_result) -> bool:
    try:
        return _look(artifact.file.stat()) != _look(before) or in_use.writer(artifact.file) is not None
    except OSError:
        return True


def _look(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_ino, status.st_size, status.st_mtime_ns


def _contents(artifact: Artifact, before: os.stat_result, means: CheckContext) -> Iterator[Check]:
    yield from judged(artifact.name, artifact.id, "digest", lambda: _digest_faults(artifact, before))
    if artifact.base is not None:
        if not artifact.base.is_file():
            lost = f"its base '{artifact.base}' is missing: nothing else can be said of it"
            yield _check(artifact, "base", CheckResult.FAILED, lost)
            return
        yield _check(artifact, "base", CheckResult.OK)
    if artifact.name.endswith(disks.SUFFIXES):
        yield from _disk(artifact, means)


def _digest_faults(artifact: Artifact, status: os.stat_result) -> Iterable[str]:
    """A disk that somebody has written to since is a guest's, and what a guest writes is no fault."""
    stamp = artifact.stamp
    if stamp is None or stamp.guest:
        return
    untouched = stamp.fits(status)
    if (artifact.exclusive and not untouched) or clone.digest(artifact.file) == stamp.digest:
        return
    yield "its bytes changed although nobody wrote to it" if untouched else "was changed by someone else"


def _disk(artifact: Artifact, means: CheckContext) -> Iterator[Check]:
    source = checking.CheckedDisk(artifact.file, artifact.base, artifact.name, artifact.base_name)
    try:
        disk = checking.readable(source, means.directory, means.skeletons, epoch=means.epoch)
    except (BangerError, OSError) as err:
        yield _check(artifact, "filesystem", CheckResult.FAILED, told(err))
        return
    yield from judged(artifact.name, artifact.id, "filesystem", lambda: _filesystem_faults(disk.path, source))
    if artifact.lines:
        yield from judged(artifact.name, artifact.patch, "files", lambda: _file_faults(artifact, disk))


def _filesystem_faults(raw: Path, source: checking.CheckedDisk) -> Iterator[str]:
    """One fault for all that e2fsck says: what follows the first is seldom another."""
    try:
        first, *more = checking.errors_in(raw) or ("",)
    except ToolError as err:
        raise checking.in_place(err, raw, source) from err
    first = first.replace(str(raw), str(source.disk))
    if first:
        yield f"e2fsck: {first} (and {len(more)} more)" if more else f"e2fsck: {first}"


def _file_faults(artifact: Artifact, disk: checking.Readable) -> Iterator[str]:
    place = DiskMount(artifact.mount_point)
    with disk.opened() as blocks, Filesystem(blocks, allow_unclean=True, place=place) as filesystem:
        for path in ledger.differing(filesystem, artifact.lines):
            yield f"{path} differs in the guest"
