"""Read an ext4 with an unreplayed journal as it will be after a replay. Nothing is written.

A killed guest leaves its last transactions only in the journal. One pass over the log (`replay`) finds the
last copy of each block in it; reads of these blocks are then redirected to the copies. Only their places are
kept in memory.

    disk   … | block 700, old | … | journal: … descriptor [700, 43] | copy of 700 | copy of 43 | commit … |
    read       block 700 ────────────────────────────────────────────────┘

A disk with fast commits is refused, because they describe changes of inodes and names instead of blocks;
`e2fsck -p` replays them. A journal on a separate device is refused too.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from typing_extensions import override

from bangerbuild.disk import jbd2
from bangerbuild.disk.blocks import Blocks, read_layered
from bangerbuild.disk.libext2fs import crc32c, open_handle
from bangerbuild.disk.replay import Log, replay
from bangerbuild.disk.superblock import (
    ERROR_FS,
    INCOMPAT_RECOVER,
    OFFSET,
    RO_COMPAT_METADATA_CSUM,
    SIZE,
    parse_superblock,
)
from bangerbuild.errors import FilesystemError

if TYPE_CHECKING:
    from bangerbuild.disk.replay import Replay

_COMPAT_HAS_JOURNAL = 0x4


def through_journal(blocks: Blocks) -> Blocks:
    """A read-only view of a disk after a replay of its journal; the disk itself if no replay is needed.

    Args:
        blocks: the disk, which is only read, and which the caller closes. A disk without a filesystem, or
        with
            one that is cut short, is returned as it is.

    Raises:
        FilesystemError: the journal is damaged, on another device, or has fast commits.
    """
    if blocks.size_bytes < OFFSET + SIZE:
        return blocks
    raw = blocks.read(OFFSET, SIZE)
    superblock = parse_superblock(raw)
    if superblock is None or superblock.size_bytes > blocks.size_bytes:
        return blocks
    if not superblock.incompat & INCOMPAT_RECOVER:
        return blocks
    ino = _journal_inode(raw, superblock.compat, blocks.name)
    try:
        handle = open_handle(blocks, writable=False, now=1)
    except FilesystemError as err:
        raise jbd2.damaged(blocks.name, f"it can't be opened: {err.brief}") from err
    try:
        return Replayed(blocks, handle.block_size, replay(Log(blocks, handle, ino)))
    finally:
        handle.abandon()


def _journal_inode(superblock: bytes, compat: int, name: str) -> int:
    device_uuid, ino, device = struct.unpack_from("<16sII", superblock, 0xD0)
    if not compat & _COMPAT_HAS_JOURNAL:
        raise FilesystemError(
            f"'{name}' is marked as having a journal to replay, and has no journal",
            hint=f"e2fsck -f '{name}'",
        )
    if any(device_uuid) or (device and not ino):
        raise FilesystemError(
            f"the journal of '{name}' is on a device of its own, and has to be replayed first",
            hint=f"e2fsck -p -j DEVICE '{name}'",
        )
    return int(ino)


class Replayed(Blocks):
    """A read-only disk: blocks that are in a journal are read from there, all others from the disk below.

    The superblock is the one after a replay, so it is not marked as having a journal to replay. The journal's
    own blocks are unchanged.
    """

    writable = False

    def __init__(self, below: Blocks, block_bytes: int, changes: Replay) -> None:
        self.name = below.name
        self.place = below.place
        self.size_bytes = below.size_bytes
        self._below = below
        self._block_bytes = block_bytes
        self._places = changes.places
        self._escaped = changes.escaped
        self._superblock = b""
        old = below.read(OFFSET, SIZE)
        self._superblock = _recovered(old, self.read(OFFSET, SIZE), self.name, has_errors=changes.has_errors)

    @override
    def read(self, offset: int, length: int) -> bytes:
        if offset + length > self.size_bytes:
            raise FilesystemError(f"'{self.name}' ends before byte {offset + length}")
        return read_layered(offset, length, self._block_bytes, self._own, self._below.read)

    def _own(self, block: int) -> bytes | None:
        """A block that differs from the disk below; None for any other."""
        at = OFFSET - block * self._block_bytes
        has_superblock = self._superblock and 0 <= at < self._block_bytes
        place = self._places.get(block, block if has_superblock else None)
        if place is None:
            return None
        data = self._below.read(place * self._block_bytes, self._block_bytes)
        if block in self._escaped:
            data = jbd2.MAGIC_BYTES + data[4:]
        return data[:at] + self._superblock + data[at + SIZE :] if has_superblock else data

    @override
    def write(self, offset: int, data: bytes) -> None:
        """Refused: the view is read-only."""
        raise FilesystemError(
            f"'{self.name}' can't be written, {len(data)} bytes at {offset}: its journal is not replayed",
            hint=f"e2fsck -p '{self.name}'",
        )

    @override
    def flush(self) -> None:
        """There is nothing to write."""


def _recovered(old: bytes, journaled: bytes, name: str, *, has_errors: bool) -> bytes:
    """The superblock after a replay; the mark that the filesystem has errors is always kept."""
    superblock = parse_superblock(journaled)
    if superblock is None:
        raise jbd2.damaged(name, "what it has for the superblock is none")
    state, old_state = (struct.unpack_from("<H", raw, 0x3A)[0] for raw in (journaled, old))
    errors = old_state & ERROR_FS | (ERROR_FS if has_errors else 0)
    new = bytearray(journaled)
    struct.pack_into("<H", new, 0x3A, state | errors)
    struct.pack_into("<I", new, 0x60, superblock.incompat & ~INCOMPAT_RECOVER)
    if superblock.ro_compat & RO_COMPAT_METADATA_CSUM:
        struct.pack_into("<I", new, 0x3FC, crc32c(0xFFFFFFFF, bytes(new[:0x3FC])))
    return bytes(new)
