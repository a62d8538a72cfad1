"""Buffers for filling a new filesystem fast: writes, free blocks and inodes are processed many at a time.

libext2fs does not see what is buffered here. It is handed over with `settle`, `pass_on` or `give_back` before
libext2fs reads an inode or allocates blocks itself.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Self

from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.content import PIECE_BYTES
from bangerbuild.disk.inode import MAX_EXTENT_BLOCKS
from bangerbuild.disk.mapping import Run
from bangerbuild.tree import EntryType

if TYPE_CHECKING:
    from concurrent.futures import Future
    from types import TracebackType

    from bangerbuild.disk.blocks import Blocks
    from bangerbuild.disk.inode import Inode
    from bangerbuild.disk.libext2fs import Handle
    from bangerbuild.disk.superblock import Superblock

ROOT_INO = 2
_PIECES_UNDER_WAY = 8
_WRITE_BACK_BYTES = 32 << 20
_BLOCKS_AT_ONCE = 8192
_INODES_AT_ONCE = 16384


class WriteBehind:
    """A write buffer whose writes are done by a thread, adjacent ones merged; a context manager.

    An error of a write is raised by a later call of `write`, or by `settle`. For a raw file, a second thread
    writes dirty pages back to the disk, so that a later sync takes little time.

    Args:
        blocks: the disk, which the caller closes.
    """

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._pieces: list[bytes] = []
        self._begin = self._end = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="write-behind")
        self._under_way: deque[Future[None]] = deque()
        self._to_disk = ThreadPoolExecutor(1, thread_name_prefix="write-back")
        self._writing_back: Future[None] | None = None
        self._since_bytes = 0
        """Bytes written since the last write-back."""

    def write(self, offset: int, data: bytes) -> None:
        """Write bytes, at the latest when `settle` returns."""
        if offset != self._end or self._end - self._begin >= PIECE_BYTES:
            self._pass_on(_PIECES_UNDER_WAY)
            self._begin = offset
        self._pieces.append(data)
        self._end = offset + len(data)

    def settle(self) -> None:
        """Wait until everything is written."""
        self._pass_on(0)
        self._begin = self._end

    def _pass_on(self, most: int) -> None:
        """Give the buffered bytes to the thread, and wait until at most `most` pieces are pending."""
        if self._pieces:
            data = b"".join(self._pieces)
            self._pieces.clear()
            self._under_way.append(self._thread.submit(self._blocks.write, self._begin, data))
            self._write_back(len(data))
        while len(self._under_way) > most:
            self._under_way.popleft().result()

    def _write_back(self, more_bytes: int) -> None:
        self._since_bytes += more_bytes
        is_free = self._writing_back is None or self._writing_back.done()
        if isinstance(self._blocks, RawFile) and is_free and self._since_bytes >= _WRITE_BACK_BYTES:
            self._writing_back = self._to_disk.submit(self._blocks.write_back)
            self._since_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown()
        self._to_disk.shutdown()


class BlockReserve:
    """Free blocks, allocated from libext2fs many at a time and handed out in ascending order.

    Args:
        handle: the filesystem; not with bigalloc.
        goal: the block near which to allocate.
    """

    def __init__(self, handle: Handle, goal: int) -> None:
        self._handle = handle
        self._next = goal
        self._left = 0

    def take(self, logical: int, count: int) -> list[Run]:
        """Blocks for a part of a file, in as few runs as possible.

        Raises:
            FilesystemError: there are not enough free blocks.
        """
        runs: list[Run] = []
        while count:
            if not self._left:
                wanted = min(max(count, _BLOCKS_AT_ONCE), MAX_EXTENT_BLOCKS)
                self._next, self._left = self._handle.allocate_run(self._next, wanted)
            taken = min(count, self._left)
            before = runs[-1] if runs else None
            if (
                before
                and before.first + before.blocks == self._next
                and before.blocks + taken <= MAX_EXTENT_BLOCKS
            ):
                runs[-1] = before._replace(blocks=before.blocks + taken)
            else:
                runs.append(Run(logical, self._next, taken))
            logical, count = logical + taken, count - taken
            self._next, self._left = self._next + taken, self._left - taken
        return runs

    def give_back(self) -> None:
        """Return the unused blocks to libext2fs."""
        if self._left:
            self._handle.free_run(self._next, self._left)
            self._left = 0


class InodeTable:
    """A buffer of finished inodes, written to the inode tables in runs of adjacent ones.

    Args:
        handle: the filesystem.
        superblock: as it was when opened.
        behind: the write buffer.
    """

    def __init__(self, handle: Handle, superblock: Superblock, behind: WriteBehind) -> None:
        self._handle = handle
        self._behind = behind
        self._waiting: dict[int, Inode] = {}
        self._next = handle.new_inode(ROOT_INO, 0)
        is_free_from_there = superblock.free_inodes == superblock.inodes - self._next + 1
        self._last = superblock.inodes if is_free_from_there else 0

    def claim(self, inode: Inode) -> int:
        """Allocate the next free inode number.

        Raises:
            FilesystemError: there is no free inode.
        """
        if self._next <= self._last:
            ino, self._next = self._next, self._next + 1
        else:
            ino = self._handle.new_inode(ROOT_INO, 0)
        self._handle.count_inode(ino, 1, directory=inode.type is EntryType.DIRECTORY)
        return ino

    def put(self, ino: int, inode: Inode) -> None:
        """Add an inode to the buffer; it is written as it is at the time of `pass_on`."""
        self._waiting[ino] = inode
        if len(self._waiting) >= _INODES_AT_ONCE:
            self.pass_on()

    def pass_on(self) -> None:
        """Give all buffered inodes to the write buffer."""
        for ino in sorted(self._waiting):
            raw = self._waiting[ino].raw
            self._handle.set_inode_checksum(ino, raw)
            self._behind.write(self._handle.inode_offset(ino), bytes(raw))
        self._waiting.clear()
