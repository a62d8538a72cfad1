"""Interrupted changes of a disk: detect them, read the disk as it will be once repaired, repair it.

A patch that was interrupted leaves a redo log beside the disk (`redo_log`), a growth a note and an undo file
(`growing`).
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bangerbuild.disk import growing, recovery, redo_log
from bangerbuild.disk.blocks import RawFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bangerbuild.disk.blocks import Blocks


def is_half_patched(disk: Path | str) -> bool:
    """Whether a patch of the disk was interrupted."""
    return os.path.exists(f"{disk}{redo_log.SUFFIX}")


def is_half_grown(disk: Path | str) -> bool:
    """Whether its growth was interrupted; right before the end of a growth only the undo file exists."""
    return os.path.exists(f"{disk}{growing.NOTE_SUFFIX}") or os.path.exists(f"{disk}{growing.UNDO_SUFFIX}")


def size_before(disk: Path) -> int | None:
    """The size in bytes before an interrupted growth; None if no growth was interrupted."""
    return growing.old_size(disk)


def has_leftovers(disk: Path | str) -> bool:
    """Whether any of the `leftovers` exists."""
    suffixes = (growing.NOTE_SUFFIX, growing.UNDO_SUFFIX, redo_log.SUFFIX)
    return any(os.path.lexists(f"{disk}{suffix}") for suffix in suffixes)


def leftovers(disk: Path) -> tuple[Path, ...]:
    """The files that an interrupted change may leave beside a disk, in the order in which to remove them."""
    return growing.note_beside(disk), growing.undo_beside(disk), redo_log.path_beside(disk)


@contextmanager
def open_recovered(disk: Path, name: str) -> Iterator[Blocks]:
    """Open a read-only view of the disk as `mend` would leave it; nothing is changed.

    Raises:
        FilesystemError: it can't be opened, or the files beside it do not match it.
    """
    blocks: growing.BeforeGrowth | recovery.RecoveredDisk | RawFile
    if not has_leftovers(disk):
        blocks = RawFile(disk)
    elif growing.note_beside(disk).exists():
        blocks = RawFile(disk) if growing.is_grown(disk) else growing.BeforeGrowth(disk, name)
    elif redo_log.path_beside(disk).exists():
        blocks = recovery.RecoveredDisk(disk, name)
    else:
        blocks = RawFile(disk)
    blocks.name = name
    try:
        yield blocks
    finally:
        blocks.close()


def mend(disk: Path, name: str) -> bool:
    """Undo or finish interrupted changes of a disk that nothing else has open; whether there were any.

    Raises:
        FilesystemError: it can't be done automatically; nothing is removed.
        OSError: the disk can't be written; a later call continues.
    """
    rolled_back = growing.roll_back(disk, name)
    return recovery.recover(disk, name) or rolled_back
