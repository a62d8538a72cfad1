"""Interrupted changes of a disk: detect them, read the disk as it will be once repaired, repair it.

A patch that was interrupted leaves a redo log beside the disk (`redo_log`), a growth a note and an undo file
(`growing`).
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from bangerbuild.disk import beside
from bangerbuild.disk.blocks import RawFile

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bangerbuild.disk import growing, recovery
    from bangerbuild.disk.blocks import Blocks


def is_half_patched(disk: Path | str) -> bool:
    """Whether a patch of the disk was interrupted."""
    return os.path.exists(f"{disk}{beside.REDO_LOG}")


def is_half_grown(disk: Path | str) -> bool:
    """Whether its growth was interrupted; right before the end of a growth only the undo file exists."""
    return os.path.exists(f"{disk}{beside.GROWTH_NOTE}") or os.path.exists(f"{disk}{beside.GROWTH_UNDO}")


def size_before(disk: Path) -> int | None:
    """The size in bytes before an interrupted growth; None if no growth was interrupted."""
    from bangerbuild.disk import growing

    return growing.old_size(disk)


def has_leftovers(disk: Path | str) -> bool:
    """Whether any of the `leftovers` exists."""
    return any(os.path.lexists(f"{disk}{suffix}") for suffix in beside.ALL)


def leftovers(disk: Path) -> tuple[Path, ...]:
    """The files that an interrupted change may leave beside a disk, in the order in which to remove them."""
    return tuple(disk.with_name(disk.name + suffix) for suffix in beside.ALL)


@contextmanager
def open_recovered(disk: Path, name: str) -> Iterator[Blocks]:
    """Open a read-only view of the disk as `mend` would leave it; nothing is changed.

    Raises:
        FilesystemError: it can't be opened, or the files beside it do not match it.
    """
    blocks = _recovered(disk, name) if has_leftovers(disk) else RawFile(disk)
    blocks.name = name
    try:
        yield blocks
    finally:
        blocks.close()


def _recovered(disk: Path, name: str) -> growing.BeforeGrowth | recovery.RecoveredDisk | RawFile:
    from bangerbuild.disk import growing, recovery

    if growing.note_beside(disk).exists():
        return RawFile(disk) if growing.is_grown(disk) else growing.BeforeGrowth(disk, name)
    return recovery.RecoveredDisk(disk, name) if is_half_patched(disk) else RawFile(disk)


def mend(disk: Path, name: str) -> bool:
    """Undo or finish interrupted changes of a disk that nothing else has open; whether there were any.

    Raises:
        FilesystemError: it can't be done automatically; nothing is removed.
        OSError: the disk can't be written; a later call continues.
    """
    from bangerbuild.disk import growing, recovery

    rolled_back = growing.roll_back(disk, name)
    return recovery.recover(disk, name) or rolled_back
