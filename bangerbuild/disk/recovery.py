"""What an interrupted transaction left beside a disk: finishing or discarding it, and reading through it.

log               chunks on the disk         is
has its end       each old or new            written
has its end       some are neither           refused: the disk was used, perhaps while changed by half
has no end        none is new                discarded: nothing of it was written
has no end        some are new               refused: it had an end once, and is damaged
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild.disk import redo_log
from bangerbuild.disk.blocks import RawFile, read_layered
from bangerbuild.disk.redo_log import RedoLog
from bangerbuild.disk.transaction import half_changed
from bangerbuild.errors import FilesystemError

if TYPE_CHECKING:
    from pathlib import Path


def recover(path: Path, name: str) -> bool:
    """Finish or discard what an interrupted transaction left beside a disk; whether there was something.

    The caller makes sure that nobody else has the disk open.

    Raises:
        FilesystemError: the disk was used since, or the log is damaged, and nothing is changed; or the disk
            can't be written, and the next call does it.
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
    """Whether a log holds; if not, nothing of it was written.

    Raises:
        FilesystemError: it can't be told, or it must not be written any more.
    """
    olds = news = 0
    for chunk in log.places:
        there = _there(log, disk, chunk)
        if redo_log.fingerprint(there) == log.old(chunk):
            olds += 1
        elif there == log.new(chunk):
            news += 1
    others = len(log.places) - olds - news
    if log.is_sealed and others:
        raise _refused(
            f"'{disk.name}' was used since a patch of it was interrupted",
            f"{olds} chunks are as they were, {news} are patched, {others} were written by someone else",
            path,
        )
    if not log.is_sealed and news:
        raise _refused(
            f"'{disk.name}' is changed by half, and the redo log beside it is damaged",
            f"of {len(log.places)} chunks that can be read, {news} are patched",
            path,
        )
    return log.is_sealed


def _there(log: RedoLog, disk: RawFile, chunk: int) -> bytes:
    """What the disk has; fewer bytes if it is another disk, or was cut."""
    start = chunk * log.chunk_bytes
    end = min(start + log.chunk_bytes, log.size_bytes, disk.size_bytes)
    return disk.read(start, end - start) if start < end else b""


def _refused(brief: str, details: str, path: Path) -> FilesystemError:
    log = redo_log.path_beside(path)
    return FilesystemError(
        brief, details=details, hint=f"check the disk with `e2fsck -f`, then `rm '{log}'`; or --replace it"
    )


class Recovered:
    """A disk as it will be once `recover` has been called, to be read.

    Args:
        path: the file; a log lies beside it.
        name: what to call it in messages.

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

    def read(self, offset: int, length: int) -> bytes:
        """See Blocks."""
        if self._log is None or not self._holds:
            return self._file.read(offset, length)
        return read_layered(offset, length, self._log.chunk_bytes, self._own_chunk, self._file.read)

    def _own_chunk(self, chunk: int) -> bytes | None:
        return self._log.new(chunk) if self._log and chunk in self._log.places else None

    def write(self, offset: int, data: bytes) -> None:
        """See Blocks: it is open for reading only."""
        raise FilesystemError(f"'{self.name}' is open for reading: {len(data)} bytes at {offset}")

    def flush(self) -> None:
        """See Blocks."""

    def close(self) -> None:
        """Let go of disk and log."""
        self._file.close()
        if self._log:
            self._log.close()
