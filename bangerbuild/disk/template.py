"""Templates: disks that are alike are made once, and the others are instantiated from that one.

A `FileTemplate` is a whole file, for disks that are the same to the last byte.

A `StoreTemplate` is a file over a base, for files over that base that get the same files, of as many blocks
each. They are the same but for those blocks, the sizes and mtimes in the inodes, and the inodes' checksums.
libext2fs writes the first; each other one is its bytes with these replaced. A `SparseTemplate`, in a module
of its own, is the same for files that hold a disk byte for byte.

    inode  u32 size at 0x04, its upper half at 0x6C; u32 generation at 0x64;
           checksum: lower u16 at 0x7C, upper u16 at 0x82 where the inode reaches that far

Source: `ext2fs_inode_csum` in libext2fs: crc32c, from the filesystem's seed on, over the inode's number, its
generation, and the inode with zeros for a checksum.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

from bangerbuild.disk import clone
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.inode import Inode
from bangerbuild.disk.libext2fs import crc32c
from bangerbuild.disk.mapping import TREE, runs_of
from bangerbuild.disk.superblock import INCOMPAT_CSUM_SEED, RO_COMPAT_METADATA_CSUM
from bangerbuild.errors import OverlayError
from bangerbuild.tree import EntryType

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from bangerbuild.disk.ext4 import Filesystem
    from bangerbuild.disk.overlay import OverlayStore

_U16 = struct.Struct("<H")
_U32 = struct.Struct("<I")
_REACH_OF_CHECKSUM = 4
"""What extra_isize must be at the least for an inode to have the upper half of its checksum."""


class FileTemplate:
    """A copy of a file, for others to be copied from.

    Args:
        file: whole; stays the caller's.

    Raises:
        OSError: there is no room for the copy.
    """

    def __init__(self, file: Path) -> None:
        copy = file.with_suffix(".template")
        clone.clone(file, copy)
        self._fd = os.open(copy, os.O_RDONLY | os.O_CLOEXEC)
        copy.unlink()  # the open file is enough

    def instantiate(self, path: Path) -> None:
        """Make the file once more, at a path at which nothing is yet."""
        clone.clone(Path(f"/proc/self/fd/{self._fd}"), path)

    def close(self) -> None:
        """Let go of the copy."""
        os.close(self._fd)


@dataclass(frozen=True)
class LocatedFile:
    """Where on a disk one file lies."""

    ino: int
    inode_at: int
    inode_bytes: int
    runs: tuple[tuple[int, int], ...]
    """Of its content: (byte on the disk, length in bytes), in the content's order."""

    @property
    def spans(self) -> tuple[tuple[int, int], ...]:
        """All of it: its inode, and the runs."""
        return (self.inode_at, self.inode_bytes), *self.runs


def locate(disk: Filesystem, path: str) -> LocatedFile | None:
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
    return LocatedFile(found.ino, offset, disk.superblock.inode_bytes, runs)


class Packed(Protocol):
    """A disk without what it need not hold; `OverlayStore` is one."""

    def packed(self) -> bytes:
        """All that it holds."""

    def placed(self, offset: int, length: int) -> list[slice]:
        """The places, in that, of a range of the disk."""


class PackedTemplate:
    """What a disk holds, and where in that the files lie whose content is replaced.

    Args:
        disk: the first; it must hold every byte of the files.
        superblock: 1024 bytes.
        files: those whose content differs from disk to disk.
    """

    def __init__(self, disk: Packed, superblock: bytes, files: Iterable[LocatedFile]) -> None:
        self._bytes = disk.packed()
        self._seed = _checksum_seed(superblock)
        self._files = [_PackedFile.of(file, disk) for file in files]

    def filled(self, files: Sequence[tuple[bytes, int]]) -> bytearray:
        """What another disk holds, with content and mtime (in nanoseconds) of each file, in their order."""
        data = bytearray(self._bytes)
        for file, (content, mtime_ns) in zip(self._files, files, strict=True):
            file.fill(data, content)
            data[file.inode] = file.inode_of(data, len(content), mtime_ns, self._seed)
        return data


class StoreTemplate(PackedTemplate):
    """The bytes of a store's file.

    Args:
        store: committed; it must hold every chunk of the files, see `OverlayStore.keep`.
        superblock: 1024 bytes.
        files: those whose content differs from store to store.
    """

    def __init__(self, store: OverlayStore, superblock: bytes, files: Iterable[LocatedFile]) -> None:
        super().__init__(store, superblock, files)
        self._least_bytes = store.least_bytes
        self._grows = store.grows

    def instantiate(self, path: Path, name: str, files: Sequence[tuple[bytes, int]]) -> str:
        """Write a store's file; the digest of what it is then, as `clone.digest` gives it.

        Args:
            path: is there, of the size that the store shall have; one that grows gets what it needs.
            name: what to call it in a message.
            files: content and mtime (in nanoseconds) of each, in their order; of as many blocks as in the
                template.

        Raises:
            OverlayError: the store is too small.
        """
        data = self.filled(files)
        if self._grows:
            os.truncate(path, len(data))
        with RawFile(path, writable=True, durable=False) as target:
            target.name = name
            self._check_capacity(target.size_bytes, name)
            target.write(0, data)
            return clone.digest_of(data, target.size_bytes)

    def _check_capacity(self, size_bytes: int, name: str) -> None:
        if self._least_bytes > size_bytes:
            raise OverlayError(
                f"'{name}' is full: its {size_bytes} bytes are too few, "
                f"at least {self._least_bytes} are needed",
                hint="give the store a larger size",
            )


@dataclass(frozen=True)
class _PackedFile:
    """Where in what a disk holds one file lies."""

    ino: int
    inode: slice
    pieces: tuple[slice, ...]
    """Of the content."""

    @classmethod
    def of(cls, file: LocatedFile, disk: Packed) -> Self:
        (inode,) = disk.placed(file.inode_at, file.inode_bytes)
        pieces = (piece for at, length in file.runs for piece in disk.placed(at, length))
        return cls(file.ino, inode, tuple(pieces))

    def fill(self, data: bytearray, content: bytes) -> None:
        done = 0
        for piece in self.pieces:
            length = piece.stop - piece.start
            data[piece] = content[done : done + length].ljust(length, b"\0")
            done += length

    def inode_of(self, data: bytearray, size_bytes: int, mtime_ns: int, seed: int | None) -> bytes:
        """The inode for content of that size and time, made of the one that is there."""
        inode = Inode(data[self.inode])
        inode.size_bytes = size_bytes
        inode.mtime_ns = mtime_ns
        if seed is not None:
            _put_checksum(inode, self.ino, seed)
        return bytes(inode.raw)


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
