"""Reading an ext4 through its unreplayed journal, as it will be once somebody replays it. Nothing is written.

A guest that was killed leaves its last transactions in the journal alone. What they hold is found in one pass
over the log (`replay`); then a read of a block that the log has goes to the place of its last copy. Only
those places are kept in memory.

    disk   … | block 700, old | … | journal: … descriptor [700, 43] | copy of 700 | copy of 43 | commit … |
    read       block 700 ────────────────────────────────────────────────┘

Fast commits are not replayed: they speak of inodes and names instead of blocks, so a disk with some is
refused, and `e2fsck -p` replays them. A journal on a device of its own is refused too.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from bangerbuild.disk import jbd2
from bangerbuild.disk.blocks import read_layered
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
    from bangerbuild.disk.blocks import Blocks
    from bangerbuild.disk.replay import Replay

_COMPAT_HAS_JOURNAL = 0x4


def through_journal(blocks: Blocks) -> Blocks:
    """A disk as it will be once its journal is replayed, to be read; the same disk if nothing is to be.

    Args:
        blocks: the disk; stays the caller's and open, and is only ever read. One without a filesystem on it,
            or with one that is cut short, is given back for others to judge.

    Raises:
        FilesystemError: the journal is damaged, lies elsewhere, or has what is not replayed here.
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


class Replayed:
    """A Blocks over another that answers with what a journal has for a block, else with what is below.

    The superblock is the one the journal leaves, no longer marked as having a journal to replay. The journal
    itself is still there, as if it had not been emptied.
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

    def read(self, offset: int, length: int) -> bytes:
        """See Blocks."""
        if offset + length > self.size_bytes:
            raise FilesystemError(f"'{self.name}' ends before byte {offset + length}")
        return read_layered(offset, length, self._block_bytes, self._own, self._below.read)

    def _own(self, block: int) -> bytes | None:
        """A block that is not as it is below; None for any other."""
        at = OFFSET - block * self._block_bytes
        has_superblock = self._superblock and 0 <= at < self._block_bytes
        place = self._places.get(block, block if has_superblock else None)
        if place is None:
            return None
        data = self._below.read(place * self._block_bytes, self._block_bytes)
        if block in self._escaped:
            data = jbd2.MAGIC_BYTES + data[4:]
        return data[:at] + self._superblock + data[at + SIZE :] if has_superblock else data

    def write(self, offset: int, data: bytes) -> None:
        """See Blocks; always refused."""
        raise FilesystemError(
            f"'{self.name}' can't be written, {len(data)} bytes at {offset}: its journal is not replayed",
            hint=f"e2fsck -p '{self.name}'",
        )

    def flush(self) -> None:
        """See Blocks; nothing is ever written."""


def _recovered(old: bytes, journaled: bytes, name: str, *, has_errors: bool) -> bytes:
    """The superblock as a replay leaves it; an error that it is marked with is never taken back."""
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
