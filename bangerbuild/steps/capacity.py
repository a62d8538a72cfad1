"""Whether content has room on a disk: what is certain before any of it is written.

Only what can't fit whatever else is done is refused. So content and directories count, and of the filesystem
itself no more than is known.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from bangerbuild.disk import superblock, tools
from bangerbuild.disk.blocks import RawFile
from bangerbuild.errors import SourceError, readable_size
from bangerbuild.host.process import run

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bangerbuild.disk.opened import OpenedDisk

_LEAST_BYTES = 1 << 20
"""Below, mke2fs has no room for its own tables."""


@dataclass(frozen=True)
class Room:
    """A disk that is made anew."""

    size_bytes: int
    is_empty: bool
    """Whether it is made by mke2fs of that size, so that it is known what is free in it."""

    def check(self, needed_bytes: int, what: str, hint: str) -> None:
        """Refuse content that has no room.

        Args:
            needed_bytes: of content and directories, in whole blocks.
            what: the content, as messages have it.
            hint: the way out.

        Raises:
            SourceError: there is no room.
        """
        if needed_bytes <= self.size_bytes // 2:
            return
        if needed_bytes > self.size_bytes or (self.is_empty and needed_bytes > _free_bytes(self.size_bytes)):
            needed, size = readable_size(needed_bytes), readable_size(self.size_bytes)
            raise SourceError(f"{what} takes {needed}, and does not fit in {size}", hint=hint)


@lru_cache
def _free_bytes(size_bytes: int) -> int:
    """What a new filesystem of this size has free, as mke2fs makes it."""
    if size_bytes < _LEAST_BYTES:
        return 0
    geometry = tools.Geometry(size_bytes // tools.BLOCK_BYTES * tools.BLOCK_BYTES)
    with tempfile.TemporaryDirectory() as directory:
        empty = Path(directory) / "empty.ext4"
        run(tools.mke2fs(empty, geometry, fingerprint="", epoch=1))
        with RawFile(empty) as blocks:
            made = superblock.read_superblock(blocks, writable=False)
        return made.free_blocks * made.block_bytes


def in_blocks(length: int) -> int:
    """A length in whole blocks."""
    return -(-length // tools.BLOCK_BYTES) * tools.BLOCK_BYTES


def lacking_bytes(disk: OpenedDisk, needed_bytes: int, places: Iterable[str], grows_to_bytes: int = 0) -> int:
    """How much a disk lacks for what is to be written, what is at some places now given up; 0: it has room.

    `grows_to_bytes` is the size that it will have before that; a smaller one is no matter.
    """
    found = getattr(disk, "superblock", None)
    if found is None:  # a tree that several disks make
        return 0
    grown_bytes = max(0, grows_to_bytes - found.size_bytes)
    lacking: int = needed_bytes - found.free_blocks * found.block_bytes - grown_bytes
    if lacking <= 0:
        return 0
    there = (disk.stat(path, follow=False) for path in places)
    given_up = sum(in_blocks(one.size_bytes) for one in there if one is not None)
    return max(0, lacking - given_up)
