"""The undo file that resize2fs keeps (`-z`): the old content of each block that it overwrites.

The file is cut into blocks. Block 0 is the header; from `key_offset` on, a key block follows a key block,
each with the data blocks that its keys speak of, in their order, right behind it.

    header     "E2UNDO02", u64 keys, u64 superblock, u64 key_offset, u32 block_size, u32 fs_block_size, …
    key block  u32 magic 0xCADECADE, u32 crc, u64 0, then keys of (u64 fs block, u32 crc, u32 size in bytes)

All numbers are little-endian (source: `lib/ext2fs/undo_io.c` of e2fsprogs). A block's old content and its
key are in the file before the block is overwritten, so that what a killed resize2fs leaves is enough to undo
all it did; what is missing at the end was not overwritten. e2undo itself would write such an end as zeros.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from bangerbuild.disk.blocks import RawFile
from bangerbuild.errors import FilesystemError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MAGIC = b"E2UNDO02"
_HEADER = struct.Struct("<8s3Q2I")
_KEY_BLOCK_MAGIC = 0xCADECADE
_KEY = struct.Struct("<QII")
_BLOCK_BYTES = range(1024, (1 << 20) + 1)
_PIECE_BYTES = 1 << 20


class Stretch(NamedTuple):
    """Where a piece of the disk's old content stands in the undo file."""

    offset: int
    """In the disk, in bytes."""
    place: int
    """In the undo file, in bytes."""
    length: int


def stretches(undo: RawFile) -> Iterator[Stretch]:
    """What an undo file holds, whole or not; nothing if it has no header yet.

    Raises:
        FilesystemError: it is damaged.
    """
    if undo.size_bytes < _HEADER.size:
        return
    magic, keys, _, key_block, block_bytes, fs_block_bytes = _HEADER.unpack(undo.read(0, _HEADER.size))
    if magic != _MAGIC:
        if any(undo.read(0, _HEADER.size)):
            raise _damaged(undo)
        return
    if block_bytes not in _BLOCK_BYTES or not fs_block_bytes:
        raise _damaged(undo)
    per_block = block_bytes // _KEY.size - 1
    while keys > 0:
        place = key_block * block_bytes
        raw = undo.read(place, block_bytes)
        if struct.unpack_from("<I", raw)[0] != _KEY_BLOCK_MAGIC:
            raise _damaged(undo)
        key_block += 1
        for number in range(min(keys, per_block)):
            fs_block, _, size = _KEY.unpack_from(raw, (number + 1) * _KEY.size)
            at = key_block * block_bytes
            yield Stretch(fs_block * fs_block_bytes, at, max(0, min(size, undo.size_bytes - at)))
            key_block += -(-size // block_bytes)
        keys -= per_block


def _damaged(undo: RawFile) -> FilesystemError:
    return FilesystemError(f"the undo file '{undo.name}' is damaged")


def put_back(undo_path: Path, disk: RawFile) -> None:
    """Write the old content of all blocks back to the disk.

    Raises:
        FilesystemError: the undo file is damaged, or one of the two can't be read or written.
    """
    with RawFile(undo_path) as undo:
        for offset, place, length in list(stretches(undo)):
            for at in range(0, length, _PIECE_BYTES):
                piece = undo.read(place + at, min(_PIECE_BYTES, length - at))
                disk.write(offset + at, piece)
    disk.flush()
