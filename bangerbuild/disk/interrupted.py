"""What an interrupted change left beside a disk: seeing it, reading through it, mending it."""

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
    """Whether its growth was interrupted; if right before its end, only the undo file is left."""
    return os.path.exists(f"{disk}{growing.NOTE_SUFFIX}") or os.path.exists(f"{disk}{growing.UNDO_SUFFIX}")


def size_before(disk: Path) -> int | None:
    """Its size in bytes before the growth that was interrupted; None if none was."""
    return growing.old_size(disk)


def has_leftovers(disk: Path | str) -> bool:
    """Whether there is any of `leftovers`."""
    suffixes = (growing.NOTE_SUFFIX, growing.UNDO_SUFFIX, redo_log.SUFFIX)
    return any(os.path.lexists(f"{disk}{suffix}") for suffix in suffixes)


def leftovers(disk: Path) -> tuple[Path, ...]:
    """The files that a change of the disk may leave beside it, a note before what it speaks of."""
    return growing.note_beside(disk), growing.undo_beside(disk), redo_log.path_beside(disk)


@contextmanager
def open_recovered(disk: Path, name: str) -> Iterator[Blocks]:
    """The disk as `mend` would leave it, to be read; nothing is touched.

    Raises:
        FilesystemError: it can't be opened, or what lies beside it does not fit.
    """
    blocks: growing.BeforeGrowth | recovery.Recovered | RawFile
    if growing.note_beside(disk).exists():
        blocks = RawFile(disk) if growing.is_grown(disk) else growing.BeforeGrowth(disk, name)
    elif redo_log.path_beside(disk).exists():
        blocks = recovery.Recovered(disk, name)
    else:
        blocks = RawFile(disk)
    blocks.name = name
    try:
        yield blocks
    finally:
        blocks.close()


def mend(disk: Path, name: str) -> bool:
    """Undo or finish what was interrupted, on a disk that nobody else has open; whether there was something.

    Raises:
        FilesystemError: it can't be done by itself; nothing is thrown away.
        OSError: the disk can't be written; the next call does it.
    """
    rolled_back = growing.roll_back(disk, name)
    return recovery.recover(disk, name) or rolled_back
