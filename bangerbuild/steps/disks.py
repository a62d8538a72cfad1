"""Opening the disks that steps make and patch, each through its format.

A disk's record remembers, as facts, its `format`, its `base` (the image that a root stands on or was made
from; other disks have none) and its `file_bytes`, the size as the manifest counts it.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from bangerbuild.disk import formats
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.formats.values import Base, StoredDisk
from bangerbuild.errors import BangerError, OtherBaseError
from bangerbuild.model import ArtifactPath, Reason, ReasonCode
from bangerbuild.model.recipe import remembered
from bangerbuild.steps import views

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from bangerbuild.disk.formats.format import DiskFormat
    from bangerbuild.disk.opened import OpenedDisk
    from bangerbuild.model import Json, View, Workspace
    from bangerbuild.tree import DiskMount


def format_of(facts: Mapping[str, Json], artifact: str) -> DiskFormat:
    """The format that is recorded of a disk; of one without a record, the one that such files are named by.

    Raises:
        StoreError: this version does not know it.
    """
    recorded = facts.get("format")
    if recorded is None:
        return formats.of_suffix(ArtifactPath(artifact).suffix)
    return formats.named(str(recorded))


def stored(view: View, disk_id: str) -> tuple[DiskFormat, StoredDisk]:
    """A disk's format, and its file as that wants to be told of it."""
    artifact, facts = view.artifact(disk_id), view.facts(disk_id)
    disk_format = format_of(facts, artifact)
    base = base_of(view, disk_id) if disk_format.stands_on_base else None
    return disk_format, StoredDisk(view.path(artifact), artifact, base)


def base_of(view: View, disk_id: str) -> Base:
    """The image that a root stands on, or was made from."""
    name = str(remembered(view.facts(disk_id), "base", disk_id))
    return Base(view.path(name), name)


def opened_to_read(view: View, disk_id: str, place: DiskMount) -> AbstractContextManager[OpenedDisk]:
    """What is on a disk, to be read; paths in it are the guest's."""
    disk_format, disk = stored(view, disk_id)
    return disk_format.opened(disk, epoch=view.epoch, place=place)


def opened_to_write(
    workspace: Workspace, disk_id: str, place: DiskMount
) -> AbstractContextManager[OpenedDisk]:
    """The same in staging, to be written."""
    disk_format, disk = stored(workspace, disk_id)
    return disk_format.opened_to_write(disk, place, workspace)


def inspect(view: View, disk_format: DiskFormat, disk: StoredDisk) -> tuple[Reason, ...]:
    """What keeps a disk from being used, or from being taken over where no record knows it."""
    try:
        disk_format.inspect(disk, view.epoch)
    except OtherBaseError as err:
        recorded = disk.base.name if disk.base else None
        return (Reason(ReasonCode.BASE_UNKNOWN, {"base": err.made_on, "recorded": recorded}),)
    except BangerError as err:
        facts = {"path": disk.name, "error": err.brief, "hint": err.hint}
        return (Reason(ReasonCode.ARTIFACT_MODIFIED, facts),)
    return ()


def shared_view(view: View, artifact: str) -> views.ImageView:
    """An image to be asked by all steps of a plan, or all jobs of a run."""
    return view.shared(f"view of {artifact}", lambda: _viewed(view.path(artifact)))


@contextmanager
def _viewed(image: Path) -> Iterator[views.ImageView]:
    with RawFile(image) as blocks, Filesystem(blocks) as filesystem:
        yield views.ImageView(filesystem)


def shared_source(view: View, artifact: str, place: DiskMount) -> OpenedDisk:
    """What disks are made from, to be asked by all steps of a plan; paths in it are the guest's."""
    return view.shared(("source", artifact, place), lambda: _source(view.path(artifact), place))


@contextmanager
def _source(path: Path, place: DiskMount) -> Iterator[OpenedDisk]:
    with RawFile(path) as blocks, Filesystem(blocks, place=place) as filesystem:
        yield filesystem


@contextmanager
def opened_image(view: View, artifact: str) -> Iterator[Filesystem]:
    """The filesystem of an image."""
    with RawFile(view.path(artifact)) as blocks, Filesystem(blocks, now=view.epoch) as image:
        yield image
