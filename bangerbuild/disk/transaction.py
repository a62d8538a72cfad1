"""A disk file that is changed all or not at all, however the program ends.

What is written waits in memory. At the commit, all chunks that changed go to a redo log beside the disk,
which is synced; then to the disk, which is synced; then the log goes. Whoever comes after a kill finds the
log without its end, and the disk as it was, or a whole log, and writes it once more.

What is too much for memory is placed before the commit: chunks of the disk that nothing in it refers to are
written at once, the others go to the log. So the log holds no more than what is in use and changes.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Self

from bangerbuild.disk import redo_log
from bangerbuild.disk.blocks import RawFile, chunked, read_layered
from bangerbuild.disk.redo_log import LogWriter, SealedLog
from bangerbuild.errors import FilesystemError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path
    from types import TracebackType

    from bangerbuild.disk.blocks import Blocks
    from bangerbuild.disk.redo_log import Record

DEFAULT_CHUNK_BYTES = 4096
PENDING_LIMIT_BYTES = 32 << 20
RESTORE_LIMIT_BYTES = 64 << 20
"""How much of what was there is kept in memory while it is overwritten."""
PIECE_BYTES = 1 << 20


class Transaction:
    """A Blocks over a file that nobody else has open: `flush` commits; without it nothing changes.

    Args:
        path: the file. No log may lie beside it: see `recover`.
        name: what to call it in messages.

    Raises:
        FilesystemError: it can't be opened.
    """

    writable = True

    def __init__(self, path: Path, name: str) -> None:
        self.name = name
        self.place: str | None = str(path)
        self._path = path
        self._file = RawFile(path, writable=True)
        self._file.name = name
        self.size_bytes = self._file.size_bytes
        self._chunk_bytes = DEFAULT_CHUNK_BYTES
        self._is_unused: Callable[[int], bool] = lambda _: False
        self._pending: dict[int, bytes] = {}
        self._logged: dict[int, int] = {}
        """Chunks that went to the log already, and where in it they stand."""
        self._log: LogWriter | None = None
        self._placed = False

    def allow(self, chunk_bytes: int, is_unused: Callable[[int], bool]) -> None:
        """Say which chunks nothing on the disk refers to as it is now; before anything is written."""
        self._chunk_bytes, self._is_unused = chunk_bytes, is_unused

    def read(self, offset: int, length: int) -> bytes:
        """See Blocks."""
        return read_layered(offset, length, self._chunk_bytes, self._own_chunk, self._file.read)

    def _own_chunk(self, chunk: int) -> bytes | None:
        if (pending := self._pending.get(chunk)) is not None:
            return pending
        if self._log and (place := self._logged.get(chunk)) is not None:
            return self._log.read(place, self._length(chunk))
        return None

    def _length(self, chunk: int) -> int:
        return min(self._chunk_bytes, self.size_bytes - chunk * self._chunk_bytes)

    def _on_disk(self, chunk: int) -> bytes:
        return self._file.read(chunk * self._chunk_bytes, self._length(chunk))

    def write(self, offset: int, data: bytes) -> None:
        """See Blocks."""
        if offset + len(data) > self.size_bytes:
            raise FilesystemError(f"'{self.name}' ends before byte {offset + len(data)}")
        for chunk, within, piece in chunked(offset, data, self._chunk_bytes):
            if len(piece) < self._length(chunk):
                old = self._own_chunk(chunk)
                old = self._on_disk(chunk) if old is None else old
                piece = old[:within] + piece + old[within + len(piece) :]  # noqa: PLW2901
            self._pending[chunk] = bytes(piece)
        if len(self._pending) * self._chunk_bytes > PENDING_LIMIT_BYTES:
            self._place_pending()

    def _place_pending(self) -> None:
        """Make room in memory."""
        unused = [chunk for chunk in sorted(self._pending) if self._is_unused(chunk)]
        for run in _runs(unused, PIECE_BYTES // self._chunk_bytes):
            data = b"".join(self._pending.pop(chunk) for chunk in run)
            self._file.write(run[0] * self._chunk_bytes, data)
            self._placed = True
        self._log_pending()

    def _log_pending(self) -> None:
        for chunk in sorted(self._pending):
            old, new = self._on_disk(chunk), self._pending[chunk]
            if old == new and chunk not in self._logged:
                continue
            if self._log is None:
                self._log = LogWriter(self._path, self.size_bytes)
            self._logged[chunk] = self._log.add(chunk * self._chunk_bytes, old, new)
        self._pending.clear()

    def flush(self) -> None:
        """Commit what was written since the last commit.

        Raises:
            FilesystemError: nothing has changed; or, if it says so, the log stays, and the next `recover`
                writes it.
        """
        self._log_pending()
        if self._placed:
            self._file.flush()
            self._placed = False
        if self._log is None:
            return
        _allocate(self._path, (chunk * self._chunk_bytes for chunk in self._logged), self._chunk_bytes)
        self._log.seal()
        self._log.close()
        self._log = None
        self._logged.clear()
        with _sealed(self._path) as log:
            _write_or_restore(log, self._file, self._path)
        redo_log.remove(self._path)

    def close(self) -> None:
        """Let go of the file, and of what was not committed; a second call does nothing."""
        if self._log is not None:
            self._log.close()
            self._log.path.unlink(missing_ok=True)
            self._log = None
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _runs(chunks: list[int], most: int) -> Iterable[list[int]]:
    """Ascending chunks, neighbours together."""
    run: list[int] = []
    for chunk in chunks:
        if run and (chunk != run[-1] + 1 or len(run) == most):
            yield run
            run = []
        run.append(chunk)
    if run:
        yield run


def _allocate(path: Path, offsets: Iterable[int], length: int) -> None:
    """Make sure that the host has room for what will be written: later would be too late to find out."""
    try:
        with path.open("r+b") as file:
            size = file.seek(0, os.SEEK_END)
            for offset in offsets:
                os.posix_fallocate(file.fileno(), offset, min(length, size - offset))
    except OSError as err:
        raise FilesystemError(f"there is no room for '{path}': {err.strerror}", code=err.errno) from err


def _sealed(disk: Path) -> SealedLog:
    log = SealedLog.beside(disk)
    if log is None:
        raise FilesystemError(f"the redo log of '{disk}' does not read as it was written")
    return log


def _write_or_restore(log: SealedLog, file: RawFile, path: Path) -> None:
    """Write all that a log has to its disk; if that fails, put back what was there and forget the log."""
    overwritten: list[tuple[int, bytes]] = []
    can_restore = sum(record.length for record in log.records) <= RESTORE_LIMIT_BYTES
    try:
        for record in log.records:
            if can_restore:
                overwritten.append((record.offset, file.read(record.offset, record.length)))
            file.write(record.offset, log.new(record))
        file.flush()
    except FilesystemError as err:
        if not can_restore or not _restored(file, overwritten):
            raise FilesystemError(
                f"'{file.name}' is changed by half: {err.brief}",
                details="the redo log beside it has the rest; don't start the VM before it is written",
                hint="see to the disk of this host, then `bangerbuild apply`",
                code=err.code,
            ) from err
        redo_log.remove(path)
        raise


def _restored(file: RawFile, overwritten: list[tuple[int, bytes]]) -> bool:
    try:
        for offset, old in overwritten:
            file.write(offset, old)
        file.flush()
    except FilesystemError:
        return False
    return True


def recover(path: Path, name: str) -> bool:
    """Finish or discard what an interrupted transaction left beside a disk; whether there was something.

    The caller makes sure that nobody else has the disk open.

    Raises:
        FilesystemError: the disk was used while the transaction was written by half; nothing is changed.
    """
    if not redo_log.path_beside(path).exists():
        return False
    log = SealedLog.beside(path)
    if log is not None:
        with log, RawFile(path, writable=True) as file:
            file.name = name
            if _is_begun(log, file, path):
                for record in log.records:
                    file.write(record.offset, log.new(record))
                file.flush()
    redo_log.remove(path)
    return True


def _is_begun(log: SealedLog, disk: Blocks, path: Path) -> bool:
    """Whether a log is to be written; not if the disk has been used since and nothing of it was written.

    Raises:
        FilesystemError: a part of it was written, and then the disk was used.
    """
    if log.size_bytes != disk.size_bytes:
        return False  # another disk stands there now
    olds = news = 0
    for record in log.records:
        there = disk.read(record.offset, record.length)
        if redo_log.fingerprint(there) == record.old:
            olds += 1
        elif there == log.new(record):
            news += 1
    others = len(log.records) - olds - news
    if others and news:
        raise FilesystemError(
            f"'{disk.name}' was used while a patch of it was written by half",
            details=f"{news} places are new, {olds} old, {others} were written by someone else",
            hint=f"mend it with `e2fsck -f`, then remove '{redo_log.path_beside(path).name}' beside it",
        )
    return not others


class Recovered:
    """A disk as it will be once `recover` has been called, to be read.

    Args:
        path: the file.

    Raises:
        FilesystemError: it can't be opened.
    """

    writable = False

    def __init__(self, path: Path) -> None:
        self._file = RawFile(path)
        self.name = self._file.name
        self.place: str | None = self.name
        self.size_bytes = self._file.size_bytes
        self._log = SealedLog.beside(path)
        self._records: dict[int, Record] = {}
        if self._log and _is_begun(self._log, self._file, path):
            self._records = {record.offset: record for record in self._log.records}
        lengths = {record.length for record in self._records.values()}
        self._chunk_bytes = max(lengths, default=DEFAULT_CHUNK_BYTES)

    def read(self, offset: int, length: int) -> bytes:
        """See Blocks."""
        return read_layered(offset, length, self._chunk_bytes, self._own_chunk, self._file.read)

    def _own_chunk(self, chunk: int) -> bytes | None:
        record = self._records.get(chunk * self._chunk_bytes)
        return self._log.new(record) if self._log and record else None

    def write(self, offset: int, data: bytes) -> None:
        """See Blocks: it is open for reading only."""
        raise FilesystemError(f"'{self.name}' is open for reading: {len(data)} bytes at {offset}")

    def flush(self) -> None:
        """See Blocks."""

    def close(self) -> None:
        """Let go of disk and log."""
        self._file.close()
        if self._log:
            self._log.blocks.close()
