"""What a virtual disk can do beside being read: have a range copied to a file, with holes for zeros."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from bangerbuild.disk.blocks import Blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from bangerbuild.formats.limits import Budget

SLICE_BYTES = 128 << 20
"""How much is copied at once: between two slices the limits are checked and progress is told."""
SECTOR_BYTES = 512


class VirtualDisk(Blocks, Protocol):
    """A disk that is read only."""

    def prepare(self, places: Iterable[tuple[int, int]]) -> None:
        """Take note of ranges, offset and length in bytes, that are read next; most disks have no need of it.

        What lies beyond the disk's end is left out.

        Raises:
            SourceError: the disk can't be read.
            ToolError: a program is missing, or took too long.
        """

    def copy(
        self, start: int, length: int, target: Path, *, budget: Budget, progress: Callable[[int], None]
    ) -> None:
        """Copy a range to a new file.

        Args:
            start: in bytes, a multiple of 512.
            length: likewise.
            target: must not exist; removed on any error.
            budget: what the data may take. Holes and zeros count nothing.
            progress: is told how many bytes of the range are done.

        Raises:
            SourceError: the data is too much, or the disk can't be read.
            FilesystemError: the range reaches beyond the disk's end, or can't be read.
            ToolError: a program is missing, or took too long.
            OSError: the target can't be written.
        """


@contextmanager
def new_file(target: Path, size_bytes: int) -> Iterator[int]:
    """A sparse file, for its owner alone, open to be written; removed on any error."""
    fd = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(fd, size_bytes)
        yield fd
    except BaseException:
        target.unlink()
        raise
    finally:
        os.close(fd)


def slices(length: int) -> Iterator[tuple[int, int]]:
    """Cut a range: (position, length) in bytes."""
    for position in range(0, length, SLICE_BYTES):
        yield position, min(SLICE_BYTES, length - position)
