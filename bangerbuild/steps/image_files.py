"""The files that an image has of its own: `[[image.X.file]]` and `[[image.X.file_sync]]`."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.formats.overlay import INIT
from bangerbuild.disk.libext2fs import NO_SPACE
from bangerbuild.epoch import NANOSECONDS
from bangerbuild.errors import FilesystemError, GuestPathError
from bangerbuild.guest import cloud_init, container_marks, defaults, overlay_init
from bangerbuild.guest.paths import normal
from bangerbuild.sources.source import nothing_added
from bangerbuild.steps import labels, patching, views
from bangerbuild.tree import GuestEdits, GuestFile

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from pathlib import Path

    from bangerbuild.declared import FileSync, InlineFile
    from bangerbuild.epoch import Epoch
    from bangerbuild.model import Json, Source, View, Workspace
    from bangerbuild.sources.source import AddedEdits, Content
    from bangerbuild.tree import GuestChange


@dataclass(frozen=True)
class Files:
    """What is written into an image, on top of what its source holds."""

    files: tuple[InlineFile, ...] = field(default=(), metadata={"key": "file"})
    file_syncs: tuple[FileSync, ...] = field(default=(), metadata={"key": "file_sync"})
    authorized_keys: tuple[str, ...] = field(default=(), metadata={"recipe": False})
    """Always none: keys are a VM's affair."""
    overlay_init: bool = field(default=False, metadata={"key": "rootfs.overlay_init", "unless": False})
    """Whether the init is written that joins the image with an overlay root."""


NONE = Files()
HOST_TIMES = "host_times"
"""The fact by which `verify --rebuild` tells that times have changed."""


def sources(files: Files) -> tuple[Source, ...]:
    """What is read on the host."""
    return tuple(map(patching.source, files.file_syncs))


def write(
    files: Files, added: AddedEdits, target: Path, written: str, workspace: Workspace
) -> Mapping[str, Json]:
    """Write them into the private image at `target`, then what its source adds where none of them stands.

    Returns facts to remember.


    Raises:
        FilesystemError: a path leads nowhere, or there is no room.
        SourceError: an owner that the image does not know, a host file that can't be read; a program that
            the image lacks and that what is written into it calls.
    """
    if not writes(files, added):
        return {}
    epoch = workspace.epoch
    with _opened(target, written, workspace) as disk:
        view = views.ImageView(disk)
        disk.label_with(labels.of_view(view, written, workspace.warn))
        trees = patching.trees(workspace, files.file_syncs)
        patching.make(disk, defaults.own_changes(files, view, trees.paths).changes, epoch)
        patching.sync(disk, patching.synced(files, view, trees, workspace.warn, epoch), {})
        edits = _added(files, added, views.ImageView(disk), written)
        own = {*trees.paths, *(normal(one.guest) for one in files.files)}
        patching.make(disk, _of_epoch(_yielding(edits, own), epoch), epoch)
        for warning in edits.warnings:
            workspace.warn(warning)
    return _host_times(files, trees)


def _added(files: Files, added: AddedEdits, view: views.ImageView, written: str) -> GuestEdits:
    """What the source adds, and what was asked for that is no file of the user's."""
    if not files.overlay_init:
        return added(view)
    return GuestEdits.joined((added(view), overlay_init.edits(INIT, view, written)))


def _yielding(edits: GuestEdits, taken: Collection[str]) -> Iterator[GuestChange]:
    return (change for change in edits.changes if normal(change.path) not in taken)


def warnings(files: Files, view: View) -> tuple[str, ...]:
    """What `write` will warn of, as far as it is known before."""
    return tuple(patching.left_out(files.file_syncs, patching.trees(view, files.file_syncs)))


def writes(files: Files, added: AddedEdits) -> bool:
    """Whether `write` has anything to write."""
    return files != NONE or added is not nothing_added


def told(content: Content, *, is_root: bool) -> AddedEdits:
    """What a source adds; to the root of what was a machine also what its cloud-init is told."""
    return cloud_init.no_cloud if content.is_of_machine and is_root else content.added


def look_over(target: Path, written: str, workspace: Workspace) -> bool:
    """Remove from a new root what would tell the machine that it is a container; say what it lacks.

    Returns whether anything was removed: a root without such marks is not touched.
    """
    with RawFile(target) as blocks:
        blocks.name = f"image of {written}"
        with Filesystem(blocks, now=workspace.epoch) as disk:
            view = views.ImageView(disk)
            edits = container_marks.removals(view, written)
            labels.warn_unlabelled(disk, view, written, workspace.warn)
    if edits.changes:
        with _opened(target, written, workspace) as disk:
            patching.make(disk, edits.changes, workspace.epoch)
        for warning in edits.warnings:
            workspace.warn(warning)
    return bool(edits.changes)


@contextmanager
def _opened(target: Path, written: str, workspace: Workspace) -> Iterator[Filesystem]:
    with RawFile(target, writable=True, durable=False) as blocks:
        blocks.name = f"image of {written}"
        with Filesystem(blocks, writable=True, now=workspace.epoch) as disk:
            try:
                yield disk
            except FilesystemError as err:
                if isinstance(err, GuestPathError):
                    raise
                hint = "give the image a larger `size`" if err.code in NO_SPACE else err.hint
                raise FilesystemError(err.brief, details=err.details, hint=hint, code=err.code) from err


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
