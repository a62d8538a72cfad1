"""The undo file that resize2fs keeps (`-z`): the old content of each block that it overwrites.

The file consists of blocks. Block 0 is the header. From `key_offset` on there are key blocks, each directly
followed by the data blocks of its keys, in their order.

    header     "E2UNDO02", u64 keys, u64 superblock, u64 key_offset, u32 block_size, u32 fs_block_size, …
               at the end of its 512 bytes u32 crc of what is before
    key block  u32 magic 0xCADECADE, u32 crc of the block with 0 here, u64 0, then keys of
               (u64 fs block, u32 crc of its data, u32 size in bytes)

All numbers are little-endian, all crcs CRC-32C (source: `lib/ext2fs/undo_io.c` of e2fsprogs). A block's old
content, then its key, then the header with the number of keys are written before the block is overwritten. So
the file of a killed resize2fs is enough to undo everything. Only the last key may have a data block that is
missing, and that block was not overwritten. e2undo is not used: it would write zeros for such a block, and it
marks the filesystem as one to be checked.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.libext2fs import crc32c
from bangerbuild.errors import FilesystemError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MAGIC = b"E2UNDO02"
_HEADER = struct.Struct("<8s3Q2I468sI")
_KEY_BLOCK_MAGIC = 0xCADECADE
_KEY = struct.Struct("<QII")
_BLOCK_BYTES = range(1024, (1 << 20) + 1)
_PIECE_BYTES = 1 << 20
_SEED = 0xFFFFFFFF


class Stretch(NamedTuple):
    """A piece of the disk's old content in the undo file."""

    offset: int
    """On the disk, in bytes."""
    place: int
    """In the undo file, in bytes."""
    length: int


class _UndoKey(NamedTuple):
    fs_block: int
    crc: int
    size: int
    place: int
    """The offset of the data in the undo file."""


def stretches(undo: RawFile) -> tuple[Stretch, ...]:
    """The content of an undo file, also of a killed resize2fs; empty if it has no header yet.

    Raises:
        FilesystemError: it is damaged.
    """
    if undo.size_bytes < _HEADER.size:
        return ()
    header = undo.read(0, _HEADER.size)
    if not any(header):
        return ()
    magic, keys, _, key_block, block_bytes, fs_block_bytes, _, crc = _HEADER.unpack(header)
    sound = magic == _MAGIC and crc == crc32c(_SEED, header[:-4])
    if not sound or block_bytes not in _BLOCK_BYTES or not fs_block_bytes:
        raise _damaged(undo)
    found = list(_keys(undo, keys, key_block, block_bytes))
    return tuple(
        Stretch(
            key.fs_block * fs_block_bytes,
            key.place,
            _checked_length(undo, key, block_bytes if key is found[-1] else 0),
        )
        for key in found
    )


def _keys(undo: RawFile, left: int, key_block: int, block_bytes: int) -> Iterator[_UndoKey]:
    per_block = block_bytes // _KEY.size - 1
    while left > 0:
        if (key_block + 1) * block_bytes > undo.size_bytes:
            raise _damaged(undo)
        raw = undo.read(key_block * block_bytes, block_bytes)
        magic, crc = struct.unpack_from("<II", raw)
        if magic != _KEY_BLOCK_MAGIC or crc != crc32c(_SEED, raw[:4] + bytes(4) + raw[8:]):
            raise _damaged(undo)
        key_block += 1
        for number in range(min(left, per_block)):
            fs_block, crc, size = _KEY.unpack_from(raw, (number + 1) * _KEY.size)
            key = _UndoKey(fs_block, crc, size, key_block * block_bytes)
            yield key
            key_block += -(-key.size // block_bytes)
        left -= per_block


def _checked_length(undo: RawFile, key: _UndoKey, may_lack: int) -> int:
    """The length of a key's data, which is verified; at most `may_lack` bytes may be missing at its end."""
    length = max(0, min(key.size, undo.size_bytes - key.place))
    if length < key.size:
        if key.size - length <= may_lack:
            return length
        raise _damaged(undo)
    crc = _SEED
    for at in range(0, length, _PIECE_BYTES):
        crc = crc32c(crc, undo.read(key.place + at, min(_PIECE_BYTES, length - at)))
    if crc != key.crc:
        raise _damaged(undo)
    return length


def _damaged(undo: RawFile) -> FilesystemError:
    return FilesystemError(f"the undo file '{undo.name}' is damaged")


def put_back(undo_path: Path, disk: RawFile, size_bytes: int) -> None:
    """Restore the old content of all blocks; `size_bytes` is the disk's old size.

    Raises:
        FilesystemError: the undo file is damaged, and nothing is changed; or a file can't be read or written.
    """
    with RawFile(undo_path, beside=True) as undo:
        for offset, place, length in stretches(undo):
            for at in range(0, min(length, size_bytes - offset), _PIECE_BYTES):
                piece = undo.read(place + at, min(_PIECE_BYTES, length - at, size_bytes - offset - at))
                disk.write(offset + at, piece)
    disk.flush()
