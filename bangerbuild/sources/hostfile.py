"""Files of the host, opened for reading, with the errors of that told by the file's name."""

from __future__ import annotations

import errno
import io
import os
import stat
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, cast

from bangerbuild.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from _typeshed import WriteableBuffer

_BUFFER_BYTES = 256 << 10
_OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_READABLE_HINT = "make it readable, or leave it out with `exclude`"


def unreadable(err: OSError, written: str) -> SourceError:
    """The error for a host file that the system won't let us read."""
    if err.errno in {errno.ENOENT, errno.ELOOP, errno.ENOTDIR}:
        return SourceError(f"{written!r} vanished or was replaced while it was read", hint="try again")
    hint = _READABLE_HINT if err.errno in {errno.EACCES, errno.EPERM} else None
    return SourceError(f"{written!r} can't be read: {os.strerror(err.errno or 0).lower()}", hint=hint)


def changed(written: str) -> SourceError:
    """The error for a host file that is not what it was a moment ago."""
    return SourceError(f"{written!r} changed while it was read", hint="try again when nothing writes to it")


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
        raise SourceError(f"{written!r} is a directory", hint=directory_hint)
    if not stat.S_ISREG(found.st_mode):
        raise SourceError(f"{written!r} is no regular file")
    return found


def stat_of(path: Path, written: str) -> os.stat_result:
    """What stat says, symlinks followed; SourceError if there is nothing."""
    try:
        return path.stat()
    except FileNotFoundError as err:
        raise SourceError(f"{written!r} is not there") from err
    except OSError as err:
        raise unreadable(err, written) from err


class HostContent(io.RawIOBase):
    """The data of one host file, which must stay as it was seen until the last byte is read.

    Opened at the first read and closed after the last. It reads as many bytes as are asked for while there
    are any; `extents` are what it reads, one run after the other.

    Args:
        open_fd: opens the file without following a symlink.
        seen: what stat said of it.
        written: what messages call it.

    Reading raises SourceError if the file can't be read or has changed.
    """

    def __init__(self, open_fd: Callable[[int], int], seen: os.stat_result, written: str) -> None:
        super().__init__()
        self._open_fd = open_fd
        self._seen = seen
        self._written = written
        self._fd: int | None = None
        self._extents = [(0, seen.st_size)]
        self._position = 0

    def as_file(self) -> BinaryIO:
        """Itself: the io classes are binary files, though not by name (typing.BinaryIO is nominal)."""
        return cast("BinaryIO", self)

    def readable(self) -> bool:
        return True

    def find_extents(self) -> tuple[tuple[int, int], ...]:
        """Where the file has data; only that is then read. One run where the filesystem does not tell."""
        fd = self._opened()
        self._extents = list(_data_extents(fd, self._seen.st_size))
        return tuple(self._extents)

    def read(self, size: int | None = -1, /) -> bytes:
        if self.closed:
            return b"" if not self._extents else self._refuse_late_read()
        pieces = []
        left = -1 if size is None or size < 0 else size
        while left and self._extents:
            pieces.append(self._read_piece(left))
            left -= len(pieces[-1]) if left > 0 else 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)
