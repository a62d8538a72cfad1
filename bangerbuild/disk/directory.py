"""Directory blocks as bytes: lists of entries (u32 inode, u16 rec_len, u8 name_len, u8 file_type, name).

Each entry's rec_len reaches to the next entry; the last one's to the block's end, or with metadata_csum to a
tail of 12 bytes that looks like an unused entry and holds the checksum (source: `fs/ext4/ext4.h`).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from bangerbuild.disk.inode import FILE_TYPES
from bangerbuild.tree import EntryType

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_ENTRY = struct.Struct("<IHBB")
_TAIL = struct.pack("<IHBBI", 0, 12, 0, 0xDE, 0)
DIRECTORY = FILE_TYPES[EntryType.DIRECTORY]


class Name(NamedTuple):
    """One entry: a name, its inode, and its type (EXT2_FT_*)."""

    name: bytes
    ino: int
    file_type: int


def pack_blocks(block_bytes: int, names: Iterable[Name], *, checksum: bool) -> Iterator[bytes]:
    """Pack names, in their order, into as few blocks as possible; one empty block if there are none."""
    room = block_bytes - (len(_TAIL) if checksum else 0)
    entries: list[Name] = []
    used = 0
    for name in names:
        length = _packed_bytes(name)
        if used + length > room:
            yield _pack(entries, room, block_bytes)
            entries, used = [], 0
        entries.append(name)
        used += length
    yield _pack(entries or [Name(b"", 0, 0)], room, block_bytes)


def dots(ino: int, parent: int, file_type: int = DIRECTORY) -> tuple[Name, Name]:
    """The first two entries of a directory."""
    return Name(b".", ino, file_type), Name(b"..", parent, file_type)


def _packed_bytes(name: Name) -> int:
    return (_ENTRY.size + len(name.name) + 3) & ~3


def _pack(entries: list[Name], room: int, block_bytes: int) -> bytes:
    parts: list[bytes] = []
    left = room
    for entry in entries[:-1]:
        length = _packed_bytes(entry)
        parts.append(_entry(entry, length))
        left -= length
    parts.append(_entry(entries[-1], left))
    return b"".join(parts) + (_TAIL if room < block_bytes else b"")


def _entry(entry: Name, length: int) -> bytes:
    # 65535 stands for 65536, which does not fit into 16 bits
    head = _ENTRY.pack(entry.ino, min(length, 65535), len(entry.name), entry.file_type)
    return (head + entry.name).ljust(length, b"\0")


def is_list_of_names(data: bytes) -> bool:
    """Whether a block is a valid list of entries up to its last byte.

    libext2fs does not check the last 8 bytes of a block, but uses them when it splits the block.
    """
    at, end = 0, len(data)
    while at < end - 7:
        ino, length, name_bytes, _ = _ENTRY.unpack_from(data, at)
        if end == 65536 and length in (0, 65535):
            length = 65536
        if length & 3 or length < 12 or length < 8 + name_bytes or (ino and not name_bytes):
            return False
        at += length
    return at == end
