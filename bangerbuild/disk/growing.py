"""Growing a raw disk where it lies, so that it can be undone.

Beside the disk lie, while it is grown, a note of its old size and the undo file that resize2fs keeps. Whoever
comes after a kill finds the note, puts the old blocks back, and cuts the file to its old size.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from bangerbuild.disk import durable, tools, undo_file
from bangerbuild.disk.blocks import RawFile
from bangerbuild.errors import FilesystemError, ToolError
from bangerbuild.process import run

if TYPE_CHECKING:
    from pathlib import Path

NOTE_SUFFIX = ".grow"
UNDO_SUFFIX = ".undo"


def note_beside(disk: Path) -> Path:
    """Where the note lies that a disk is being grown."""
    return disk.with_name(disk.name + NOTE_SUFFIX)


def undo_beside(disk: Path) -> Path:
    """Where resize2fs keeps the old content of what it overwrites."""
    return disk.with_name(disk.name + UNDO_SUFFIX)


def old_size(disk: Path) -> int | None:
    """The size in bytes that a disk had before an interrupted growth; None if there was none."""
    try:
        text = note_beside(disk).read_text()
    except FileNotFoundError:
        return None
    return int(text) if text.endswith("\n") else disk.stat().st_size  # cut short: nothing had begun


def grow(disk: Path, size_bytes: int, *, epoch: int) -> None:
    """Grow the filesystem in a disk that nobody else has open, its journal replayed first.

    Raises:
        BangerError, OSError: the disk is as it was, or `roll_back` makes it so.
    """
    run(tools.e2fsck_preen(disk, epoch=epoch, size_bytes=disk.stat().st_size))
    _write_note(disk)
    try:
        os.truncate(disk, size_bytes)
        run(tools.resize2fs(disk, size_bytes=size_bytes, epoch=epoch, undo=undo_beside(disk)))
        durable.sync_one(disk)
    except (ToolError, OSError):
        roll_back(disk)
        raise
    _forget(disk)


def _write_note(disk: Path) -> None:
    note = note_beside(disk)
    try:
        with note.open("x") as file:
            file.write(f"{disk.stat().st_size}\n")
            file.flush()
            os.fsync(file.fileno())
        durable.sync_one(disk.parent)
    except OSError:
        note.unlink(missing_ok=True)
        raise


def roll_back(disk: Path) -> bool:
    """Undo what an interrupted growth left behind; whether there was something.

    Raises:
        FilesystemError: the undo file is damaged; nothing is thrown away.
        OSError: the disk can't be written; the next call does it.
    """
    size_bytes = old_size(disk)
    if size_bytes is None:
        undo_beside(disk).unlink(missing_ok=True)
        return False
    if undo_beside(disk).exists():
        with RawFile(disk, writable=True) as blocks:
            undo_file.put_back(undo_beside(disk), blocks)
    os.truncate(disk, size_bytes)
    durable.sync_one(disk)
    _forget(disk)
    return True


def _forget(disk: Path) -> None:
    """The note first: without it the undo file means nothing."""
    note_beside(disk).unlink(missing_ok=True)
    undo_beside(disk).unlink(missing_ok=True)
    durable.sync_one(disk.parent)


class BeforeGrowth:
    """A disk as it was before an interrupted growth, to be read.

    Args:
        path: the disk; its note lies beside it.

    Raises:
        FilesystemError: the undo file is damaged.
    """

    writable = False

    def __init__(self, path: Path) -> None:
        self._disk = RawFile(path)
        self.name = self._disk.name
        self.place: str | None = self.name
        self.size_bytes = old_size(path) or self._disk.size_bytes
        self._undo = RawFile(undo_beside(path)) if undo_beside(path).exists() else None
        self._stretches = sorted(undo_file.stretches(self._undo)) if self._undo else []

    def read(self, offset: int, length: int) -> bytes:
        """See Blocks."""
        data = bytearray(self._disk.read(offset, length))
        for start, place, size in self._stretches:
            at, stop = max(offset, start), min(offset + length, start + size)
            if self._undo and at < stop:
                data[at - offset : stop - offset] = self._undo.read(place + at - start, stop - at)
        return bytes(data)

    def write(self, offset: int, data: bytes) -> None:
        """See Blocks: it is open for reading only."""
        raise FilesystemError(f"'{self.name}' is open for reading: {len(data)} bytes at {offset}")

    def flush(self) -> None:
        """See Blocks."""

    def close(self) -> None:
        """Let go of disk and undo file."""
        self._disk.close()
        if self._undo:
            self._undo.close()
