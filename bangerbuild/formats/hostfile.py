"""Opens and reads host files, and notes them in `observed`; errors name a file as the manifest does."""

from __future__ import annotations

import errno
import io
import os
import stat
from contextlib import contextmanager
from operator import attrgetter
from typing import TYPE_CHECKING, BinaryIO, cast

from bangerbuild.errors import SourceError
from bangerbuild.formats.sparse import joined
from bangerbuild.host import observed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import TypeAlias

    from _typeshed import WriteableBuffer

    from bangerbuild.formats.sparse import Extents

    Identity: TypeAlias = tuple[int, int, int, int]

STAT_BLOCK_BYTES = 512
identity: Callable[[os.stat_result], Identity] = attrgetter("st_dev", "st_ino", "st_size", "st_mtime_ns")
"""What says that a file is the one it was, as far as its own times tell."""
_BUFFER_BYTES = 256 << 10
_OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_READABLE_HINT = "make it readable, or leave it out with `exclude`"


def unreadable(err: OSError, written: str) -> SourceError:
    """The error for a host file that the system won't let us read."""
    if err.errno in {errno.ENOENT, errno.ELOOP, errno.ENOTDIR}:
        return SourceError(f"'{written}' vanished or was replaced while it was read", hint="try again")
    hint = _READABLE_HINT if err.errno in {errno.EACCES, errno.EPERM} else None
    return SourceError(f"'{written}' can't be read: {os.strerror(err.errno or 0).lower()}", hint=hint)


def changed(written: str) -> SourceError:
    """The error for a host file that is not what it was a moment ago."""
    return SourceError(f"'{written}' changed while it was read", hint="try again when nothing writes to it")


@contextmanager
def opened_file(path: Path, written: str, *, directory_hint: str | None = None) -> Iterator[BinaryIO]:
    """The regular file at `path`, symlinks followed.

    Raises:
        SourceError: it is not there, can't be read, or is no regular file.
    """
    check_is_file(path, written, directory_hint=directory_hint)
    try:
        file = path.open("rb", buffering=_BUFFER_BYTES)
    except OSError as err:
        raise unreadable(err, written) from err
    with file:
        yield file


def check_is_file(path: Path, written: str, *, directory_hint: str | None = None) -> os.stat_result:
    """What stat says of a regular file, symlinks followed; SourceError if it is none."""
    found = stat_of(path, written)
    if stat.S_ISDIR(found.st_mode):
        raise SourceError(f"'{written}' is a directory", hint=directory_hint)
    if not stat.S_ISREG(found.st_mode):
        raise SourceError(f"'{written}' is no regular file")
    return found


def stat_of(path: Path, written: str) -> os.stat_result:
    """What stat says, symlinks followed, which is noted; SourceError if there is nothing."""
    try:
        found = path.stat()
    except OSError as err:
        observed.look(path)  # a caller may go on without it, and then it counts that it is not there
        if isinstance(err, FileNotFoundError):
            raise SourceError(f"'{written}' is not there") from err
        raise unreadable(err, written) from err
    observed.note(path, found)
    return found


class HostContent(io.RawIOBase):
    """The data of one host file, which must stay as it was seen until its last byte is read.

    Opened at the first read, and its descriptor let go of after the last. It reads as many bytes as are
    asked for while there are any. Reading raises SourceError if the file can't be read or has changed.

    Args:
        open_with: opens the file with the flags it is given.
        seen: what stat said of it, see `identity`.
        written: what messages call it.
    """

    def __init__(self, open_with: Callable[[int], int], seen: Identity, written: str) -> None:
        super().__init__()
        self._open_with = open_with
        self._seen = seen
        self._size_bytes = seen[2]
        self._written = written
        self._fd: int | None = None
        self._runs = self._whole()

    def as_file(self) -> BinaryIO:
        """Itself: the io classes are binary files, though not by name (typing.BinaryIO is nominal)."""
        return cast("BinaryIO", self)

    def readable(self) -> bool:
        """True, as the io classes ask for it."""
        return True

    def skip_holes(self) -> Extents:
        """Where the file has data, which alone is read from now on. One run if the filesystem can't tell."""
        extents = data_extents(self._opened(), self._size_bytes)
        self._runs = list(extents)
        return extents

    def read(self, size: int | None = -1, /) -> bytes:
        """The next `size` bytes, fewer only at the end; all that is left if it is negative."""
        if self.closed:
            raise ValueError("the walk has gone on to its next entry")
        left = sum(length for _, length in self._runs) if size is None or size < 0 else size
        pieces = []
        while left and self._runs:
            pieces.append(self._read_piece(left))
            left -= len(pieces[-1])
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        """The next bytes, as many as fit; returns how many they are."""
        view = memoryview(buffer)
        data = self.read(len(view))
        view[: len(data)] = data
        return len(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """Goes back to the start, which is all that is asked for; not after `skip_holes`."""
        if offset or whence != os.SEEK_SET:
            raise ValueError("only the start can be sought")
        self._runs = self._whole()
        return 0

    def close(self) -> None:
        """Lets go of the descriptor; reading on is a ValueError."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
        super().close()

    def _whole(self) -> list[tuple[int, int]]:
        return [(0, self._size_bytes)] if self._size_bytes else []

    def _read_piece(self, limit: int) -> bytes:
        offset, length = self._runs[0]
        fd = self._opened()
        try:
            data = os.pread(fd, min(length, limit), offset)
        except OSError as err:
            raise unreadable(err, self._written) from err
        if not data:
            raise changed(self._written)
        self._runs[:1] = [(offset + len(data), length - len(data))] if len(data) < length else []
        if not self._runs:
            self._check_same(fd)
            os.close(fd)
            self._fd = None
        return data

    def _opened(self) -> int:
        if self._fd is None:
            try:
                self._fd = self._open_with(_OPEN_FLAGS)
            except OSError as err:
                raise unreadable(err, self._written) from err
            self._check_same(self._fd)
        return self._fd

    def _check_same(self, fd: int) -> None:
        if identity(os.fstat(fd)) != self._seen:
            raise changed(self._written)


def data_extents(fd: int, size: int) -> Extents:
    """Where an open file of `size` bytes has data; one run if the filesystem can't tell holes."""
    extents = []
    position = 0
    try:
        while position < size:
            start = os.lseek(fd, position, os.SEEK_DATA)
            position = min(os.lseek(fd, start, os.SEEK_HOLE), size)
            extents.append((start, position - start))
    except OSError as err:
        if err.errno != errno.ENXIO:  # ENXIO: only a hole is left
            return ((0, size),)
    return joined(extents)
