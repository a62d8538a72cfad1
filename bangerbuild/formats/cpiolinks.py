"""Hard links in a cpio archive: several names of one inode, of which the last has the content.

Writers put it there, and give the others the size 0, so that a name may have to wait for its content. Names
of one inode are told by its number and its device; a number holds for one archive only. Some writers repeat
the content: then the last one counts for all names, as for the kernel (init/initramfs.c).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from bangerbuild.tree import Entry, EntryType

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator


@dataclass
class _Inode:
    names: list[str] = field(default_factory=list)
    """All that were met and are not another's by now."""
    waiting: Entry | None = None
    """The first of them, while none has brought content."""


class HardLinks:
    """The inodes of one archive that have more than one name."""

    def __init__(self) -> None:
        self._inodes: dict[Hashable, _Inode] = {}
        self._owners: dict[str, _Inode] = {}

    def forget(self, path: str) -> None:
        """What another entry of this name means for the inode that has it."""
        inode = self._owners.pop(path, None)
        if inode is None:
            return
        inode.names.remove(path)
        if inode.waiting is not None and inode.waiting.path == path:
            inode.waiting = replace(inode.waiting, path=inode.names[0]) if inode.names else None

    def add(self, key: Hashable, entry: Entry) -> Iterator[Entry]:
        """What a further name of an inode becomes: itself, links, or nothing as long as it has to wait.

        An entry with content comes first.
        """
        inode = self._inodes.setdefault(key, _Inode())
        self.forget(entry.path)
        others = tuple(inode.names)
        inode.names.append(entry.path)
        self._owners[entry.path] = inode
        if entry.size_bytes:
            inode.waiting = None
            yield entry
            yield from (_link(name, entry.path) for name in others)
        elif not others and entry.type is EntryType.FILE:
            inode.waiting = replace(entry, content=None)
        elif not others:
            yield entry
        elif inode.waiting is None:
            yield _link(entry.path, others[0])

    def finish(self) -> Iterator[Entry]:
        """What still waits at the archive's end: files without content, each followed by its other names."""
        for inode in self._inodes.values():
            if inode.waiting is not None:
                yield inode.waiting
                yield from (_link(name, inode.waiting.path) for name in inode.names[1:])


def _link(path: str, target: str) -> Entry:
    return Entry(path, EntryType.HARD_LINK, target=target)
