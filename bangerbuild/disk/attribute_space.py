"""Where an inode's extended attributes are on disk, and whether their layout is valid.

    in the inode, behind extra_isize    u32 magic 0xEA020000, then entries
    in a block of its own               u32 magic, u32 inodes that share it, …, 32 bytes in all, then entries
    entry                               u8 name length, u8 namespace, u16 place of the value, u32 inode of the
                                        value, u32 its size, u32 hash, then the name, padded to 4 bytes

Entries end with 4 zero bytes. Values are stored from the other end, padded to 4 bytes; their places are
offsets from the first entry in an inode, and from the block's start in a block. libext2fs rewrites all
attributes when one changes, and trusts that they fit with their padding and the zeros; so that is checked
here.

Source: `fs/ext4/xattr.h`, `lib/ext2fs/ext_attr.c`.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple

from bangerbuild.disk.superblock import damaged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.disk.blocks import Blocks
    from bangerbuild.disk.inode import Inode
    from bangerbuild.disk.superblock import Superblock

_MAGIC = struct.pack("<I", 0xEA020000)
_ENTRY = struct.Struct("<BBHIII")
_BLOCK_HEADER_BYTES = 32
_END = bytes(4)
_INLINE_DATA = (7, b"data")
"""Namespace and name of `system.data`."""


class Attribute(NamedTuple):
    """One entry on disk."""

    namespace: int
    name: bytes
    value: bytes
    value_ino: int
    """The inode that holds the value; 0 if the value is stored with the entries."""


def in_inode(blocks: Blocks, inode: Inode) -> list[Attribute]:
    """The attributes that are stored in an inode itself.

    Raises:
        FilesystemError: their layout is invalid.
    """
    extra = inode.extra_bytes if len(inode.raw) > 128 else 0
    start = 128 + extra
    if extra < 2 or start + len(_MAGIC) >= len(inode.raw) or inode.raw[start : start + 4] != _MAGIC:
        return []
    space = bytes(inode.raw[start + len(_MAGIC) :])
    return list(_attributes(blocks, space, 0))


def in_block(blocks: Blocks, superblock: Superblock, inode: Inode) -> list[Attribute]:
    """The attributes in an inode's attribute block, if it has one.

    Raises:
        FilesystemError: their layout is invalid.
    """
    number = inode.xattr_block
    if not number:
        return []
    if not superblock.first_data_block < number < superblock.blocks:
        raise damaged(blocks, f"attributes are said to lie at block {number} of {superblock.blocks}")
    size = superblock.block_bytes
    block = blocks.read(number * size, size)
    if not block.startswith(_MAGIC):
        raise damaged(blocks, f"attributes are said to lie at block {number}, which holds none")
    return list(_attributes(blocks, block, _BLOCK_HEADER_BYTES))


def _attributes(blocks: Blocks, space: bytes, first: int) -> Iterator[Attribute]:
    """The entries from offset `first` on; checks that all of them fit when they are rewritten."""
    at, values = first, 0
    while space[at : at + 4] != _END:
        if at + _ENTRY.size > len(space):
            raise damaged(blocks, "a list of attributes has no end")
        length, namespace, place, value_ino, size, _ = _ENTRY.unpack_from(space, at)
        name = space[at + _ENTRY.size : at + _ENTRY.size + length]
        at += _padded(_ENTRY.size + length)
        if not value_ino:
            values += _padded(size)
            if size and place + _padded(size) > len(space):
                raise damaged(blocks, "the value of an attribute lies where none can")
        if at + len(_END) + values > len(space):
            raise damaged(blocks, "attributes take more room than there is")
        value = b"" if value_ino else space[place : place + size]
        yield Attribute(namespace, name, value, value_ino)


def _padded(length: int) -> int:
    return (length + 3) & ~3


def inline_data(blocks: Blocks, inode: Inode) -> bytes:
    """The content of an inode with inline data: its block area, and the rest in an attribute."""
    more = [own for own in in_inode(blocks, inode) if (own.namespace, own.name) == _INLINE_DATA]
    if len(more) != 1 or more[0].value_ino:
        raise damaged(blocks, "a file in an inode lacks its second half")
    return inode.block_area + more[0].value
