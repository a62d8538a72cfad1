"""Recover a disk after an interrupted transaction: finish or discard its redo log, or read through it.

redo log       sectors on the disk    action
complete       each is old or new     the log is written to the disk
complete       some are neither       refused: the disk was used since, perhaps half changed
incomplete     none is new            the log is discarded: nothing of it was written
incomplete     some are new           refused: the log was complete once, and is damaged
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from typing_extensions import override

from bangerbuild.disk import redo_log
from bangerbuild.disk.blocks import Blocks, RawFile, check_end, read_layered
from bangerbuild.disk.redo_log import DIGEST_BYTES, SECTOR_BYTES, RedoLog
from bangerbuild.disk.transaction import half_changed
from bangerbuild.errors import FilesystemError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def recover(path: Path, name: str) -> bool:
    """Finish or discard an interrupted transaction; whether there was one.

    The caller makes sure that nothing else has the disk open.

    Raises:
        FilesystemError: the disk was used since, or the log is damaged; then nothing is changed. Or the disk
            can't be written; a later call continues.
    """
    log = RedoLog.beside(path)
    if log is None:
        return False
    with log, RawFile(path, writable=True) as file:
        file.name = name
        if _is_to_be_written(log, file, path):
            _write(log, file)
    redo_log.remove(path)
    return True


def _write(log: RedoLog, file: RawFile) -> None:
    try:
        for chunk in log.places:
            file.write(chunk * log.chunk_bytes, log.new(chunk))
        file.flush()
    except FilesystemError as err:
        raise half_changed(file.name, err) from err


def _is_to_be_written(log: RedoLog, disk: RawFile, path: Path) -> bool:
    """Whether a log must be written to the disk; if not, nothing of it was written.

    Raises:
        FilesystemError: this can't be decided, or the log must not be written any more.
    """
    count = Counter(found for chunk in log.places for found in _sectors(log, disk, chunk))
    olds, news, others = count["old"], count["new"], count["other"]
    if log.is_sealed and others:
        raise _refused(
            f"'{disk.name}' was used since a patch of it was interrupted",
            f"{olds} sectors are as they were, {news} are patched, {others} were written by someone else",
            path,
        )
    if not log.is_sealed and news:
        raise _refused(
            f"'{disk.name}' is changed by half, and the redo log beside it is damaged",
            f"{olds} sectors are as they were, {news} are patched; how many there would be is not known",
            path,
        )
    return log.is_sealed


def _sectors(log: RedoLog, disk: RawFile, chunk: int) -> Iterator[str]:
    """The state of each sector of a chunk: `old`, `new` or `other`."""
    old, new, there = log.old(chunk), log.new(chunk), _there(log, disk, chunk)
    found = redo_log.digests(there)
    for number, at in enumerate(range(0, len(new), SECTOR_BYTES)):
        digest = slice(number * DIGEST_BYTES, (number + 1) * DIGEST_BYTES)
        sector = slice(at, at + SECTOR_BYTES)
        if found[digest] == old[digest]:
            yield "old"
        else:
            yield "new" if there[sector] == new[sector] else "other"


def _there(log: RedoLog, disk: RawFile, chunk: int) -> bytes:
    """The chunk on the disk; shorter if the disk has become smaller."""
    start = chunk * log.chunk_bytes
    end = min(start + log.chunk_bytes, log.size_bytes, disk.size_bytes)
    return disk.read(start, end - start) if start < end else b""


def _refused(brief: str, details: str, path: Path) -> FilesystemError:
    log = redo_log.path_beside(path)
    return FilesystemError(
        brief, details=details, hint=f"check the disk with `e2fsck -f`, then `rm '{log}'`; or --replace it"
    )


class RecoveredDisk(Blocks):
    """A read-only view of a disk as it will be after `recover`.

    Args:
        path: the file; a redo log is beside it.
        name: the disk's name in messages.

    Raises:
        FilesystemError: it can't be opened, or `recover` would refuse it.
    """

    writable = False

    def __init__(self, path: Path, name: str) -> None:
        self._file = RawFile(path)
        self.name = self._file.name = name
        self.place: str | None = str(path)
        self.size_bytes = self._file.size_bytes
        self._log: RedoLog | None = None
        try:
            self._log = RedoLog.beside(path)
            self._holds = self._log is not None and _is_to_be_written(self._log, self._file, path)
        except BaseException:
            self.close()
            raise

    @override
    def read(self, offset: int, length: int) -> bytes:
        check_end(self, offset, length)
        if self._log is None or not self._holds:
            return self._file.read(offset, length)
        return read_layered(offset, length, self._log.chunk_bytes, self._own_chunk, self._file.read)

    def _own_chunk(self, chunk: int) -> bytes | None:
        if not self._log or chunk not in self._log.places:
            return None
        new, start = self._log.new(chunk), chunk * self._log.chunk_bytes
        end = min(start + self._log.chunk_bytes, self.size_bytes)
        return new + self._file.read(start + len(new), end - start - len(new))  # the disk was enlarged since

    @override
    def write(self, offset: int, data: bytes) -> None:
        """Refused: the view is read-only."""
        raise FilesystemError(f"'{self.name}' is open for reading: {len(data)} bytes at {offset}")

    @override
    def flush(self) -> None:
        pass

    def close(self) -> None:
        """Close the disk and the log."""
        self._file.close()
        if self._log:
            self._log.close()
