"""A file that holds a virtual disk byte for byte."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import struct
from typing import TYPE_CHECKING

from typing_extensions import override

from bangerbuild.disk import clone
from bangerbuild.disk.blocks import RawFile, check_end, host_error, write_all
from bangerbuild.errors import ToolError
from bangerbuild.host.process import run
from bangerbuild.virtual_disk import tools
from bangerbuild.virtual_disk.disks import VirtualDisk, new_file, slices

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from bangerbuild.formats.limits import Budget

_CLONE_RANGE = 0x4020940D
"""linux/fs.h: FICLONERANGE, _IOW(0x94, 13, struct file_clone_range)."""


class RawDisk(RawFile, VirtualDisk):
    """A disk in a file of the host's, or one in staging, which shrinks while it is copied.

    Args:
        path: the file.
        written: what messages call it.
        is_ours: whether the file is removed later, so that what was copied of it need not stay.
    """

    def __init__(self, path: Path, written: str, *, is_ours: bool = False) -> None:
        super().__init__(path)
        self.name = self.place = written
        self._path = path
        self._is_ours = is_ours

    @override
    def prepare(self, places: Iterable[tuple[int, int]]) -> None:
        """A read takes no time to speak of."""

    @override
    def copy(
        self, start: int, length: int, target: Path, *, budget: Budget, progress: Callable[[int], None]
    ) -> None:
        check_end(self, start, length)
        with new_file(target, length) as writer:
            if _reflink(self._fd, start, length, writer):
                return
            for position, here in slices(length):
                self._copy_slice(start + position, here, writer, position, budget)
                self._give_back(start + position, here)
                progress(position + here)

    def _copy_slice(self, start: int, length: int, writer: int, position: int, budget: Budget) -> None:
        for at, extent_bytes in self._data(start, start + length):
            for piece_at in range(at, at + extent_bytes, clone.PIECE_BYTES):
                data = self.read(piece_at, min(clone.PIECE_BYTES, at + extent_bytes - piece_at))
                to = position + piece_at - start
                for is_data, begin, end in clone.runs(data):
                    if is_data:
                        budget.spend(end - begin)
                        write_all(writer, data[begin:end], to + begin)

    def _data(self, start: int, end: int) -> list[tuple[int, int]]:
        try:
            return list(clone.data_extents(self._fd, start, end))
        except OSError as err:
            raise host_error(f"cannot read '{self.name}'", err) from err

    def _give_back(self, start: int, length: int) -> None:
        """Free what was copied, where the filesystem can."""
        if self._is_ours:
            with contextlib.suppress(ToolError):
                run(tools.punch(self._path, start=start, length=length))


def _reflink(reader: int, start: int, length: int, writer: int) -> bool:
    """Share the blocks of a range, if the filesystem can and the range begins and ends at its blocks."""
    try:
        fcntl.ioctl(writer, _CLONE_RANGE, struct.pack("=qQQQ", reader, start, length, 0))
    except OSError as err:
        if err.errno in {*clone.NO_REFLINK, errno.EOVERFLOW}:
            return False
        raise
    return True
