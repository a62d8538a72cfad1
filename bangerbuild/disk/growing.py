"""Growing a raw disk where it lies, so that it can be undone.

Beside the disk lie, while it is grown, a note of its old size and the undo file that resize2fs keeps. Whoever
comes after a kill finds the note, puts the old blocks back, and cuts the file to its old size; unless a guest
has used it since: then that would destroy what it wrote. A disk that was grown to its end, and is whole,
stays as it is: there is nothing to undo.

resize2fs syncs the undo file at its start alone, and what it overwrites in the disk again and again. So the
undo file is made beforehand, as one whose every write waits for the disk (FS_SYNC_FL), and is ahead of the
disk in a power cut too. Where the host's filesystem has no such files, only a kill is safe; a power cut may
leave a disk that is neither whole nor can be put back, which is then said, and nothing is cut off.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

from bangerbuild.disk import durable, inode_flags, tools, undo_file
from bangerbuild.disk.blocks import RawFile, check_end
from bangerbuild.disk.superblock import OFFSET, SIZE, parse_superblock
from bangerbuild.errors import BangerError, FilesystemError, ToolError
from bangerbuild.process import run

if TYPE_CHECKING:
    from pathlib import Path

    from bangerbuild.disk.blocks import Blocks
    from bangerbuild.disk.superblock import Superblock

NOTE_SUFFIX = ".grow"
UNDO_SUFFIX = ".undo"
_NOTE_BYTES = 64
_TRACES = (slice(0x2C, 0x30), slice(0x34, 0x36), slice(0x40, 0x44), slice(0x68, 0x78))
"""Where in a superblock a mount or a check leaves its mark, and growing does not: s_mtime, s_mnt_count,
s_lastcheck; and s_uuid, which tells another filesystem."""


def note_beside(disk: Path) -> Path:
    """Where the note lies that a disk is being grown."""
    return disk.with_name(disk.name + NOTE_SUFFIX)


def undo_beside(disk: Path) -> Path:
    """Where resize2fs keeps the old content of what it overwrites."""
    return disk.with_name(disk.name + UNDO_SUFFIX)


def old_size(disk: Path) -> int | None:
    """The size in bytes that a disk had before an interrupted growth; None if there was none.

    Raises:
        FilesystemError: the note is damaged.
    """
    note = note_beside(disk)
    if not os.path.lexists(note):
        return None
    with RawFile(note, beside=True) as file:
        text = file.read(0, min(file.size_bytes, _NOTE_BYTES)).decode(errors="replace")
    if not text.endswith("\n"):  # cut short: nothing had begun
        return disk.stat().st_size
    if not (text[:-1].isascii() and text[:-1].isdigit()):
        raise FilesystemError(f"the note '{note}' is damaged", hint=_hint(disk))
    return int(text)


def _hint(disk: Path) -> str:
    left = f"rm '{note_beside(disk)}' '{undo_beside(disk)}'"
    return f"e2fsck -f '{disk}', then {left}"


def grow(disk: Path, name: str, size_bytes: int, *, epoch: int) -> None:
    """Grow the filesystem in a disk that nobody else has open, its journal replayed first.

    Raises:
        BangerError, OSError: the disk is as it was, or `roll_back` makes it so.
    """
    if _trouble(disk):  # else nothing is written before the note lies there: a write may fail
        run(tools.e2fsck_preen(disk, epoch=epoch, size_bytes=disk.stat().st_size))
    _write_note(disk)
    try:
        _resize(disk, name, size_bytes, epoch)
    except (FilesystemError, ToolError, OSError):
        _roll_back_or_say(disk, name)
        raise
    _forget(disk)


def _roll_back_or_say(disk: Path, name: str) -> None:
    try:
        roll_back(disk, name)
    except (FilesystemError, ToolError, OSError) as err:
        brief = err.brief if isinstance(err, BangerError) else (err.strerror or str(err)).lower()
        raise FilesystemError(
            f"'{name}' is grown by half: {brief}",
            details="the undo file beside it has what was there; don't start the VM before it is put back",
            hint="see to the disk of this host, then `bangerbuild apply`",
        ) from err


def _resize(disk: Path, name: str, size_bytes: int, epoch: int) -> None:
    _make_undo(undo_beside(disk))
    os.truncate(disk, size_bytes)
    run(tools.resize2fs(disk, size_bytes=size_bytes, epoch=epoch, undo=undo_beside(disk)))
    durable.sync_one(disk)
    if trouble := _trouble(disk):  # resize2fs ends well even where a write of it failed
        raise FilesystemError(f"'{name}' was not in order once it was grown", details=trouble)


def _make_undo(path: Path) -> None:
    """Make the undo file, empty; its every write waits for the disk where the host has such files."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        inode_flags.ask_for(fd, inode_flags.SYNC)
    finally:
        os.close(fd)
    durable.sync_one(path.parent)


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


def roll_back(disk: Path, name: str) -> bool:
    """Undo what an interrupted growth left behind; whether there was something.

    Raises:
        FilesystemError: the disk was used since, or the undo file does not fit it; nothing is thrown away.
        OSError: the disk can't be written; the next call does it.
    """
    size_bytes = old_size(disk)
    if size_bytes is None:
        undo_beside(disk).unlink(missing_ok=True)
        return False
    if is_grown(disk):
        durable.sync_one(disk)
    else:
        BeforeGrowth(disk, name).close()  # says whether that may be done
        _put_back(disk, name, size_bytes)
    _forget(disk)
    return True


def is_grown(disk: Path) -> bool:
    """Whether an interrupted growth had come to its end: the filesystem is larger, whole and clean."""
    size_bytes = old_size(disk)
    with RawFile(disk) as blocks:
        found = _superblock(blocks)
        if size_bytes is None or found is None or not size_bytes < found.size_bytes <= blocks.size_bytes:
            return False
    try:
        return found.is_clean and not _trouble(disk)
    except ToolError:  # e2fsck can't make anything of it, or was ended: it is not known to be whole
        return False


def _put_back(disk: Path, name: str, size_bytes: int) -> None:
    """The blocks first: a disk that is not in order with them is not cut, what lies behind may be needed."""
    if undo_beside(disk).exists():
        with RawFile(disk, writable=True) as blocks:
            undo_file.put_back(undo_beside(disk), blocks, size_bytes)
    if _trouble(disk):
        _mend(disk, name)
    os.truncate(disk, size_bytes)
    durable.sync_one(disk)


def _superblock(blocks: Blocks) -> Superblock | None:
    return parse_superblock(blocks.read(OFFSET, SIZE)) if blocks.size_bytes >= OFFSET + SIZE else None


def _trouble(disk: Path) -> str:
    """What keeps a disk from being in order, in e2fsck's words; nothing if it is."""
    size_bytes = disk.stat().st_size
    checked = run(tools.e2fsck_read_only(disk, size_bytes=size_bytes))
    with RawFile(disk) as blocks:
        found = _superblock(blocks)
    return "" if checked.code == 0 and found and found.is_clean else checked.output.strip()


def _mend(disk: Path, name: str) -> None:
    """A full host or a power cut may leave less of the undo file than of the changes: a mark, as a rule."""
    with RawFile(disk) as blocks:
        (checked_at,) = struct.unpack_from("<I", blocks.read(OFFSET, SIZE), 0x40)
    try:
        run(tools.e2fsck_preen(disk, epoch=checked_at))
    except ToolError as err:
        raise FilesystemError(
            f"the growth of '{name}' was interrupted, and can't be undone whole",
            details=err.details or err.brief,
            hint=_hint(disk),
        ) from err


def _forget(disk: Path) -> None:
    """The note first: without it the undo file means nothing."""
    note_beside(disk).unlink(missing_ok=True)
    undo_beside(disk).unlink(missing_ok=True)
    durable.sync_one(disk.parent)


class BeforeGrowth:
    """A disk as it was before an interrupted growth, to be read.

    Args:
        path: the disk; its note lies beside it.
        name: what to call it in messages.

    Raises:
        FilesystemError: the disk was used since, or note or undo file don't fit it.
    """

    writable = False

    def __init__(self, path: Path, name: str) -> None:
        self._disk = RawFile(path)
        self.name = self._disk.name = name
        self.place: str | None = str(path)
        self._undo: RawFile | None = None
        try:
            self.size_bytes = old_size(path) or self._disk.size_bytes
            if undo_beside(path).exists():
                self._undo = RawFile(undo_beside(path), beside=True)
            self._stretches = undo_file.stretches(self._undo) if self._undo else ()
            self._refuse_used(path)
            self._refuse_unlike(path)
        except BaseException:
            self.close()
            raise

    def _refuse_used(self, path: Path) -> None:
        old, new = self.read(OFFSET, SIZE), self._disk.read(OFFSET, SIZE)
        if any(old[trace] != new[trace] for trace in _TRACES):
            raise FilesystemError(
                f"'{self.name}' was used since its growth was interrupted",
                details="to undo the growth would destroy what was written since",
                hint=_hint(path),
            )

    def _refuse_unlike(self, path: Path) -> None:
        """To cut a disk whose filesystem is larger than the note says would destroy what lies behind."""
        found = _superblock(self)
        if self.size_bytes < self._disk.size_bytes and (found is None or found.size_bytes > self.size_bytes):
            there = f"has {found.size_bytes} bytes" if found else "is not there"
            raise FilesystemError(
                f"the growth of '{self.name}' was interrupted, and can't be undone",
                details=f"the note beside it says that it had {self.size_bytes} bytes, "
                f"but as the undo file has it its filesystem {there}",
                hint=_hint(path),
            )

    def read(self, offset: int, length: int) -> bytes:
        """See Blocks."""
        check_end(self, offset, length)
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
