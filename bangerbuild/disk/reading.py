"""The methods of `ext4.Filesystem` that read: files, directories and attributes, by guest paths."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from bangerbuild.disk.inode import Stat, stat_of
from bangerbuild.disk.located import located
from bangerbuild.disk.resolve import ResolvedPath, Rules, resolve
from bangerbuild.disk.superblock import read_superblock
from bangerbuild.disk.walk import walk
from bangerbuild.errors import FilesystemError, GuestPathError, readable_size
from bangerbuild.tree import EntryType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bangerbuild.disk.blocks import Blocks
    from bangerbuild.disk.inode import Inode
    from bangerbuild.disk.libext2fs import DirectoryEntry
    from bangerbuild.disk.nodes import Nodes
    from bangerbuild.tree import DiskMount, Entry

MOST_AT_ONCE_BYTES = 256 << 20
"""The most that `read` reads into memory: a guest can make a sparse file of any size."""

_P = ParamSpec("_P")
_R = TypeVar("_R")
_F = TypeVar("_F", bound="FileReader")


def names_path(
    method: Callable[Concatenate[_F, str, _P], _R],
) -> Callable[Concatenate[_F, str, _P], _R]:
    """Wrap a method so that its errors name the guest path."""

    @functools.wraps(method)
    def wrapped(self: _F, path: str, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return method(self, path, *args, **kwargs)
        except FilesystemError as err:
            raise located(err, path, self.blocks) from err

    return wrapped


class FileReader:
    """The reading half of an open filesystem.

    Paths are absolute guest paths as `os.fsdecode` gives them. Parents are followed as in the guest, and
    never lead out of the filesystem.
    """

    name: str
    blocks: Blocks
    nodes: Nodes
    place: DiskMount

    @property
    def tags(self) -> frozenset[str]:
        """What an fstab may call it: `UUID=…`, and `LABEL=…` if it has a label."""
        superblock = self.nodes.superblock
        label = (f"LABEL={superblock.label}",) if superblock.label else ()
        return frozenset((f"UUID={superblock.uuid}", *label))

    @property
    def has_errors(self) -> bool:
        """Whether it is marked as having errors: what is read may be wrong then."""
        return self.nodes.superblock.has_errors

    def check_writable(self) -> None:
        """Look whether it could be opened to be written, once its journal is replayed.

        Raises:
            FilesystemError: it could not.
        """
        read_superblock(self.blocks, writable=True, allow_unreplayed=True)

    def _find(self, path: str, *, follow: bool) -> ResolvedPath | None:
        rules = Rules(follow_last=follow, place=self.place)
        found = resolve(self.nodes, self.nodes.root, path, rules)
        return found if found is not None and found.ino else None

    @names_path
    def stat(self, path: str, *, follow: bool = True) -> Stat | None:
        """The metadata of a file of any type; None if nothing is there."""
        found = self._find(path, follow=follow)
        return self._stat(found.ino) if found else None

    def _stat(self, ino: int) -> Stat | None:
        return stat_of(ino, self.nodes.inode(ino), self.nodes.target)

    def exists(self, path: str) -> bool:
        """Whether something of any type is there; symlinks are followed."""
        return self.stat(path) is not None

    @names_path
    def read(self, path: str, *, most_bytes: int = MOST_AT_ONCE_BYTES) -> bytes | None:
        """The content of a regular file, symlinks followed; None only if nothing is there.

        Raises:
            GuestPathError: something else than a regular file is there.
            FilesystemError: it can't be read, or is larger than `most_bytes`.
        """
        found = self._file(path)
        if found is None:
            return None
        ino, inode = found
        if inode.size_bytes > most_bytes:
            raise FilesystemError(
                f"'{path}' in '{self.name}' has {readable_size(inode.size_bytes)}, too much to read at once",
                hint=f"{readable_size(most_bytes)} is the most: make it smaller in the guest or its image",
            )
        return b"".join(self.nodes.content(ino, inode))

    @names_path
    def read_chunks(self, path: str) -> Iterator[bytes] | None:
        """The content of a regular file in pieces of at most 1 MiB, read lazily; None if nothing is there."""
        found = self._file(path)
        return None if found is None else self._pieces(path, *found)

    def _pieces(self, path: str, ino: int, inode: Inode) -> Iterator[bytes]:
        try:
            yield from self.nodes.content(ino, inode)
        except FilesystemError as err:
            raise located(err, path, self.blocks) from err

    def _file(self, path: str) -> tuple[int, Inode] | None:
        found = self._find(path, follow=True)
        if found is None:
            return None
        inode = self.nodes.inode(found.ino)
        if inode.type is not EntryType.FILE:
            raise GuestPathError(f"'{path}' in '{self.name}' is no regular file")
        self.nodes.refuse_encrypted(inode, path)
        return found.ino, inode

    @names_path
    def listdir(self, path: str) -> list[str] | None:
        """The names in a directory, sorted; None if nothing is there.

        Raises:
            GuestPathError: something else than a directory is there.
        """
        entries = self._entries(path)
        return None if entries is None else [os.fsdecode(entry.name) for entry in entries]

    def _entries(self, path: str) -> list[DirectoryEntry] | None:
        found = self._find(path, follow=True)
        if found is None:
            return None
        if self.nodes.kind(found.ino) is not EntryType.DIRECTORY:
            raise GuestPathError(f"'{path}' in '{self.name}' is no directory")
        return sorted(self.nodes.entries(found.ino), key=lambda entry: entry.name)

    @names_path
    def stats(self, path: str) -> Iterator[tuple[str, Stat | None]] | None:
        """The names in a directory, sorted, each with its metadata; None if nothing is there.

        Raises:
            GuestPathError: something else than a directory is there.
        """
        entries = self._entries(path)
        return None if entries is None else self._stats(path, entries)

    def _stats(self, path: str, entries: list[DirectoryEntry]) -> Iterator[tuple[str, Stat | None]]:
        for entry in entries:
            name = os.fsdecode(entry.name)
            try:
                yield name, self._stat(entry.ino)
            except FilesystemError as err:
                raise located(err, f"{path.rstrip('/')}/{name}", self.blocks) from err

    def walk(self) -> Iterator[Entry]:
        """Every name in the filesystem as an Entry, a directory before its content, names sorted."""
        return walk(self.nodes, self.nodes.root)

    @names_path
    def get_xattrs(self, path: str, *, follow: bool = True) -> dict[str, bytes]:
        """All extended attributes by full name, POSIX ACLs in the kernel's form.

        Raises:
            GuestPathError: nothing is there.
        """
        return self.nodes.xattrs(self._existing(path, follow=follow).ino)

    def _existing(self, path: str, *, follow: bool) -> ResolvedPath:
        found = self._find(path, follow=follow)
        if found is None:
            raise GuestPathError(f"'{path}' is not there in '{self.name}'")
        return found
