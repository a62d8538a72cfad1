"""The tree of a squashfs, from its top down: names, and the inodes that they lead to."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, BinaryIO

from bangerbuild.errors import printable_bytes
from bangerbuild.formats.archive import ID_MAX, SYMLINK_MODE
from bangerbuild.formats.compression import CompressionError
from bangerbuild.formats.format_error import FormatError
from bangerbuild.formats.limits import ENTRY_BYTES
from bangerbuild.formats.names import bytes_of, tree_path
from bangerbuild.formats.squashfs.attributes import Attributes
from bangerbuild.formats.squashfs.content import data_bytes, extents_of, parts_of
from bangerbuild.formats.squashfs.directories import read_names
from bangerbuild.formats.squashfs.inodes import read_inode
from bangerbuild.tree import Entry, EntryType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.formats.limits import Budget
    from bangerbuild.formats.squashfs.inodes import FileLayout, Inode
    from bangerbuild.formats.squashfs.metadata import Metadata
    from bangerbuild.formats.squashfs.stream import Stream
    from bangerbuild.formats.squashfs.superblock import Superblock

_NO_NAMES = (b".", b"..")
_SIZE_BYTES = 4
"""Of the number in an inode that says how large a block is: even a file without data has them."""


class Walk:
    """Goes through an image once.

    Args:
        metadata: of it.
        superblock: of it.
        budget: the limit on what it may unpack to.
    """

    def __init__(self, metadata: Metadata, superblock: Superblock, budget: Budget) -> None:
        self._metadata = metadata
        self._superblock = superblock
        self._budget = budget
        self._attributes = Attributes(metadata, superblock.xattr_table)
        self._id = lru_cache(maxsize=1024)(self._read_id)
        self._names: dict[int, str] = {}
        """The first name of each inode that is no directory, by its place."""
        self._directories: set[int] = set()
        """The places of their inodes."""

    def entries(self, stream: Stream) -> Iterator[Entry]:
        """All entries, a directory before what is in it; their contents are made by `stream`.

        Raises:
            SourceError: as `Stream` translates them: the image is damaged, or unpacks to too much.
        """
        path = ""
        below = [iter([(path, self._superblock.root)])]
        try:
            while below:
                found = next(below[-1], None)
                if found is None:
                    below.pop()
                    continue
                path, place = found
                self._budget.spend(ENTRY_BYTES)
                if path and place in self._names:
                    yield Entry(path, EntryType.HARD_LINK, target=self._names[place])
                    continue
                inode = self._inode(place)
                if inode.type is not EntryType.SOCKET:
                    yield self._entry(path, inode, stream)
                if inode.type is EntryType.DIRECTORY:
                    below.append(self._below(path, place, inode))
                else:
                    self._names[place] = path
        except (FormatError, CompressionError) as err:
            raise stream.told(err, path) from err

    def _inode(self, place: int) -> Inode:
        cursor = self._metadata.cursor(self._superblock.inode_table, place)
        return read_inode(cursor, self._superblock.block_bytes)

    def _below(self, path: str, place: int, inode: Inode) -> Iterator[tuple[str, int]]:
        """The paths in a directory, and the places of their inodes."""
        if place in self._directories:
            raise FormatError("is a directory that is in the tree twice")
        self._directories.add(place)
        if not inode.directory.size_bytes:
            return
        cursor = self._metadata.cursor(self._superblock.directory_table, inode.directory.place)
        prefix = bytes_of(path) + b"/" if path else b""
        for name, at in read_names(cursor, inode.directory.size_bytes):
            if name in _NO_NAMES or b"/" in name:
                raise FormatError(f"holds '{printable_bytes(name)}', which is no name for a file")
            yield tree_path(prefix + name), at

    def _entry(self, path: str, inode: Inode, stream: Stream) -> Entry:
        if not path and inode.type is not EntryType.DIRECTORY:
            raise FormatError(f"has a top that is a {inode.type.value}")
        layout, size_bytes = inode.file, self._superblock.block_bytes
        return Entry(
            path,
            inode.type,
            mode=SYMLINK_MODE if inode.type is EntryType.SYMLINK else inode.mode,
            uid=self._id(inode.uid),
            gid=self._id(inode.gid),
            mtime_ns=inode.mtime_s * 10**9,
            size_bytes=layout.size_bytes if layout else 0,
            target=inode.target,
            device=inode.device,
            xattrs=self._attributes.of(inode.xattrs),
            content=self._content(path, layout, stream) if layout else None,
            data_extents=extents_of(layout, size_bytes) if layout else None,
        )

    def _content(self, path: str, layout: FileLayout, stream: Stream) -> BinaryIO:
        block_bytes = self._superblock.block_bytes
        self._budget.spend(data_bytes(layout, block_bytes) + _SIZE_BYTES * len(layout.sizes))
        return stream.content(path, parts_of(layout, block_bytes), 1 + len(layout.sizes)).as_file()

    def _read_id(self, number: int) -> int:
        if number >= self._superblock.ids:
            raise FormatError("has an owner that is not in the table")
        found = self._metadata.listed(self._superblock.id_table, number, 4).take(4)
        owner = int.from_bytes(found, "little")
        if owner > ID_MAX:
            raise FormatError(f"has an owner that no filesystem holds: {owner}")
        return owner
