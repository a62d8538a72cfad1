"""Which disk is meant by a path, or by an id and a guest path; and where its guest mounts it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bangerbuild import store
from bangerbuild.disk import formats
from bangerbuild.errors import UsageError
from bangerbuild.guest.paths import normal
from bangerbuild.model import StepId
from bangerbuild.neighbours import near, nearest
from bangerbuild.tree import ALONE, DiskMount

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from bangerbuild.model import Record

ID = re.compile(r"(?:vm|image)\.[a-z0-9][a-z0-9_-]*(?:\.[a-z0-9][a-z0-9_.@-]*)?", re.ASCII | re.IGNORECASE)
DEFAULT_PARTS = {"vm": "root", "image": "rootfs"}
MOUNT_POINT = "mount_point"
"""The fact of a patch's record that says where its disk is mounted."""


@dataclass(frozen=True)
class NamedDisk:
    """A disk, and where its guest mounts it."""

    path: Path
    place: DiskMount = ALONE
    """As far as records tell; alone where they don't."""


def is_id(word: str) -> bool:
    """Whether a word names a disk by its step; a file of that name comes first."""
    return ID.fullmatch(word) is not None and not os.path.lexists(word)


def at_path(path: Path) -> NamedDisk:
    """The disk at a path; where it is mounted is found in the records of the store that it lies in."""
    found = _in_store(path)
    if found is None:
        return NamedDisk(path)
    top, artifact = found
    points = _mount_points(store.read(top).records)
    return NamedDisk(path, DiskMount(points[artifact]) if artifact in points else ALONE)


def _in_store(path: Path) -> tuple[Path, str] | None:
    whole = path.parent.resolve() / path.name
    top = next((one for one in whole.parents if (one / "state.db").exists()), None)
    return None if top is None else (top, str(whole.relative_to(top)))


def by_id(word: str, guest_path: str, top: Path, declared: Collection[str] = ()) -> NamedDisk:
    """The disk that an id names: of a VM the one that has the guest path.

    Args:
        word: the id of a VM, an image, or one of their disks.
        guest_path: what is asked for.
        top: the store.
        declared: the names of declared VMs, built or not.

    Raises:
        UsageError: there is no such disk.
    """
    opened = store.read(top)
    opened.check_records()
    step_id = StepId(word.removesuffix(".patch"))
    disks = _disks(opened.records)
    own = {one: artifact for one, artifact in disks.items() if StepId(one).owner == step_id.owner}
    if not own:
        raise _unknown(word, disks, declared)
    points = _mount_points(opened.records)
    if step_id.part:
        if step_id not in own:
            raise UsageError(f"'{word}' is no disk", hint=near(word, own) or f"disks: {', '.join(own)}")
        return NamedDisk(top / own[step_id], DiskMount(points.get(own[step_id], "/")))
    mounted = {points[artifact]: artifact for artifact in own.values() if artifact in points}
    point = _longest(mounted, guest_path)
    root = own.get(f"{step_id}.{DEFAULT_PARTS[step_id.table]}") or next(iter(own.values()))
    return NamedDisk(top / mounted.get(point, root), DiskMount(point, frozenset(mounted) - {point}))


def _disks(records: Mapping[str, Record]) -> dict[str, str]:
    """Every disk that records know, by the id of the step that makes it."""
    return {
        step_id: artifact
        for step_id, record in sorted(records.items())
        if step_id == record.step_id and not step_id.endswith(".patch")
        for artifact in record.artifacts
        if formats.is_disk(artifact)
    }


def _mount_points(records: Mapping[str, Record]) -> dict[str, str]:
    """Where disks other than roots are mounted, by their paths in the store."""
    return {
        artifact: normal(str(record.facts[MOUNT_POINT]))
        for record in records.values()
        if record.facts.get(MOUNT_POINT, "/") != "/"
        for artifact in record.artifacts
    }


def _longest(mounted: Mapping[str, str], guest_path: str) -> str:
    path = normal(guest_path) if guest_path.startswith("/") else guest_path
    points = (point for point in mounted if path == point or path.startswith(f"{point}/"))
    return max(points, key=len, default="/")


def _unknown(word: str, disks: Mapping[str, str], declared: Collection[str]) -> UsageError:
    """The error for a VM or image that has no disk in the store."""
    owner = StepId(word).owner
    if owner.table == "vm" and owner.name in declared:
        return UsageError(f"{owner} is not built", hint=f"bangerbuild apply --target {owner}")
    known = {StepId(step_id).owner for step_id in disks} | {f"vm.{name}" for name in declared}
    hint = near(owner, known) or "`bangerbuild status` lists what is in the store"
    return UsageError(f"nothing in the store is called '{owner}'", hint=hint)


def check_word(word: str, top: Path, declared: Collection[str]) -> None:
    """Look whether a word that is no file may be meant for a VM or an image.

    Raises:
        UsageError: one has about that name.
    """
    names = {StepId(step_id).owner for step_id in _disks(store.read(top).records)}
    names |= {StepId(f"vm.{name}") for name in declared}
    owners = sorted(names, reverse=True)
    meant = nearest(word, {name for owner in owners for name in (owner, owner.name)})
    for owner in owners:
        if meant in {owner, owner.name}:
            raise UsageError(f"there is no disk '{word}'", hint=f"did you mean '{owner}'?")
