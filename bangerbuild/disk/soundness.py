"""What is looked at before libext2fs is let near it: the parts of a disk that can make it crash or never end.

libext2fs is no judge: it follows what it finds. A guest's disk is not checked by e2fsck each time, so what
libext2fs would follow without care is walked here before: how directories are mapped and made, where
attributes lie. What it checks by itself is left to it.
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
"""Names are looked for from a directory's start, so larger ones would take too long."""
_PARENT_BYTES = 4
"""What stands before the names of a directory that is held in its inode."""


class Soundness:
    """What was found to be sound of one open filesystem.

    Args:
        blocks: the disk.
        superblock: its superblock.
        written: directories whose blocks hold names; what is found is added. Changes made through libext2fs
            keep it so, so all stores that start alike can share it.
    """

    def __init__(self, blocks: Blocks, superblock: Superblock, written: set[int]) -> None:
        self._blocks = blocks
        self._superblock = superblock
        self._written = written

    def directory(self, ino: int, inode: Inode) -> None:
        """Look at how a directory is mapped, before libext2fs reads it.

        Raises:
            FilesystemError: it can't be so, or is too large.
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
        """Look at a directory's blocks, before libext2fs puts names into them.

        Raises:
            FilesystemError: they hold something else than names.
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
        """An inode was given back, and may become another directory."""
        self._written.discard(ino)

    def attributes(self, inode: Inode, read: Callable[[int], Inode]) -> None:
        """Look at where an inode's attributes lie, before libext2fs reads them or writes them anew.

        Args:
            inode: whose they are.
            read: gives the inode that holds the value of one.

        Raises:
            FilesystemError: they can't lie so.
        """
        own = attribute_space.in_inode(self._blocks, inode)
        for attribute in (*own, *attribute_space.in_block(self._blocks, self._superblock, inode)):
            if attribute.value_ino:
                self.mapping(read(attribute.value_ino))

    def mapping(self, inode: Inode) -> None:
        """Look at how all blocks of an inode are mapped, before libext2fs reads or frees them.

        Raises:
            FilesystemError: it can't be so.
        """
        for _ in runs_of(self._blocks, self._superblock, inode):
            pass

    def _damage(self, what: str) -> FilesystemError:
        return superblock.damaged(self._blocks, what)
