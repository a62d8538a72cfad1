"""One artifact and what the store knows of it: what is to be checked, and the checks."""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bangerbuild.commands.verify.check import Check, CheckResult, judged, told
from bangerbuild.disk import checking, clone, formats, in_use, ledger_lines
from bangerbuild.disk.formats.values import Base, StoredDisk
from bangerbuild.errors import BangerError, StoreError, ToolError
from bangerbuild.steps import disks, is_exclusive, is_patch
from bangerbuild.tree import DiskMount

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from bangerbuild.disk.formats.format import DiskFormat
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
    format: DiskFormat | None
    """None: it holds no filesystem."""
    base: Base | None
    """The image that it stands on; None: it needs none."""
    patch: str
    """The step that writes into it."""
    lines: Mapping[str, str] = field(default_factory=dict)
    """What that wrote, as `steps.ledger` has it."""
    unknown: str = ""
    """Why it can't be told what that wrote; empty: it can."""
    mount_point: str = "/"
    """Where the guest sees it."""


def of(store: Store, record: Record) -> Iterator[Artifact]:
    """What a record says of each of its artifacts; nothing for a step that makes none of its own."""
    if is_patch(record.recipe.kind):
        return
    patch = f"{record.id}.patch"
    patched = store.records.get(patch)
    for name in record.artifacts:
        disk_format = _format(record, name)
        lines, unknown = (
            _ledger(store, patch) if patched and patched.artifacts == record.artifacts else ({}, "")
        )
        yield Artifact(
            name=name,
            file=store.path / name,
            id=record.step_id,
            exclusive=is_exclusive(record.recipe.kind),
            stamp=store.stamps.get(name),
            format=disk_format,
            base=_base(store, record) if disk_format and disk_format.stands_on_base else None,
            patch=patch,
            lines=lines,
            unknown=unknown,
            mount_point=str(patched.facts.get("mount_point", "/")) if patched else "/",
        )


def _ledger(store: Store, patch: str) -> tuple[Mapping[str, str], str]:
    """What a patch wrote. A row that is damaged is a fault of that disk alone."""
    try:
        return store.ledger(patch), ""
    except StoreError as err:
        return {}, told(err)


def _format(record: Record, name: str) -> DiskFormat | None:
    """Records of images name no format, and some of their artifacts are no disks."""
    is_disk = "format" in record.facts or formats.is_disk(name)
    return disks.format_of(record.facts, name) if is_disk else None


def _base(store: Store, record: Record) -> Base:
    name = str(record.fact("base"))
    return Base(store.path / name, name)


def examine(artifact: Artifact, room: checking.CheckRoom) -> tuple[Check, ...]:
    """Every check of an artifact, which is only read, as far as the ones before allow the next."""
    try:
        before = artifact.file.stat()
        if not stat.S_ISREG(before.st_mode):  # to open a FIFO would wait for ever
            what = "a directory" if stat.S_ISDIR(before.st_mode) else "no regular file"
            return (_check(artifact, "artifact", CheckResult.FAILED, f"it is {what}"),)
        holder = in_use.writer(artifact.file) if artifact.exclusive else None
    except FileNotFoundError:
        return (_check(artifact, "artifact", CheckResult.FAILED, "it is missing"),)
    except OSError as err:
        return (_check(artifact, "artifact", CheckResult.FAILED, told(err)),)
    if holder:
        return (_check(artifact, "use", CheckResult.IN_USE, f"in use by {holder}"),)
    checks = (_check(artifact, "artifact", CheckResult.OK), *_contents(artifact, before, room))
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


def _contents(artifact: Artifact, before: os.stat_result, room: checking.CheckRoom) -> Iterator[Check]:
    yield from judged(artifact.name, artifact.id, "digest", lambda: _digest_faults(artifact, before))
    if artifact.base is not None:
        if lost := _lost(artifact.base.path):
            message = f"its base '{artifact.base.path}' {lost}: nothing else can be said of it"
            yield _check(artifact, "base", CheckResult.FAILED, message)
            return
        yield _check(artifact, "base", CheckResult.OK)
    if artifact.format is not None:
        yield from _disk(artifact, artifact.format, room)


def _lost(base: Path) -> str:
    """Why nothing stands on a base; empty: it is there."""
    try:
        return "" if base.is_file() else "is missing"
    except OSError as err:
        return told(err)


def _digest_faults(artifact: Artifact, status: os.stat_result) -> Iterable[str]:
    """A disk that somebody has written to since is a guest's, and what a guest writes is no fault."""
    stamp = artifact.stamp
    if stamp is None or stamp.guest:
        return
    untouched = stamp.fits(status)
    if (artifact.exclusive and not untouched) or clone.digest(artifact.file) == stamp.digest:
        return
    yield "its bytes changed although nobody wrote to it" if untouched else "was changed by someone else"


def _disk(artifact: Artifact, disk_format: DiskFormat, room: checking.CheckRoom) -> Iterator[Check]:
    try:
        disk = disk_format.check(StoredDisk(artifact.file, artifact.name, artifact.base), room)
    except (BangerError, OSError) as err:
        yield _check(artifact, "filesystem", CheckResult.FAILED, told(err))
        return
    yield from judged(artifact.name, artifact.id, "filesystem", lambda: _filesystem_faults(disk))
    if artifact.unknown:
        yield Check(artifact.name, artifact.patch, "files", CheckResult.FAILED, artifact.unknown)
    if artifact.lines:
        yield from judged(artifact.name, artifact.patch, "files", lambda: _file_faults(artifact, disk))


def _filesystem_faults(disk: checking.Readable) -> Iterator[str]:
    """One fault for all that e2fsck says: what follows the first is seldom another."""
    try:
        first, *more = checking.errors_in(disk.path) or ("",)
    except ToolError as err:
        raise checking.told_of(err, disk.path, disk.disk) from err
    first = first.replace(str(disk.path), str(disk.disk.path))
    if first:
        yield f"e2fsck: {first} (and {len(more)} more)" if more else f"e2fsck: {first}"


def _file_faults(artifact: Artifact, disk: checking.Readable) -> Iterator[str]:
    with disk.opened_filesystem(DiskMount(artifact.mount_point)) as filesystem:
        for path in ledger_lines.differing(filesystem, artifact.lines):
            yield f"{path} differs in the guest"
