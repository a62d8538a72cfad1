"""Remove directories with everything in them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild.disk.superblock import damaged
from bangerbuild.tree import EntryType

if TYPE_CHECKING:
    from bangerbuild.disk.nodes import Nodes


def drop_directory(nodes: Nodes, parent: int, name: bytes, ino: int) -> None:
    """Remove a directory with everything in it, deepest names first, without recursion.

    Raises:
        FilesystemError: it contains itself, or is damaged otherwise; what was removed stays removed.
    """
    pending = [(parent, name, ino, iter(nodes.stored_entries(ino)))]
    while pending:
        above, own_name, own, left = pending[-1]
        entry = next(left, None)
        if entry is None:
            pending.pop()
            _drop_empty(nodes, above, own_name, own)
        elif nodes.kind(entry.ino) is EntryType.DIRECTORY:
            if any(entry.ino == open_ino for _, _, open_ino, _ in pending):
                raise damaged(nodes.blocks, f"directory {entry.ino} is inside itself")
            pending.append((own, entry.name, entry.ino, iter(nodes.stored_entries(entry.ino))))
        else:
            nodes.drop_name(own, entry.name, entry.ino)


def _drop_empty(nodes: Nodes, parent: int, name: bytes, ino: int) -> None:
    nodes.unlink(parent, name, ino)
    above = nodes.inode(parent)  # an inline directory's entries are in its inode
    if above.links > 2:  # a count of 1 stays: it means too many to count
        above.links -= 1
        nodes.save(parent, above)
    nodes.free(ino, nodes.inode(ino))
