"""The space that a tree needs in an ext4 with blocks of 4 KiB, computed without reading content."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bangerbuild.tree import Entry, EntryType

if TYPE_CHECKING:
    from collections.abc import Iterable

BLOCK_BYTES = 4096
_DIRECTORY_ENTRY_BYTES = 8
_OVERHEAD_BYTES = 12 + 12 + 12
"""In a directory's first block: `.`, `..` and the checksum tail."""
_SPLIT_FACTOR = 2
"""A hash tree keeps its leaves about half full at worst."""
_SYMLINK_IN_INODE_BYTES = 59
_EXTENTS_IN_INODE, _EXTENTS_IN_BLOCK = 4, 340


@dataclass(frozen=True)
class Totals:
    """The totals of a tree. Repeated entries count each time, so the totals are never too small."""

    inodes: int
    """All entries except hard links, and the parents that have no entry."""
    directories: int
    """The top included."""
    data_bytes: int
    """Of files, long symlinks and extent trees, in whole blocks; holes do not count."""
    directory_bytes: int
    """Of directories, in whole blocks."""
    xattr_bytes: int
    """An upper limit: one block for each inode with attributes."""

    @property
    def bytes(self) -> int:
        """The sum."""
        return self.data_bytes + self.directory_bytes + self.xattr_bytes


def measure(entries: Iterable[Entry]) -> Totals:
    """Compute the totals of `entries`. No content is read, so an uncompressed tarball is only seeked in."""
    names_bytes: dict[str, int] = defaultdict(int, {"": 0})
    others = data_bytes = with_xattrs = 0
    for entry in entries:
        _add_name(names_bytes, entry.path)
        if entry.type is EntryType.DIRECTORY:
            names_bytes.setdefault(entry.path, 0)
        elif entry.type is not EntryType.HARD_LINK:
            others += 1
        data_bytes += allocated_bytes(entry)
        with_xattrs += bool(entry.xattrs)
    return Totals(
        inodes=others + len(names_bytes),
        directories=len(names_bytes),
        data_bytes=data_bytes,
        directory_bytes=sum(map(_directory_bytes, names_bytes.values())),
        xattr_bytes=with_xattrs * BLOCK_BYTES,
    )


def _add_name(names_bytes: dict[str, int], path: str) -> None:
    """Add a name to its parent, and the names of new parents to theirs."""
    while path:
        parent, _, name = path.rpartition("/")
        length = len(name.encode("utf-8", "surrogateescape"))
        is_new_parent = parent not in names_bytes
        names_bytes[parent] += _DIRECTORY_ENTRY_BYTES + _rounded(length, 4)
        path = parent if is_new_parent else ""


def allocated_bytes(entry: Entry) -> int:
    """What the content of an entry takes, in whole blocks, with its extent tree; holes do not count."""
    if entry.data_extents is None or entry.type is EntryType.SYMLINK:
        return content_bytes(entry.type, entry.size_bytes, entry.target)
    blocks = sum(
        _rounded(offset + length, BLOCK_BYTES) - offset // BLOCK_BYTES * BLOCK_BYTES
        for offset, length in entry.data_extents
    )
    return blocks + _extent_tree_bytes(len(entry.data_extents))


def content_bytes(type_: EntryType, size_bytes: int, target: str) -> int:
    """The same of one without holes."""
    if type_ is EntryType.SYMLINK:
        is_long = len(target.encode("utf-8", "surrogateescape")) > _SYMLINK_IN_INODE_BYTES
        return BLOCK_BYTES if is_long else 0
    return _rounded(size_bytes, BLOCK_BYTES)


def _extent_tree_bytes(extents: int) -> int:
    return 0 if extents <= _EXTENTS_IN_INODE else -(-extents // _EXTENTS_IN_BLOCK) * BLOCK_BYTES


def _directory_bytes(names_bytes: int) -> int:
    needed = names_bytes + _OVERHEAD_BYTES
    return BLOCK_BYTES if needed <= BLOCK_BYTES else _rounded(_SPLIT_FACTOR * needed, BLOCK_BYTES)


def _rounded(number: int, unit: int) -> int:
    return -(-number // unit) * unit
