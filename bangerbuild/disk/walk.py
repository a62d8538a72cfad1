"""A filesystem as a stream of entries, the shape it shares with tarballs and host directories."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

from bangerbuild.disk.content import read_content
from bangerbuild.disk.inode import stat_of
from bangerbuild.errors import FilesystemError
from bangerbuild.tree import Entry, EntryType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.disk.nodes import Nodes


class _Content(io.RawIOBase):
    """Pieces of content as a stream that is read once."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._left = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: object) -> int:
        target = memoryview(buffer).cast("B")  # type: ignore[arg-type] # any writable buffer, by contract
        if not self._left:
            self._left = memoryview(next(self._pieces, b""))
        count = min(len(target), len(self._left))
        target[:count] = self._left[:count]
        self._left = self._left[count:]
        return count


def walk(nodes: Nodes, root: int) -> Iterator[Entry]:
    """Every name as an Entry, each directory before what is in it, names sorted by their bytes.

    The root comes first, under an empty path. A file's further names are hard links to the first one met.
    Inodes of no known type are left out.
    """
    first_names: dict[int, str] = {}
    directories: set[int] = set()
    pending = [("", root)]
    while pending:
        path, ino = pending.pop()
        entry = _entry(nodes, path, ino, first_names)
        if entry is None:
            continue
        yield entry
        if entry.type is EntryType.DIRECTORY:
            if ino in directories:
                raise FilesystemError(f"'{nodes.blocks.name}' is damaged: directory {ino} has two names")
            directories.add(ino)
            nodes.refuse_encrypted(nodes.inode(ino), path or "/")
            names = sorted(nodes.handle.entries(ino), key=lambda entry: entry.name, reverse=True)
            prefix = f"{path}/" if path else ""
            pending += [(prefix + os.fsdecode(name.name), name.ino) for name in names]


def _entry(nodes: Nodes, path: str, ino: int, first_names: dict[int, str]) -> Entry | None:
    inode = nodes.inode(ino)
    stat = stat_of(ino, inode, nodes.target)
    if stat is None:
        return None
    if ino in first_names:
        return Entry(path, EntryType.HARD_LINK, target=first_names[ino])
    if stat.type is not EntryType.DIRECTORY and stat.links > 1:
        first_names[ino] = path
    is_file = stat.type is EntryType.FILE
    content = None
    if is_file:
        nodes.refuse_encrypted(inode, path)
        content = io.BufferedReader(_Content(read_content(nodes.handle, nodes.blocks, ino, inode)))
    return Entry(
        path=path,
        type=stat.type,
        mode=stat.mode,
        uid=stat.uid,
        gid=stat.gid,
        mtime_ns=stat.mtime_ns,
        size_bytes=stat.size_bytes if is_file else 0,
        target=stat.target,
        device=stat.device,
        xattrs=nodes.xattrs(ino),
        content=content,
    )
