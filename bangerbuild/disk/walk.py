"""A whole filesystem as a stream of tree entries, the form in which tarballs are read too."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

from bangerbuild.disk.content import PiecesFile
from bangerbuild.disk.inode import stat_of
from bangerbuild.disk.located import located
from bangerbuild.disk.superblock import damaged
from bangerbuild.errors import FilesystemError
from bangerbuild.tree import Entry, EntryType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.disk.blocks import Blocks
    from bangerbuild.disk.nodes import Nodes

MAX_PATH_BYTES = 4096
"""The longest path that Linux accepts; deeper directories are refused, as each name needs its path in
memory."""
_DIRECTORY = EntryType.DIRECTORY


def _located(pieces: Iterator[bytes], path: str, blocks: Blocks) -> Iterator[bytes]:
    try:
        yield from pieces
    except FilesystemError as err:
        raise located(err, path, blocks) from err


def walk(nodes: Nodes, root: int) -> Iterator[Entry]:
    """Every name as an Entry, a directory before its content, names sorted by their bytes.

    The root is first, with an empty path. Further names of a file are hard links to its first name. Inodes of
    unknown type are omitted.
    """
    first_names: dict[int, str] = {}
    directories: set[int] = set()
    pending = [("", root)]
    while pending:
        path, ino = pending.pop()
        try:
            entry = _entry(nodes, path, ino, first_names)
            names = _names(nodes, path, ino, directories) if entry and entry.type is _DIRECTORY else []
        except FilesystemError as err:
            raise located(err, f"/{path}", nodes.blocks) from err
        if entry is not None:
            yield entry
        pending += names


def _names(nodes: Nodes, path: str, ino: int, seen: set[int]) -> list[tuple[str, int]]:
    """The names in a directory with their inodes, the last name first."""
    if ino in seen:
        raise damaged(nodes.blocks, f"directory {ino} has two names")
    if len(os.fsencode(path)) > MAX_PATH_BYTES:
        raise FilesystemError(
            f"'{nodes.blocks.name}' has directories within directories without an end",
            hint=f"a path of more than {MAX_PATH_BYTES} bytes is not read: remove it there",
        )
    seen.add(ino)
    nodes.refuse_encrypted(nodes.inode(ino), path or "/")
    names = sorted(nodes.entries(ino), key=lambda entry: entry.name, reverse=True)
    prefix = f"{path}/" if path else ""
    return [(prefix + os.fsdecode(name.name), name.ino) for name in names]


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
        content = io.BufferedReader(PiecesFile(_located(nodes.content(ino, inode), f"/{path}", nodes.blocks)))
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
