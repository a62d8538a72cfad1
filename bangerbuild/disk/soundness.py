"""Validate parts of a filesystem before libext2fs uses them, because damage could crash or hang it.

libext2fs does not validate everything that it follows, and a guest's disk is not checked by e2fsck each time.
So the mapping and the blocks of directories, and the layout of attributes, are checked here first. What
libext2fs checks itself is not repeated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild.disk import attribute_space, superblock
from bangerbuild.disk.directory import is_list_of_names
from bangerbuild.disk.inode import INLINE_DATA_FL
from bangerbuild.disk.mapping import TREE, Run, runs_of
from bangerbuild.errors import FilesystemError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bangerbuild.disk.blocks import Blocks
    from bangerbuild.disk.inode import Inode
    from bangerbuild.disk.superblock import Superblock

MOST_DIRECTORY_BYTES = 256 << 20
"""Names are searched from a directory's start, so larger directories would take too long."""
_PARENT_BYTES = 4
"""The number before the names of a directory that is stored in its inode: the parent's inode."""


class Soundness:
    """The checks for one open filesystem; each result is remembered.

    Args:
        blocks: the disk.
        superblock: its superblock.
        written: inodes of directories whose blocks were found valid; new ones are added. Changes by libext2fs
            keep them valid, so all stores that start with the same content can share the set.
    """

    def __init__(self, blocks: Blocks, superblock: Superblock, written: set[int]) -> None:
        self._blocks = blocks
        self._superblock = superblock
        self._written = written

    def directory(self, ino: int, inode: Inode) -> None:
        """Check a directory's mapping, before libext2fs reads it.

        Raises:
            FilesystemError: it is invalid, or the directory is too large.
        """
        size, block_bytes = inode.size_bytes, self._superblock.block_bytes
        if inode.flags & INLINE_DATA_FL:
            self._names_in_inode(ino, inode)
            return
        if size > MOST_DIRECTORY_BYTES:
            raise FilesystemError(
                f"'{self._blocks.name}' has a directory of {size} bytes: "
                f"more than {MOST_DIRECTORY_BYTES} are not read",
                hint="make the directory anew in the guest, with less in it",
            )
        end = 0
        for run in self._runs(inode):
            if run.logical != end or not run.is_written:
                raise self._damage(f"directory {ino} has a hole")
            end += run.blocks
            if end * block_bytes > size:
                break
        if not end or end * block_bytes != size:
            raise self._damage(f"directory {ino} says it has {size} bytes")

    def _runs(self, inode: Inode) -> Iterator[Run]:
        return (run for run in runs_of(self._blocks, self._superblock, inode) if run.logical != TREE)

    def _names_in_inode(self, ino: int, inode: Inode) -> None:
        data = attribute_space.inline_data(self._blocks, inode)
        own = len(inode.block_area)
        if not is_list_of_names(data[_PARENT_BYTES:own]) or not is_list_of_names(data[own:]):
            raise self._damage(f"directory {ino} holds no list of names")
        attribute_space.in_block(self._blocks, self._superblock, inode)

    def names(self, ino: int, inode: Inode) -> None:
        """Check a directory's blocks, before libext2fs adds names to them.

        Raises:
            FilesystemError: they are no valid lists of names.
        """
        if ino in self._written or inode.flags & INLINE_DATA_FL:
            return
        size = self._superblock.block_bytes
        for run in self._runs(inode):
            for block in range(run.first, run.first + run.blocks):
                if not is_list_of_names(self._blocks.read(block * size, size)):
                    raise self._damage(f"directory {ino} holds no list of names")
        self._written.add(ino)

    def forget(self, ino: int) -> None:
        """Forget the results for an inode that was freed, because it may be reused."""
        self._written.discard(ino)

    def attributes(self, inode: Inode, read: Callable[[int], Inode]) -> None:
        """Check the layout of an inode's attributes, before libext2fs reads or rewrites them.

        Args:
            inode: the inode.
            read: returns an inode by number, for values that are stored in inodes.

        Raises:
            FilesystemError: the layout is invalid.
        """
        own = attribute_space.in_inode(self._blocks, inode)
        for attribute in (*own, *attribute_space.in_block(self._blocks, self._superblock, inode)):
            if attribute.value_ino:
                self.mapping(read(attribute.value_ino))

    def mapping(self, inode: Inode) -> None:
        """Check the mapping of all blocks of an inode, before libext2fs reads or frees them.

        Raises:
            FilesystemError: the mapping is invalid.
        """
        for _ in runs_of(self._blocks, self._superblock, inode):
            pass

    def _damage(self, what: str) -> FilesystemError:
        return superblock.damaged(self._blocks, what)
