"""Changing a disk that a guest has written to, where it lies: each change is made whole or not at all."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bangerbuild.disk import clone, durable, growing, superblock, tools
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.journal import through_journal
from bangerbuild.disk.overlay import SnapshotStore
from bangerbuild.disk.transaction import Transaction
from bangerbuild.errors import FilesystemError, JournalError, ToolError
from bangerbuild.process import run
from bangerbuild.steps import disks
from bangerbuild.tree import ALONE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bangerbuild.disk.blocks import Blocks
    from bangerbuild.model import Workspace
    from bangerbuild.tree import DiskMount

PIECE_BYTES = 1 << 20


@contextmanager
def transaction(workspace: Workspace, disk_id: str, path: Path, place: DiskMount) -> Iterator[Filesystem]:
    """The filesystem on a disk that this job holds, to be written; committed at the clean end.

    Raises:
        FilesystemError: nothing has changed.
    """
    artifact = workspace.artifact(disk_id)
    if workspace.facts(disk_id)["format"] != "snapshot":
        with _raw_transaction(path, artifact, workspace.epoch, place) as disk:
            yield disk
        return
    with RawFile(disks.base_path(workspace, disk_id)) as base, Transaction(path, artifact) as file:
        store = SnapshotStore(base, file, base_name=disks.base_name(workspace, disk_id))
        file.allow(store.chunk_bytes, store.is_unused)
        with Filesystem(store, writable=True, now=workspace.epoch, place=place) as disk:
            yield disk


@contextmanager
def _raw_transaction(path: Path, artifact: str, epoch: int, place: DiskMount = ALONE) -> Iterator[Filesystem]:
    with (
        Transaction(path, artifact) as file,
        Filesystem(file, writable=True, now=epoch, place=place) as disk,
    ):
        file.allow(disk.superblock.block_bytes, disk.is_unused)
        yield disk


def replay(workspace: Workspace, disk_id: str, path: Path) -> None:
    """Replay the journal that a guest left behind when it was killed, and clear its orphans.

    Raises:
        FilesystemError: the journal is damaged, or e2fsck won't do it unasked.
    """
    artifact = workspace.artifact(disk_id)
    if workspace.facts(disk_id)["format"] == "snapshot":
        _replay_store(workspace, disk_id, path, artifact)
    else:
        _replay_raw(path, artifact, workspace.epoch)


def _replay_raw(path: Path, artifact: str, epoch: int) -> None:
    with RawFile(path) as blocks:
        blocks.name = artifact
        if _is_replayed(blocks):
            return
        _run_e2fsck(path, blocks, epoch)


def _is_replayed(blocks: Blocks) -> bool:
    if superblock.read_superblock(blocks, writable=True, allow_unreplayed=True).is_clean:
        return True
    try:
        through_journal(blocks)
    except JournalError as err:  # `e2fsck -p` would throw it away, and with it what the guest synced last
        raise JournalError(err.brief, hint=superblock.mend_hint(blocks)) from err
    except FilesystemError:  # one of a kind that only e2fsck knows
        pass
    return False


def _run_e2fsck(path: Path, disk: Blocks, epoch: int) -> None:
    try:
        run(tools.e2fsck_replay(path, epoch=epoch, size_bytes=disk.size_bytes))
    except ToolError as err:
        raise FilesystemError(
            f"the journal of '{disk.name}' can't be replayed",
            details=(err.details or err.brief).replace(str(path), disk.name),
            hint=superblock.mend_hint(disk),
        ) from err


def _replay_store(workspace: Workspace, disk_id: str, path: Path, artifact: str) -> None:
    """e2fsck knows no stores, so it gets a merged copy; the store then takes what it changed."""
    base_path, merged = disks.base_path(workspace, disk_id), workspace.staging / "merged.ext4"
    with RawFile(base_path) as base:
        with RawFile(path) as file:
            file.name = artifact
            store = SnapshotStore(base, file, base_name=disks.base_name(workspace, disk_id))
            if _is_replayed(store):
                return
            clone.clone(base_path, merged)
            with RawFile(merged, writable=True, durable=False) as copy:
                for chunk, data in store.changed_chunks():
                    offset = chunk * store.chunk_bytes
                    copy.write(offset, data[: base.size_bytes - offset])
            _run_e2fsck(merged, store, workspace.epoch)
        with RawFile(merged) as copy, Transaction(path, artifact) as changed:
            store = SnapshotStore(base, changed)
            changed.allow(store.chunk_bytes, store.is_unused)
            _copy_differences(copy, store)
            store.commit()
    merged.unlink()


def _copy_differences(source: Blocks, target: SnapshotStore) -> None:
    for at in range(0, source.size_bytes, PIECE_BYTES):
        length = min(PIECE_BYTES, source.size_bytes - at)
        piece = source.read(at, length)
        if piece == target.read(at, length):
            continue
        for start in range(0, length, target.chunk_bytes):
            own = piece[start : start + target.chunk_bytes]
            if own != target.read(at + start, len(own)):
                target.write(at + start, own)


def change(workspace: Workspace, disk_id: str, size_bytes: int | None, *, label: str = "") -> None:
    """Take a guest's raw disk over into this store's care, named as fstab has it, and grow it to its size.

    Raises:
        FilesystemError: what is there is no ext4 in good order, or is larger than declared.
    """
    artifact, epoch = workspace.artifact(disk_id), workspace.epoch
    with workspace.in_place(artifact) as path:
        disks.refuse_to_shrink(artifact, path.stat().st_size, size_bytes)
        _replay_raw(path, artifact, epoch)
        with RawFile(path) as blocks:
            blocks.name = artifact
            with Filesystem(blocks, now=epoch) as disk:  # says what is wrong with it
                relabel = label not in {"", disk.superblock.label}
        if relabel:
            with _raw_transaction(path, artifact, epoch) as disk:
                disk.set_label(label)
        wanted_bytes = size_bytes or 0
        growth = wanted_bytes > path.stat().st_size
    if growth:
        _grow(workspace, artifact, wanted_bytes)


def _grow(workspace: Workspace, artifact: str, size_bytes: int) -> None:
    """In a copy that shares its blocks with the disk; else where it lies.

    But `resize2fs -z` leaves a filesystem with blocks below 4 KiB in disorder (e2fsprogs 1.47.0: "Resize
    inode not valid"), so such a one, which is small as a rule, is copied whatever that takes.
    """
    with RawFile(workspace.path(artifact)) as disk:
        blocks = superblock.read_superblock(disk, writable=True)
    copy = workspace.copy(artifact, sharing=blocks.block_bytes >= tools.BLOCK_BYTES)
    if copy is not None:
        disks.grow(copy, size_bytes, workspace.epoch)
        return
    with workspace.in_place(artifact) as path:
        growing.grow(path, artifact, size_bytes, epoch=workspace.epoch)


def grow_store(workspace: Workspace, artifact: str, size_bytes: int | None) -> None:
    """Give a store room for more chunks; what is in it stays where it is."""
    with workspace.in_place(artifact) as path:
        disks.refuse_to_shrink(artifact, path.stat().st_size, size_bytes)
        if size_bytes is not None:
            os.truncate(path, size_bytes)
            durable.sync_one(path)
