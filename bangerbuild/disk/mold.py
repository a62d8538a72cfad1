"""A store that others are cast from: they differ from it in the content of a few files and in nothing else.

Stores over one base that get the same files, of as many blocks each, are the same but for those blocks, the
sizes in the inodes, and the inodes' checksums. libext2fs writes the first; each other one is its bytes with
these replaced.

    inode  u32 size at 0x04, its upper half at 0x6C; u32 generation at 0x64;
           checksum: lower u16 at 0x7C, upper u16 at 0x82 where the inode reaches that far

Source: `ext2fs_inode_csum` in libext2fs: crc32c, from the filesystem's seed on, over the inode's number, its
generation, and the inode with zeros for a checksum.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from bangerbuild.disk import clone
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.inode import Inode
from bangerbuild.disk.libext2fs import crc32c
from bangerbuild.disk.mapping import TREE, runs_of
from bangerbuild.disk.superblock import INCOMPAT_CSUM_SEED, RO_COMPAT_METADATA_CSUM
from bangerbuild.errors import SnapshotError
from bangerbuild.tree import EntryType

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from bangerbuild.disk.ext4 import Filesystem
    from bangerbuild.disk.overlay import SnapshotStore

_U16 = struct.Struct("<H")
_U32 = struct.Struct("<I")
_REACH_OF_CHECKSUM = 4
"""What extra_isize must be at the least for an inode to have the upper half of its checksum."""


@dataclass(frozen=True)
class Room:
    """Where on a disk one file lies."""

    ino: int
    inode_at: int
    inode_bytes: int
    runs: tuple[tuple[int, int], ...]
    """Of its content: (byte on the disk, length in bytes), in the content's order."""


def room(disk: Filesystem, path: str) -> Room | None:
    """Where a file lies that was just written; None if it is gone again."""
    found = disk.stat(path, follow=False)
    if found is None or found.type is not EntryType.FILE:
        return None
    block_bytes = disk.superblock.block_bytes
    runs = tuple(
        (run.first * block_bytes, run.blocks * block_bytes)
        for run in runs_of(disk.blocks, disk.superblock, disk.nodes.inode(found.ino))
        if run.logical != TREE
    )
    offset = disk.nodes.handle.inode_offset(found.ino)
    return Room(found.ino, offset, disk.superblock.inode_bytes, runs)


class Mold:
    """The bytes of a store's file, and where in them the rooms are.

    Args:
        store: committed; it must hold every chunk of the rooms, see `SnapshotStore.keep`.
        superblock: 1024 bytes.
        rooms: of the files that differ.
    """

    def __init__(self, store: SnapshotStore, superblock: bytes, rooms: Iterable[Room]) -> None:
        self._bytes = store.packed()
        self._least_bytes = store.least_bytes
        self._seed = _checksum_seed(superblock)
        self._places = [_Place.of(room, store) for room in rooms]

    def cast(self, path: Path, name: str, contents: Sequence[bytes]) -> str:
        """Write a store's file; the digest of what it is then, as `clone.digest` gives it.

        Args:
            path: is there, of the size that the store shall have.
            name: what to call it in a message.
            contents: of the files, in the order of the rooms, each of as many blocks as its room.

        Raises:
            SnapshotError: the store is too small.
        """
        data = bytearray(self._bytes)
        for place, content in zip(self._places, contents, strict=True):
            place.fill(data, content)
            data[place.inode] = place.inode_of(data, len(content), self._seed)
        with RawFile(path, writable=True, durable=False) as file:
            file.name = name
            self._check_capacity(file.size_bytes, name)
            file.write(0, data)
            return clone.digest_of(data, file.size_bytes)

    def _check_capacity(self, size_bytes: int, name: str) -> None:
        if self._least_bytes > size_bytes:
            raise SnapshotError(
                f"'{name}' is full: its {size_bytes} bytes are too few, "
                f"at least {self._least_bytes} are needed",
                hint="give the store a larger size",
            )


@dataclass(frozen=True)
class _Place:
    """Where in a store's file the room of one file is."""

    ino: int
    inode: slice
    pieces: tuple[slice, ...]
    """Of the content."""
    inodes: dict[int, bytes] = field(default_factory=dict)
    """As they were once made, by the content's size in bytes."""

    @classmethod
    def of(cls, room: Room, store: SnapshotStore) -> Self:
        (inode,) = store.placed(room.inode_at, room.inode_bytes)
        return cls(
            room.ino, inode, tuple(piece for at, length in room.runs for piece in store.placed(at, length))
        )

    def fill(self, data: bytearray, content: bytes) -> None:
        done = 0
        for piece in self.pieces:
            length = piece.stop - piece.start
            data[piece] = content[done : done + length].ljust(length, b"\0")
            done += length

    def inode_of(self, data: bytearray, size_bytes: int, seed: int | None) -> bytes:
        """The inode for content of that size, made of the one that is there."""
        if size_bytes not in self.inodes:
            inode = Inode(data[self.inode])
            inode.size_bytes = size_bytes
            if seed is not None:
                _put_checksum(inode, self.ino, seed)
            self.inodes[size_bytes] = bytes(inode.raw)
        return self.inodes[size_bytes]


def _checksum_seed(superblock: bytes) -> int | None:
    """What the checksums of a filesystem's inodes begin with; None if they have none."""
    incompat, ro_compat = struct.unpack_from("<2I", superblock, 0x60)
    if not ro_compat & RO_COMPAT_METADATA_CSUM:
        return None
    if incompat & INCOMPAT_CSUM_SEED:
        return int(_U32.unpack_from(superblock, 0x270)[0])
    return crc32c(0xFFFFFFFF, superblock[0x68:0x78])


def _put_checksum(inode: Inode, ino: int, seed: int) -> None:
    raw = inode.raw
    reaches = len(raw) > 128 and inode.extra_bytes >= _REACH_OF_CHECKSUM
    _U16.pack_into(raw, 0x7C, 0)
    if reaches:
        _U16.pack_into(raw, 0x82, 0)
    checksum = crc32c(seed, _U32.pack(ino) + raw[0x64:0x68] + raw)
    _U16.pack_into(raw, 0x7C, checksum & 0xFFFF)
    if reaches:
        _U16.pack_into(raw, 0x82, checksum >> 16)
