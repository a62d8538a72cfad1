"""Grow a raw disk in place, so that an interrupted growth can be undone.

While a disk is grown, two files are beside it: a note of its old size, and the undo file of resize2fs. After
a kill, the next run finds the note, restores the old blocks and truncates the file to its old size. It
refuses to do so if a guest has used the disk since, because that would destroy the guest's data. If the
growth was completed and the filesystem is valid, only the two files are removed.

resize2fs syncs the undo file only at its start, but the disk repeatedly. So the undo file is made beforehand
with the flag that each write waits for the disk (FS_SYNC_FL); then it is ahead of the disk after a power cut
too. Where the host's filesystem has no such flag, a growth survives a kill, but a power cut may leave a disk
that can't be restored; this is reported, and nothing is truncated.
"""

from __future__ import annotations

import os
import re
import struct
from typing import TYPE_CHECKING

from typing_extensions import override

from bangerbuild.disk import beside, durable, inode_flags, tools, undo_file
from bangerbuild.disk.blocks import Blocks, RawFile, check_end
from bangerbuild.disk.superblock import OFFSET, SIZE, parse_superblock
from bangerbuild.errors import BangerError, FilesystemError, ToolError
from bangerbuild.host.process import run

if TYPE_CHECKING:
    from pathlib import Path

    from bangerbuild.disk.superblock import Superblock

_NOTE_BYTES = 64
_DIGITS = re.compile("[0-9]+")
_TRACES = (slice(0x2C, 0x30), slice(0x34, 0x36), slice(0x40, 0x44), slice(0x68, 0x78))
"""Fields of a superblock that a mount or a check changes, but not growing: s_mtime, s_mnt_count, s_lastcheck;
and s_uuid, which identifies the filesystem."""


def note_beside(disk: Path) -> Path:
    """The path of the note that a disk is being grown."""
    return disk.with_name(disk.name + beside.GROWTH_NOTE)


def undo_beside(disk: Path) -> Path:
    """The path of the undo file, in which resize2fs saves what it overwrites."""
    return disk.with_name(disk.name + beside.GROWTH_UNDO)


def old_size(disk: Path) -> int | None:
    """The size in bytes of a disk before an interrupted growth; None if no growth was interrupted.

    Raises:
        FilesystemError: the note is damaged.
    """
    note = note_beside(disk)
    if not os.path.lexists(note):
        return None
    with RawFile(note, beside=True) as file:
        text = file.read(0, min(file.size_bytes, _NOTE_BYTES)).decode(errors="replace")
    if not text.endswith("\n"):  # the note is incomplete: the growth had not begun
        return disk.stat().st_size
    if not _DIGITS.fullmatch(text[:-1]) or int(text) > disk.stat().st_size:  # a growth never makes it smaller
        raise FilesystemError(f"the note '{note}' is damaged", hint=_hint(disk))
    return int(text)


def _hint(disk: Path) -> str:
    left = f"rm '{note_beside(disk)}' '{undo_beside(disk)}'"
    return f"e2fsck -f '{disk}', then {left}"


def grow(disk: Path, name: str, size_bytes: int, *, epoch: int) -> None:
    """Grow the filesystem on a disk that nothing else has open; its journal is replayed first.

    Raises:
        BangerError, OSError: the growth failed. The disk is unchanged, or `roll_back` restores it.
    """
    if _trouble(disk):  # otherwise nothing is written before the note exists: a write may fail
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
    durable.sync_one(disk)  # resize2fs has done so, but promises it nowhere
    if trouble := _trouble(disk):  # resize2fs exits with 0 even if a write failed
        raise FilesystemError(f"'{name}' was not in order once it was grown", details=trouble)


def _make_undo(path: Path) -> None:
    """Make the empty undo file, with synchronous writes if the host's filesystem supports them.

    Then the disk's directory is synced, so that neither this nor the note is without its name.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        inode_flags.ask_for(fd, inode_flags.SYNC)
    finally:
        os.close(fd)
    durable.sync_one(path.parent)


def _write_note(disk: Path) -> None:
    """Write the note; its name is synced together with that of the undo file."""
    note = note_beside(disk)
    try:
        with note.open("x") as file:
            file.write(f"{disk.stat().st_size}\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        note.unlink(missing_ok=True)
        raise


def roll_back(disk: Path, name: str) -> bool:
    """Undo an interrupted growth; whether there was one.

    Raises:
        FilesystemError: the disk was used since, or the undo file does not match it; nothing is removed.
        OSError: the disk can't be written; a later call continues.
    """
    size_bytes = old_size(disk)
    if size_bytes is None:
        undo_beside(disk).unlink(missing_ok=True)
        return False
    if is_grown(disk):
        durable.sync_one(disk)
    else:
        BeforeGrowth(disk, name).close()  # raises if the growth must not be undone
        _put_back(disk, name, size_bytes)
    _forget(disk)
    return True


def is_grown(disk: Path) -> bool:
    """Whether an interrupted growth was in fact complete: the filesystem is larger, valid and clean."""
    size_bytes = old_size(disk)
    with RawFile(disk) as blocks:
        found = _superblock(blocks)
        if size_bytes is None or found is None or not size_bytes < found.size_bytes <= blocks.size_bytes:
            return False
    try:
        return found.is_clean and not _trouble(disk)
    except ToolError:  # e2fsck failed or was ended: the filesystem is not known to be valid
        return False


def _put_back(disk: Path, name: str, size_bytes: int) -> None:
    """Restore the blocks, then the size; a disk that is still invalid is not truncated."""
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
    """What e2fsck reports about a filesystem; empty if it is valid and clean."""
    size_bytes = disk.stat().st_size
    checked = run(tools.e2fsck_read_only(disk, size_bytes=size_bytes))
    with RawFile(disk) as blocks:
        found = _superblock(blocks)
    return "" if checked.code == 0 and found and found.is_clean else checked.output.strip()


def _mend(disk: Path, name: str) -> None:
    """Repair what is missing in the undo file, as a full disk or a power cut may cut off its end."""
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
    """Remove note and undo file; the note first, because the undo file is ignored without it.

    They must not come back after a guest has used the disk. A run that goes on syncs the directory once more,
    but it may be killed before.
    """
    note_beside(disk).unlink(missing_ok=True)
    undo_beside(disk).unlink(missing_ok=True)
    durable.sync_one(disk.parent)


class BeforeGrowth(Blocks):
    """A read-only view of a disk as it was before an interrupted growth.

    Args:
        path: the disk; its note is beside it.
        name: the disk's name in messages.

    Raises:
        FilesystemError: the disk was used since, or note or undo file do not match it.
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
        """Refuse a disk whose old filesystem is larger than the note says: truncation would destroy data."""
        found = _superblock(self)
        if self.size_bytes < self._disk.size_bytes and (found is None or found.size_bytes > self.size_bytes):
            there = f"has {found.size_bytes} bytes" if found else "is not there"
            raise FilesystemError(
                f"the growth of '{self.name}' was interrupted, and can't be undone",
                details=f"the note beside it says that it had {self.size_bytes} bytes, "
                f"but as the undo file has it its filesystem {there}",
                hint=_hint(path),
            )

    @override
    def read(self, offset: int, length: int) -> bytes:
        check_end(self, offset, length)
        data = bytearray(self._disk.read(offset, length))
        for start, place, size in self._stretches:
            at, stop = max(offset, start), min(offset + length, start + size)
            if self._undo and at < stop:
                data[at - offset : stop - offset] = self._undo.read(place + at - start, stop - at)
        return bytes(data)

    @override
    def write(self, offset: int, data: bytes) -> None:
        """Refused: the view is read-only."""
        raise FilesystemError(f"'{self.name}' is open for reading: {len(data)} bytes at {offset}")

    @override
    def flush(self) -> None:
        pass

    def close(self) -> None:
        """Close the disk and the undo file."""
        self._disk.close()
        if self._undo:
            self._undo.close()
