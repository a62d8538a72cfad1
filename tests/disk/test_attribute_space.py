"""Attributes that libext2fs would follow into a crash are refused before."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from tests.disk.ext4_tools import NOW
from tests.hostile.roots import debugfs_write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

from tests.disk.filesystems import refuse


def set_extra(raw: bytearray, attributes: bytes) -> None:
    """Put attributes into an inode, behind 32 bytes of other fields."""
    struct.pack_into("<H", raw, 0x80, 32)
    raw[160:164] = struct.pack("<I", 0xEA020000)
    raw[164 : 164 + len(attributes)] = attributes


def attribute(name: bytes, place: int, size: int, ino: int = 0) -> bytes:
    """An entry of the user's, from the format's description alone."""
    head = struct.pack("<BBHIII", len(name), 1, place, ino, size, 0)
    return (head + name).ljust((16 + len(name) + 3) & ~3, b"\0")


LISTS = {
    "without an end": b"".join(attribute(b"abcdefg", 0, 0) for _ in range(3)) + attribute(b"ab", 0, 0),
    "ending in the middle": attribute(b"a" * 60, 0, 0) + b"\1\1\0\0",
    "too full to be padded": b"".join(attribute(bytes([97 + i]), 88, 1) for i in range(4)) + b"\0" * 4,
    "with a value beyond the inode": attribute(b"a", 90, 8) + b"\0" * 4,
    "with a value in an inode that is none": attribute(b"a", 0, 8, ino=1 << 30) + b"\0" * 4,
}


@pytest.mark.parametrize("kind", LISTS)
@pytest.mark.parametrize(
    "use",
    [
        lambda disk: disk.get_xattrs("/etc/passwd"),
        lambda disk: disk.set_xattr("/etc/passwd", "user.b", b"c"),
        lambda disk: disk.remove_xattr("/etc/passwd", "user.b"),
    ],
    ids=["read", "set", "remove"],
)
def test_attributes_that_cannot_lie_so_are_refused(
    kind: str, use: Callable[[Filesystem], object], target: Path
) -> None:
    with RawFile(target, writable=True) as blocks, Filesystem(blocks, writable=True, now=NOW) as disk:
        ino = disk.nodes.child(disk.nodes.child(2, b"etc"), b"passwd")
        inode = disk.nodes.inode(ino)
        set_extra(inode.raw, LISTS[kind])
        disk.nodes.save(ino, inode)
    refuse(target, r"'/etc/passwd'", use)


def test_attributes_in_a_block_that_is_none_are_refused(target: Path) -> None:
    debugfs_write(target, "set_inode_field /etc/passwd file_acl 100")
    refuse(target, "block 100, which holds none", lambda disk: disk.get_xattrs("/etc/passwd"))
    debugfs_write(target, "set_inode_field /etc/passwd file_acl 5000")
    refuse(target, "said to lie at block 5000 of 4096", lambda disk: disk.get_xattrs("/etc/passwd"))
