"""Change a disk file completely or not at all, however the program ends.

Writes are kept in memory. A commit writes all changed chunks to a redo log beside the disk and syncs it, then
writes them to the disk and syncs it, then removes the log. After a kill, the log is either incomplete and the
disk unchanged, or it is complete and is written again by the next run (`recovery`).

Writes that exceed the memory limit are stored before the commit: chunks that nothing on the disk refers to
are written to the disk at once, all others to the log. So the log has only chunks that are in use and change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from bangerbuild.disk import redo_log
from bangerbuild.disk.blocks import Blocks, RawFile, check_end, chunked, read_layered
from bangerbuild.disk.redo_log import LogWriter
from bangerbuild.errors import FilesystemError
from bangerbuild.host.closing import Closing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

DEFAULT_CHUNK_BYTES = 4096
PENDING_LIMIT_BYTES = 16 << 20
RESTORE_LIMIT_BYTES = 32 << 20
"""How many old bytes are kept in memory while they are overwritten, to restore them after an error."""
PIECE_BYTES = 1 << 20


class Transaction(Closing, Blocks):
    """A disk in a file that nothing else has open: `flush` commits; without it nothing changes.

    Args:
        path: the file; it must have no redo log, see `recovery.recover`.
        name: the disk's name in messages.

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
        self._is_unused: Callable[[int], bool] = _never
        self._pending: dict[int, bytes] = {}
        self._log: LogWriter | None = None
        self._placed = False

    def allow(self, chunk_bytes: int, is_unused: Callable[[int], bool]) -> None:
        """Set which chunks are unused on the disk; called before anything is written.

        It is valid up to the next commit, which may make chunks used.
        """
        self._chunk_bytes, self._is_unused = chunk_bytes, is_unused

    @override
    def read(self, offset: int, length: int) -> bytes:
        check_end(self, offset, length)
        return read_layered(offset, length, self._chunk_bytes, self._own_chunk, self._file.read)

    def _own_chunk(self, chunk: int) -> bytes | None:
        if (pending := self._pending.get(chunk)) is not None:
            return pending
        return self._log.new(chunk) if self._log and chunk in self._log.places else None

    def _length(self, chunk: int) -> int:
        return min(self._chunk_bytes, self.size_bytes - chunk * self._chunk_bytes)

    def _on_disk(self, chunk: int) -> bytes:
        return self._file.read(chunk * self._chunk_bytes, self._length(chunk))

    @override
    def write(self, offset: int, data: bytes) -> None:
        check_end(self, offset, len(data))
        for chunk, within, piece in chunked(offset, data, self._chunk_bytes):
            if len(piece) < self._length(chunk):
                old = self._own_chunk(chunk)
                old = self._on_disk(chunk) if old is None else old
                piece = old[:within] + piece + old[within + len(piece) :]  # noqa: PLW2901
            self._pending[chunk] = bytes(piece)
        if len(self._pending) * self._chunk_bytes > PENDING_LIMIT_BYTES:
            self._place_pending()

    def _place_pending(self) -> None:
        """Store pending writes, to free memory."""
        unused = [chunk for chunk in sorted(self._pending) if self._is_unused(chunk)]
        for run in _runs(unused, PIECE_BYTES // self._chunk_bytes):
            data = b"".join(self._pending.pop(chunk) for chunk in run)
            self._placed = True
            self._file.write(run[0] * self._chunk_bytes, data)
        self._log_pending()

    def _log_pending(self) -> None:
        for chunk in sorted(self._pending):
            old, new = self._on_disk(chunk), self._pending[chunk]
            if old == new and not (self._log and chunk in self._log.places):
                continue
            if self._log is None:
                self._log = LogWriter(self._path, self.size_bytes, self._chunk_bytes)
            self._log.add(chunk, old, new)
        self._pending.clear()

    @override
    def flush(self) -> None:
        """Commit what was written since the last commit.

        Raises:
            FilesystemError: nothing has changed; or, if the message says so, the log stays and `recover`
            writes
                it.
        """
        self._log_pending()
        if self._placed:
            self._file.flush()
            self._placed = False
        self._is_unused = _never
        if self._log is None:
            return
        ranges = ((chunk * self._chunk_bytes, self._length(chunk)) for chunk in self._log.places)
        if self._file.allocate(ranges):
            self._file.flush()  # else, after a power cut, such a place may hold neither the old nor the new
        self._log.seal()
        log, self._log = self._log, None  # from now on the log must stay
        try:
            self._write_or_restore(log)
        finally:
            log.close()

    def _write_or_restore(self, log: LogWriter) -> None:
        """Write a log to the disk; if that fails, restore the old bytes. Then remove the log."""
        overwritten: dict[int, bytes] = {}
        can_restore = len(log.places) * self._chunk_bytes <= RESTORE_LIMIT_BYTES
        try:
            for chunk in log.places:
                if can_restore:
                    overwritten[chunk] = self._on_disk(chunk)
                self._file.write(chunk * self._chunk_bytes, log.new(chunk))
            self._file.flush()
        except FilesystemError as err:
            if not can_restore or not self._is_restored(overwritten):
                raise half_changed(self.name, err) from err
            redo_log.remove(self._path)
            raise
        redo_log.remove(self._path)

    def _is_restored(self, overwritten: dict[int, bytes]) -> bool:
        """Restore overwritten chunks; whether this succeeded."""
        try:
            for chunk, old in overwritten.items():
                self._file.write(chunk * self._chunk_bytes, old)
            self._file.flush()
        except FilesystemError:
            return False
        return True

    @override
    def close(self) -> None:
        """Close the file and discard what was not committed; a second call does nothing."""
        if self._log is not None:
            self._log.discard()
            self._log = None
        self._file.close()


def _never(_chunk: int) -> bool:
    return False


def _runs(chunks: list[int], most: int) -> Iterable[list[int]]:
    """Runs of adjacent chunks, each of at most `most`; the chunks ascend."""
    run: list[int] = []
    for chunk in chunks:
        if run and (chunk != run[-1] + 1 or len(run) >= most):
            yield run
            run = []
        run.append(chunk)
    if run:
        yield run


def half_changed(name: str, err: FilesystemError) -> FilesystemError:
    """The error for a disk to which only a part of its log was written."""
    return FilesystemError(
        f"'{name}' is changed by half: {err.brief}",
        details="the redo log beside it has the rest; don't start the VM before it is written",
        hint="see to the disk of this host, then `bangerbuild apply`",
        code=err.code,
    )
