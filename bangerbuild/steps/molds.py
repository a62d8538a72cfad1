"""New roots in numbers: what roots of one image get alike is written once, and so is what differs little.

Three layers, always in this order, so that a root's bytes do not depend on which others are made with it:
what does not depend on the VM, what its file_syncs bring, what is its own. The first two are the ground of
all roots that share them. Roots whose own files are called the same and take as many blocks are cast from
one mold.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bangerbuild.disk.base import ParsedBase
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.mold import Mold, room
from bangerbuild.disk.overlay import SnapshotStore
from bangerbuild.guest.files import GuestFile
from bangerbuild.guest.paths import normal
from bangerbuild.steps import disks, ledger, patching

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from bangerbuild.guest.files import GuestChange, GuestView
    from bangerbuild.model import Workspace
    from bangerbuild.steps.root_patch import RootPatch

MOST_BYTES = 8 << 20
"""How much file_syncs may bring for a ground to be kept in memory."""


@dataclass(frozen=True)
class Layers:
    """What a new root gets, in the order in which it is written."""

    alike: tuple[GuestChange, ...]
    patch: RootPatch
    """Its file_syncs come next."""
    trees: patching.Trees
    """What they bring."""
    own: tuple[GuestChange, ...]
    now: GuestView

    def ground(self, base: Path) -> object:
        """What decides the bytes of the first two layers."""
        spared = self.trees.paths & {normal(file.guest) for file in self.patch.files}
        return base, self.patch.place, self.alike, self.patch.file_syncs, spared

    def shape(self, block_bytes: int) -> object:
        """What decides the third one's, but for the content of files."""
        return tuple(
            (change.path, change.mode, change.uid, change.gid, -(-len(change.content) // block_bytes))
            if isinstance(change, GuestFile)
            else change
            for change in self.own
        )

    def files(self) -> list[GuestFile]:
        """Those of its own changes that have content."""
        return [change for change in self.own if isinstance(change, GuestFile) and change.content]


@dataclass(frozen=True)
class _Ground:
    parsed: ParsedBase
    lines: Mapping[str, str]
    """What the file_syncs wrote, see `ledger`."""
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Molded:
    mold: Mold
    files: tuple[str, ...]
    """What there is room for, by path."""
    twins: tuple[tuple[str, str], ...]
    """Paths that lead to one name."""


def write(workspace: Workspace, layers: Layers, lines: Mapping[str, str]) -> dict[str, str]:
    """Write all layers into the new root of this job; what was written.

    Args:
        workspace: the job's.
        layers: what to write.
        lines: what of the first and third layer is to be remembered.

    Raises:
        GuestPathError: two paths that lead to one name shall not be the same.
    """
    disk_id = layers.patch.changes
    is_snapshot = workspace.facts(disk_id)["format"] == "snapshot"
    if is_snapshot and layers.trees.size_bytes <= MOST_BYTES:
        return _cast(workspace, layers, lines)
    with disks.opened_to_write(workspace, disk_id, layers.patch.place) as disk:
        whole = {**_lay_ground(disk, layers, workspace.warn), **lines}
        patching.make(disk, layers.own)
        ledger.refuse_two_of_one(disk, whole)
    return whole


def _cast(workspace: Workspace, layers: Layers, lines: Mapping[str, str]) -> dict[str, str]:
    artifact = workspace.artifact(layers.patch.changes)
    key = layers.ground(disks.base_path(workspace, layers.patch.changes))
    with workspace.using(key, lambda: _grounded(workspace, layers)) as ground:
        for warning in ground.warnings:
            workspace.warn(warning)
        whole = {**ground.lines, **lines}
        shape = layers.shape(ground.parsed.superblock.block_bytes)
        with workspace.using((key, shape), lambda: _molded(workspace, layers, ground, whole)) as molded:
            ledger.refuse_different(molded.twins, whole, artifact)
            contents = {file.path: file.content for file in layers.files()}
            own = [contents[path] for path in molded.files]
            workspace.has_digest(artifact, molded.mold.cast(workspace.path(artifact), artifact, own))
    return whole


@contextmanager
def _grounded(workspace: Workspace, layers: Layers) -> Iterator[_Ground]:
    base = disks.parsed_base(workspace, layers.patch.changes)
    warnings: list[str] = []
    with _store_in_memory(workspace, layers, base) as store:
        with _opened(workspace, layers, base, store) as disk:
            lines = _lay_ground(disk, layers, warnings.append)
        with ParsedBase(store) as parsed:
            yield _Ground(parsed, lines, tuple(warnings))


@contextmanager
def _molded(
    workspace: Workspace, layers: Layers, ground: _Ground, lines: Mapping[str, str]
) -> Iterator[_Molded]:
    with _store_in_memory(workspace, layers, ground.parsed) as store:
        with _opened(workspace, layers, ground.parsed, store) as disk:
            patching.make(disk, layers.own)
            twins = tuple(ledger.twins(disk, lines))
            rooms = {file.path: found for file in layers.files() if (found := room(disk, file.path))}
            for found in rooms.values():
                for at, length in ((found.inode_at, disk.superblock.inode_bytes), *found.runs):
                    store.keep(at, length)
            superblock = disk.nodes.handle.superblock()
        yield _Molded(Mold(store, superblock, rooms.values()), tuple(rooms), twins)


@contextmanager
def _store_in_memory(workspace: Workspace, layers: Layers, parsed: ParsedBase) -> Iterator[SnapshotStore]:
    path = workspace.staging / f"{layers.patch.name}.mold"
    base = str(workspace.facts(layers.patch.changes)["base"])
    with SnapshotStore.create(parsed.base, path, durable=False, base_name=base) as store:
        path.unlink()  # the open file is enough
        # The one that asks first hears what is wrong.
        store.name = workspace.artifact(layers.patch.changes)
        if parsed.chunks is not None:
            store.start_with(parsed.chunks)
        yield store


def _opened(workspace: Workspace, layers: Layers, parsed: ParsedBase, store: SnapshotStore) -> Filesystem:
    return Filesystem(store, writable=True, now=workspace.epoch, place=layers.patch.place, parsed=parsed)


def _lay_ground(disk: Filesystem, layers: Layers, warn: Callable[[str], None]) -> dict[str, str]:
    patching.make(disk, layers.alike)
    return patching.sync(disk, patching.synced(layers.patch, layers.now, layers.trees, warn), {})
