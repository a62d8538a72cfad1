"""What in a store needs an image: roots that stand on one, and launch files that name one.

An image's artifacts lie in directories of their own, `images/NAME/FINGERPRINT`, one for each recipe; such a
directory is needed or not as a whole.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeAlias

from bangerbuild.disk import formats
from bangerbuild.launch import files
from bangerbuild.model import ArtifactPath, StepId
from bangerbuild.model.artifacts import (
    IMAGE_DIRECTORIES,
    TOPS,
    VM_DIRECTORIES,
    VM_FILES,
    is_image_directory,
    named_image_directories,
)
from bangerbuild.planning import stand_ins
from bangerbuild.store import directories
from bangerbuild.store.faults import store_error

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from pathlib import Path

    from bangerbuild.store import Store

Dependent: TypeAlias = StepId | ArtifactPath
"""Who needs an image: the step of a root, or a launch file. Both know their `owner`."""


def image_directories(store: Store) -> list[str]:
    """Every directory of an image that is there, whether or not a record knows it; none behind a symlink."""
    found = (path for path in store.path.glob(IMAGE_DIRECTORIES) if not directories.is_closed(path.parent))
    there = (path for path in found if path.is_dir() and not _is_behind(path))
    return sorted(filter(is_image_directory, (str(path.relative_to(store.path)) for path in there)))


def unreadable(store: Store) -> list[str]:
    """Directories of VMs and launch files that can't be read: any image may be needed there."""
    top = store.path / TOPS["vm"]
    if _is_closed(top):
        return [TOPS["vm"]]
    closed = [path for path in store.path.glob(VM_DIRECTORIES) if _is_closed(path)]
    return sorted(
        [
            *(str(path.relative_to(store.path)) for path in closed),
            *(file for file in _all_launch_files(store) if not os.access(store.path / file, os.R_OK)),
        ]
    )


def _is_closed(directory: Path) -> bool:
    return directory.is_dir() and not os.access(directory, os.R_OK | os.X_OK)


def _is_behind(directory: Path) -> bool:
    """Whether the directory of an image, or one of those above it in the store, is a symlink."""
    return any(path.is_symlink() for path in (directory, *directory.parents[:2]))


def dependents(store: Store, *, apart: Collection[str] = ()) -> dict[str, list[Dependent]]:
    """Who needs which directory of an image: ids of roots, and paths of launch files.

    Args:
        store: what is there; a root that is recorded but gone needs nothing.
        apart: artifacts that don't count, because they go too.

    Raises:
        StoreError: a launch file can't be read, so that nothing can be said.
    """
    needed: dict[str, list[Dependent]] = {}
    roots = tuple(_roots(store, apart))
    for directory, who in (*roots, *_taken_out(store, roots), *_launch_files(store, apart)):
        known = needed.setdefault(directory, [])
        if who not in known:
            known.append(who)
    return needed


def _roots(store: Store, apart: Collection[str]) -> Iterator[tuple[str, Dependent]]:
    for record in sorted(store.records.values(), key=lambda record: record.id):
        directory = ArtifactPath(record.facts.get("base", "")).image_directory
        standing = (artifact for artifact in record.artifacts if artifact not in apart)
        if directory and any(map(store.may_exist, standing)):
            yield directory, StepId(record.step_id)


def _taken_out(store: Store, roots: Iterable[tuple[str, Dependent]]) -> Iterator[tuple[str, Dependent]]:
    """What was taken out of an image that roots stand on: they start with it.

    Of an image that is not the newest, any of several; of the newest what was taken last.
    """
    standing: dict[str, list[Dependent]] = {}
    for directory, who in roots:
        standing.setdefault(directory, []).append(who)
    for (step_id, image), records in stand_ins.taken_out(store.records).items():
        if image not in standing:
            continue
        last = store.records.get(step_id)
        needed = [last] if last is not None and stand_ins.rootfs_of(last) == image else records
        artifacts = (ArtifactPath(artifact) for record in needed for artifact in record.artifacts)
        for own in sorted({artifact.directory for artifact in artifacts}):
            yield from ((own, who) for who in standing[image])


def _launch_files(store: Store, apart: Collection[str]) -> Iterator[tuple[str, Dependent]]:
    """Whatever they say now: a user may have had reasons to edit one."""
    for artifact in _all_launch_files(store):
        if artifact in apart:
            continue
        path = store.path / artifact
        try:
            content = path.read_bytes()
        except OSError as err:
            raise store_error(err, path) from err
        for directory in sorted(named_image_directories(content)):
            yield directory, artifact


def _all_launch_files(store: Store) -> list[ArtifactPath]:
    names = files.names(kernel=True)
    known = (artifact for artifact in _vm_files(store) if artifact.file in names)
    return sorted(artifact for artifact in known if store.exists(artifact))


def _vm_files(store: Store) -> Iterator[ArtifactPath]:
    """Every file in the directory of a VM that can be entered, whether or not a record knows it."""
    found = (path for path in store.path.glob(VM_FILES) if not directories.is_closed(path.parent))
    return (ArtifactPath(path.relative_to(store.path)) for path in found)


def unknown_stores(store: Store) -> list[ArtifactPath]:
    """Disks that stand on an image, and of which no record says on which."""
    known = {
        artifact
        for record in store.records.values()
        if "base" in record.facts
        for artifact in record.artifacts
    }
    suffixes = tuple(one.suffix for one in formats.standing_on_base())
    return sorted(name for name in _vm_files(store) if name.endswith(suffixes) and name not in known)
