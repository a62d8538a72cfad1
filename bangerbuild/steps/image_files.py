"""The files that an image has of its own: `[[image.X.file]]` and `[[image.X.file_sync]]`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.libext2fs import NO_SPACE
from bangerbuild.epoch import NANOSECONDS
from bangerbuild.errors import FilesystemError, GuestPathError
from bangerbuild.guest import defaults
from bangerbuild.steps import patching, views
from bangerbuild.tree import GuestFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from bangerbuild.declared import FileSync, InlineFile
    from bangerbuild.epoch import Epoch
    from bangerbuild.model import Json, Source, Workspace
    from bangerbuild.tree import GuestChange, GuestEdits


@dataclass(frozen=True)
class Files:
    """What is written into an image, on top of what its source holds."""

    files: tuple[InlineFile, ...] = field(default=(), metadata={"key": "file"})
    file_syncs: tuple[FileSync, ...] = field(default=(), metadata={"key": "file_sync"})
    authorized_keys: tuple[str, ...] = field(default=(), metadata={"recipe": False})
    """Always none: keys are a VM's affair."""


NONE = Files()
HOST_TIMES = "host_times"
"""The fact by which `verify --rebuild` tells that times have changed."""


def sources(files: Files) -> tuple[Source, ...]:
    """What is read on the host."""
    return tuple(map(patching.source, files.file_syncs))


def write(
    files: Files, added: GuestEdits, target: Path, written: str, workspace: Workspace
) -> Mapping[str, Json]:
    """Write them into the private image at `target`, after what its source has added; facts to remember.

    Raises:
        FilesystemError: a path leads nowhere, or there is no room.
        SourceError: an owner that the image does not know, a host file that can't be read.
    """
    if files == NONE and not added.changes:
        return {}
    epoch = workspace.epoch
    for warning in added.warnings:
        workspace.warn(warning)
    with RawFile(target, writable=True, durable=False) as blocks:
        blocks.name = f"image of {written}"
        with Filesystem(blocks, writable=True, now=epoch) as disk:
            view = views.ImageView(disk)
            try:
                patching.make(disk, _of_epoch(added.changes, epoch), epoch)
                trees = patching.trees(workspace, files.file_syncs)
                patching.make(disk, defaults.own_changes(files, view, trees.paths).changes, epoch)
                patching.sync(disk, patching.synced(files, view, trees, workspace.warn, epoch), {})
            except FilesystemError as err:
                if isinstance(err, GuestPathError):
                    raise
                hint = "give the image a larger `size`" if err.code in NO_SPACE else err.hint
                raise FilesystemError(err.brief, details=err.details, hint=hint, code=err.code) from err
    return _host_times(files, trees)


def _of_epoch(changes: Iterable[GuestChange], epoch: Epoch) -> Iterator[GuestChange]:
    """What a source adds has the time of all that is made: nobody edits it in an image."""
    for change in changes:
        if isinstance(change, GuestFile):
            yield replace(change, mtime_ns=epoch * NANOSECONDS)
        else:
            yield change


def _host_times(files: Files, trees: patching.Trees) -> dict[str, Json]:
    """The digest of the times of the host that went into the image, which no fingerprint counts."""
    own = [(file.guest, file.mtime_ns) for file in files.files if file.times == "host"]
    synced = [
        (patching.guest_path(sync, path), mtime_ns)
        for sync, survey in zip(files.file_syncs, trees.surveys, strict=True)
        if sync.times == "host"
        for path, mtime_ns in survey.mtimes()
    ]
    if not own and not synced:
        return {}
    return {HOST_TIMES: hashlib.sha256(repr([own, synced]).encode(errors="surrogateescape")).hexdigest()}
