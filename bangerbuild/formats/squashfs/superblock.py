"""The superblock of a squashfs: 96 bytes at the start of the image, which say where everything else is.

     0 magic u32 | 4 inodes u32 | 8 mtime u32 | 12 block size u32 | 16 fragments u32 | 20 compression u16
    22 log2 of the block size u16 | 24 flags u16 | 26 ids u16 | 28 version u16, u16 | 32 root inode u64
    40 bytes used u64 | where the tables begin, u64 each: ids, xattrs, inodes, directories, fragments, export

Source: `struct squashfs_super_block` in fs/squashfs/squashfs_fs.h. All numbers are little-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from bangerbuild.formats.format_error import FormatError
from bangerbuild.formats.squashfs.compressors import EXPANDERS, LZO

MAGIC = b"hsqs"
BYTES = 96
NONE = (1 << 64) - 1
"""The start of a table that is not there."""
_FORM = struct.Struct("<4s4I6H8Q")
_VERSION = (4, 0)
_BLOCK_BYTES = frozenset(1 << bits for bits in range(12, 21))
_AGAIN = "pack it again, as `mksquashfs` does"
_AS_TARBALL = "where squashfs-tools-ng is installed: `sqfs2tar FILE > FILE.tar`, and name that with `tar = …`"


@dataclass(frozen=True)
class Superblock:
    """Where what is. Offsets are in bytes, from the start of the image."""

    block_bytes: int
    """Of the content of files: 4 KiB to 1 MiB."""
    compression: int
    fragments: int
    """How many blocks there are that hold the ends of several files."""
    ids: int
    """How many different owners there are."""
    root: int
    """The place of the top's inode."""
    used_bytes: int
    id_table: int
    xattr_table: int
    inode_table: int
    directory_table: int
    fragment_table: int


def parse(head: bytes, file_bytes: int) -> Superblock:
    """The superblock at the start of a file of this size.

    Raises:
        FormatError: it is none, or of an image that is cut short or can't be read.
    """
    if len(head) < BYTES or not head.startswith(MAGIC):
        raise FormatError("has no superblock")
    (_, _, _, block_bytes, fragments, compression, block_log, _, ids, *version_and_places) = _FORM.unpack(
        head[:BYTES]
    )
    major, minor, root, used_bytes, *tables, _ = version_and_places
    if (major, minor) != _VERSION:
        raise FormatError(f"is of version {major}.{minor}, and only 4.0 is read", hint=_AGAIN)
    if compression == LZO:
        raise FormatError("is compressed with lzo, which is not read", hint=_AS_TARBALL)
    if compression not in EXPANDERS:
        raise FormatError(f"has a compression of the unknown number {compression}")
    if block_bytes not in _BLOCK_BYTES or block_bytes != 1 << block_log:
        raise FormatError(f"says that its blocks have {block_bytes} bytes")
    if used_bytes > file_bytes:
        raise FormatError(f"is cut short: it has {used_bytes} bytes, and its file {file_bytes}")
    return Superblock(block_bytes, compression, fragments, ids, root, used_bytes, *tables)
