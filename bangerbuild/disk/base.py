"""One base parsed once for all overlays on it: descriptors and bitmaps are copied, not read again."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from typing_extensions import override

from bangerbuild.disk.located import open_named
from bangerbuild.disk.overlay import OverlayStore
from bangerbuild.disk.superblock import read_superblock
from bangerbuild.host.closing import Closing

if TYPE_CHECKING:
    from bangerbuild.disk.blocks import Blocks
    from bangerbuild.disk.libext2fs import Handle


class ParsedBase(Closing):
    """The parsed filesystem of a base, for `Filesystem(store, parsed=…)`; used by any number of threads.

    It may be the base as some changes leave it, so that stores which all get them start with the outcome.

    Args:
        blocks: the base, or a store over it that holds the changes; stays the caller's, open, and unchanged
            for as long as this is used.

    Raises:
        FilesystemError: it holds no filesystem that could be written.
    """

    def __init__(self, blocks: Blocks) -> None:
        self.blocks = blocks
        self.base: Blocks = blocks
        self.chunks: dict[int, bytes] | None = None
        if isinstance(blocks, OverlayStore):
            self.base, self.chunks = blocks.base, dict(blocks.changed_chunks())
        self.size_bytes = blocks.size_bytes
        self.superblock = read_superblock(blocks, writable=True)
        self.sound: set[int] = set()
        """Directories that the first store has looked at for all."""
        self._lock = threading.Lock()
        self._handle = open_named(blocks, writable=False, now=1, bitmaps=True)
        self._handle.drop_inode_cache()  # it would be shared, and overlays differ in their inodes

    def fits(self, blocks: Blocks) -> bool:
        """Whether a disk is as it was parsed: a store over the base that holds the changes and no more."""
        if not isinstance(blocks, OverlayStore) or blocks.base is not self.base:
            return False
        return blocks.started_with is self.chunks and blocks.changed_count == len(self.chunks or ())

    def handle_on(self, blocks: Blocks, now: int) -> Handle:
        """A writable handle on a disk that fits; it must be closed before this is."""
        with self._lock:
            return self._handle.duplicate(blocks, now=now)

    @override
    def close(self) -> None:
        """Free what was parsed, once no handle made from it is open any more."""
        self._handle.abandon()
