"""The files that an image has of its own: `[[image.X.file]]` and `[[image.X.file_sync]]`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.libext2fs import NO_SPACE
from bangerbuild.errors import FilesystemError, GuestPathError
from bangerbuild.guest import defaults
from bangerbuild.steps import patching, views

if TYPE_CHECKING:
    from pathlib import Path

    from bangerbuild.declared import FileSync, InlineFile
    from bangerbuild.model import Source, Workspace
    from bangerbuild.tree import GuestEdits


@dataclass(frozen=True)
class Files:
    """What is written into an image, on top of what its source holds."""

    files: tuple[InlineFile, ...] = field(default=(), metadata={"key": "file"})
    file_syncs: tuple[FileSync, ...] = field(default=(), metadata={"key": "file_sync"})
    authorized_keys: tuple[str, ...] = field(default=(), metadata={"recipe": False})
    """Always none: keys are a VM's affair."""


NONE = Files()


def sources(files: Files) -> tuple[Source, ...]:
    """What is read on the host."""
    return tuple(map(patching.source, files.file_syncs))


def write(files: Files, added: GuestEdits, target: Path, written: str, workspace: Workspace) -> None:
    """Write them into the private image at `target`, after what its source has added.

    Raises:
        FilesystemError: a path leads nowhere, or there is no room.
        SourceError: an owner that the image does not know, a host file that can't be read.
    """
    if files == NONE and not added.changes:
        return
    for warning in added.warnings:
        workspace.warn(warning)
    with RawFile(target, writable=True, durable=False) as blocks:
        blocks.name = f"image of {written}"
        with Filesystem(blocks, writable=True, now=workspace.epoch) as disk:
            view = views.ImageView(disk)
            try:
                patching.make(disk, added.changes)
                trees = patching.trees(workspace, files.file_syncs)
                patching.make(disk, defaults.own_changes(files, view, trees.paths).changes)
                patching.sync(disk, patching.synced(files, view, trees, workspace.warn), {})
            except FilesystemError as err:
                if isinstance(err, GuestPathError):
                    raise
                hint = "give the image a larger `size`" if err.code in NO_SPACE else err.hint
                raise FilesystemError(err.brief, details=err.details, hint=hint, code=err.code) from err
