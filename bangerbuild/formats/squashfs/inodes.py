"""The inodes of a squashfs, each of one of fourteen forms: basic ones, and extended ones with more fields.

    header           form u16 | mode u16 | uid u16 | gid u16, by number of the table | mtime u32 | number u32
    directory        block u32 | links u32 | size u16 | offset u16 | parent u32
     extended        links u32 | size u32 | block u32 | parent u32 | indexes u16 | offset u16 | xattrs u32
    file             start u32 | fragment u32 | offset in it u32 | size u32 | sizes of blocks, u32 each
     extended        start u64 | size u64 | holes u64 | links u32 | fragment u32 | offset u32 | xattrs u32 | …
    symlink          links u32 | length u32 | text | extended: xattrs u32
    device           links u32 | number u32 | extended: xattrs u32
    fifo, socket     links u32 | extended: xattrs u32

Source: `struct squashfs_*_inode` in fs/squashfs/squashfs_fs.h.
"""

from __future__ import annotations

import struct
from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from bangerbuild.formats.format_error import FormatError
from bangerbuild.formats.names import SYMLINK_BYTES_MAX, symlink_text
from bangerbuild.tree import EntryType

if TYPE_CHECKING:
    from bangerbuild.formats.squashfs.metadata import Cursor

NO_NUMBER = 0xFFFFFFFF
"""In the place of a number of a fragment or of xattrs: there are none."""
_HEADER = struct.Struct("<4HII")
_DIRECTORY, _LONG_DIRECTORY = struct.Struct("<IIHHI"), struct.Struct("<IIIIHHI")
_FILE, _LONG_FILE = struct.Struct("<4I"), struct.Struct("<3Q4I")
_TWO = struct.Struct("<II")
_EXTENDED = 7
"""What the number of an extended form exceeds that of the basic one by."""
_TYPES = {
    1: EntryType.DIRECTORY,
    2: EntryType.FILE,
    3: EntryType.SYMLINK,
    4: EntryType.BLOCK_DEVICE,
    5: EntryType.CHARACTER_DEVICE,
    6: EntryType.FIFO,
    7: EntryType.SOCKET,
}
_MOST_SIZES_BYTES = 64 << 20
"""The sizes of a file's blocks are held in memory."""
_EMPTY_DIRECTORY_BYTES = 3
"""What a directory's size counts beyond its list: as if `.` and `..` stood in it."""


class FileLayout(NamedTuple):
    """Where the content of a file is."""

    size_bytes: int
    start: int
    """Where its blocks begin, which follow each other."""
    sizes: array[int]
    """Of each block in the image, see `content`."""
    fragment: int
    """The block that has what is left of it, or `NO_NUMBER`."""
    offset: int
    """Where in that."""


class ListPlace(NamedTuple):
    """Where the names of a directory are."""

    place: int
    """In the table of directories."""
    size_bytes: int


NO_LIST = ListPlace(0, 0)


@dataclass(frozen=True, slots=True)
class Inode:
    """An inode; only what its type has is given."""

    type: EntryType
    mode: int
    """Permission bits, set-id and sticky included."""
    uid: int
    """The number of it in the id table, likewise `gid`."""
    gid: int
    mtime_s: int
    xattrs: int = NO_NUMBER
    directory: ListPlace = NO_LIST
    file: FileLayout | None = None
    target: str = ""
    device: tuple[int, int] = (0, 0)


def read_inode(cursor: Cursor, block_bytes: int) -> Inode:
    """The inode at which the cursor stands.

    Raises:
        FormatError: it is damaged, or no tree can hold it.
    """
    form, mode, uid, gid, mtime_s, _ = _HEADER.unpack(cursor.take(_HEADER.size))
    is_extended = form > _EXTENDED
    type_ = _TYPES.get(form - _EXTENDED if is_extended else form)
    if type_ is None:
        raise FormatError(f"has an inode of the unknown form {form}")
    common = (type_, mode & 0o7777, uid, gid, mtime_s)
    if type_ is EntryType.DIRECTORY:
        return _directory(cursor, common, is_extended=is_extended)
    if type_ is EntryType.FILE:
        return _file(cursor, common, block_bytes, is_extended=is_extended)
    target, device = "", (0, 0)
    if type_ is EntryType.SYMLINK:
        target = _target(cursor)
    elif type_ in {EntryType.BLOCK_DEVICE, EntryType.CHARACTER_DEVICE}:
        device = _device(_TWO.unpack(cursor.take(8))[1])
    else:
        cursor.take(4)
    xattrs = int.from_bytes(cursor.take(4), "little") if is_extended else NO_NUMBER
    return Inode(*common, xattrs, target=target, device=device)


def _directory(cursor: Cursor, common: tuple[EntryType, int, int, int, int], *, is_extended: bool) -> Inode:
    if is_extended:
        _, size, block, _, _, offset, xattrs = _LONG_DIRECTORY.unpack(cursor.take(_LONG_DIRECTORY.size))
    else:
        block, _, size, offset, _ = _DIRECTORY.unpack(cursor.take(_DIRECTORY.size))
        xattrs = NO_NUMBER
    place = ListPlace(block << 16 | offset, max(0, size - _EMPTY_DIRECTORY_BYTES))
    return Inode(*common, xattrs, directory=place)


def _file(
    cursor: Cursor, common: tuple[EntryType, int, int, int, int], block_bytes: int, *, is_extended: bool
) -> Inode:
    if is_extended:
        start, size, _, _, fragment, offset, xattrs = _LONG_FILE.unpack(cursor.take(_LONG_FILE.size))
    else:
        start, fragment, offset, size = _FILE.unpack(cursor.take(_FILE.size))
        xattrs = NO_NUMBER
    blocks = size // block_bytes if fragment != NO_NUMBER else -(-size // block_bytes)
    if 4 * blocks > _MOST_SIZES_BYTES:
        raise FormatError(f"says that it has {size} bytes, in {blocks} blocks")
    sizes = array("I", cursor.take(4 * blocks))
    return Inode(*common, xattrs, file=FileLayout(size, start, sizes, fragment, offset))


def _target(cursor: Cursor) -> str:
    _, length = _TWO.unpack(cursor.take(8))
    if length > SYMLINK_BYTES_MAX:
        raise FormatError(f"is a symlink whose text has more than {SYMLINK_BYTES_MAX} bytes")
    return symlink_text(cursor.take(length))


def _device(number: int) -> tuple[int, int]:
    """As `new_decode_dev` of the kernel (include/linux/kdev_t.h)."""
    return (number & 0xFFF00) >> 8, number & 0xFF | number >> 12 & 0xFFF00
