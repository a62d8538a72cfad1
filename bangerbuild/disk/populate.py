"""Write a stream of tree entries into a new, empty ext4.

libext2fs would be slow: `ext2fs_link` searches a directory from its start for every name, `ext2fs_file_write`
works block by block, and writing an inode reads and writes its block. Here content and inodes are written in
large pieces; names are kept in memory, and each directory is written once, at the end.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from bangerbuild.disk import superblock as sb
from bangerbuild.disk.bulk import BlockReserve, InodeTable, WriteBehind
from bangerbuild.disk.content import attach, pieces, write_extents
from bangerbuild.disk.directory import Name, dots, pack_blocks
from bangerbuild.disk.inode import FILE_TYPES, INLINE_EXTENTS, Inode
from bangerbuild.disk.nodes import FAST_SYMLINK_BYTES, MAX_LINKS, Nodes
from bangerbuild.disk.resolve import MAX_NAME_BYTES
from bangerbuild.errors import FilesystemError, SourceError
from bangerbuild.tree import EntryType

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from typing import BinaryIO

    from bangerbuild.disk.ext4 import Filesystem
    from bangerbuild.disk.mapping import Run
    from bangerbuild.tree import Entry

ROOT_INO = 2
MAX_FILE_BLOCKS = (1 << 32) - 1
"""An extent counts its blocks from the start of the file in 32 bits (`s_maxbytes` of the kernel's ext4)."""
LARGE_FILE_BYTES = 1 << 31
"""Files of this size and larger need a feature flag in the superblock."""
LIST_BYTES = 64 << 10
"""The size of a directory with about two thousand names."""
_DEVICES = (EntryType.CHARACTER_DEVICE, EntryType.BLOCK_DEVICE)


def populate(fs: Filesystem, entries: Iterable[Entry]) -> int:
    """Write a tree into an empty filesystem; the total size of the directories that should get an index.

    All directories are written without an index. Up to LIST_BYTES the kernel finds names as fast without one;
    for larger directories the caller should have an index made, because the kernel never adds one.

    Args:
        fs: writable, in extent format, empty except for `lost+found`.
        entries: in the order of an archive. A later entry of the same name wins, as for `tar x`: a directory
            gets the new attributes, anything else is replaced. A directory without an entry gets mode 0755,
            owner root. An empty path is the root.

    Raises:
        SourceError: an entry can't be stored in a filesystem, or contradicts an earlier one.
        FilesystemError: the filesystem is unsuitable or full; the message names the entry.
    """
    with WriteBehind(fs.blocks) as behind:
        tree = _NewTree(fs.nodes, behind)
        for entry in entries:
            try:
                tree.put(entry)
            except FilesystemError as err:
                if err.code is None or isinstance(err.__cause__, OSError):
                    raise  # an error of the host is not about the entry
                raise FilesystemError(
                    f"cannot write '{entry.path}' to '{fs.name}': {err.brief}", code=err.code
                ) from err
        return tree.finish()


class _NewLeaf(NamedTuple):
    """A name that is no directory."""

    ino: int
    file_type: int


@dataclass(slots=True)
class _NewDirectory:
    """A directory whose blocks are not written yet."""

    ino: int
    inode: Inode
    parent: int
    names: dict[bytes, _NewLeaf | _NewDirectory] = field(default_factory=dict)
    xattrs: Mapping[str, bytes] = field(default_factory=dict)
    own_blocks: bool = False
    """Whether it has blocks already: it is part of the new filesystem."""


class _NewTree:
    """The tree that is being written: files are written at once, directories are kept in memory."""

    def __init__(self, nodes: Nodes, behind: WriteBehind) -> None:
        self._nodes = nodes
        self._handle = nodes.handle
        _check_usable(nodes)
        self._behind = behind
        self._reserve = BlockReserve(self._handle, self._handle.block_goal(ROOT_INO))
        self._table = InodeTable(self._handle, nodes.superblock, behind)
        self._links: dict[int, int] = {}
        """The number of names of each file that has more than one."""
        self._root = _NewDirectory(ROOT_INO, nodes.inode(ROOT_INO), ROOT_INO, own_blocks=True)
        self._directories = {"": self._root}
        self._adopt_lost_and_found()
        nodes.free_blocks(ROOT_INO, self._root.inode)
        self._root.inode.sectors = 0

    def _adopt_lost_and_found(self) -> None:
        for entry in self._nodes.entries(ROOT_INO):
            own = self._nodes.entries(entry.ino) if entry.name == b"lost+found" else [entry]
            if own:
                raise FilesystemError(
                    f"'{self._nodes.blocks.name}' is not empty: it holds '{os.fsdecode(own[0].name)}'"
                )
            kept = _NewDirectory(entry.ino, self._nodes.inode(entry.ino), ROOT_INO, own_blocks=True)
            self._root.names[entry.name] = kept
            self._directories["lost+found"] = kept

    def put(self, entry: Entry) -> None:
        """Add one entry."""
        if not entry.path:
            self._put_directory(entry, self._root)
            return
        above, _, name = entry.path.rpartition("/")
        raw = _checked_name(name, entry)
        parent = self._directories.get(above) or self._make_parents(above, entry)
        there = parent.names.get(raw)
        if entry.type is EntryType.DIRECTORY:
            if not isinstance(there, _NewDirectory):
                self._drop(there)
                there = self._new_directory(parent, entry.path, raw)
            self._put_directory(entry, there)
            return
        if isinstance(there, _NewDirectory):
            self._drop_directory(entry, there)
            there = None
        leaf = self._link_of(entry) if entry.type is EntryType.HARD_LINK else self._put_leaf(entry)
        if there != leaf:
            self._drop(there)
        parent.names[raw] = leaf

    def _make_parents(self, path: str, entry: Entry) -> _NewDirectory:
        """Make missing parents with mode 0755, owner root; a later entry may change them."""
        missing = []
        while (directory := self._directories.get(path)) is None:
            missing.append(path)
            path = path.rpartition("/")[0]
        for below in reversed(missing):
            raw = _checked_name(below.rpartition("/")[2], entry)
            if raw in directory.names:
                raise SourceError(f"'{entry.path}' lies below '{below}', which is no directory")
            directory = self._new_directory(directory, below, raw)
        return directory

    def _new_directory(self, parent: _NewDirectory, path: str, name: bytes) -> _NewDirectory:
        inode = self._nodes.new(EntryType.DIRECTORY, 0o755, 0, 0, None)
        made = _NewDirectory(self._table.claim(inode), inode, parent.ino)
        parent.names[name] = self._directories[path] = made
        return made

    def _put_directory(self, entry: Entry, directory: _NewDirectory) -> None:
        if entry.type is not EntryType.DIRECTORY:
            raise SourceError(f"the top of the tree is a {entry.type.value}, not a directory")
        inode = directory.inode
        inode.mode, inode.uid, inode.gid = entry.mode, entry.uid, entry.gid
        inode.mtime_ns = entry.mtime_ns
        directory.xattrs = entry.xattrs

    def _put_leaf(self, entry: Entry) -> _NewLeaf:
        inode = self._nodes.new(entry.type, entry.mode, entry.uid, entry.gid, entry.mtime_ns)
        ino = self._table.claim(inode)
        if entry.type is EntryType.FILE:
            self._put_content(ino, inode, entry)
        elif entry.type is EntryType.SYMLINK:
            self._put_target(ino, inode, self._target_of(entry))
        elif entry.type in _DEVICES:
            inode.device = entry.device
        self._table.put(ino, inode)
        self._set_xattrs(ino, entry.xattrs)
        return _NewLeaf(ino, FILE_TYPES[entry.type])

    def _target_of(self, entry: Entry) -> bytes:
        text = os.fsencode(entry.target)
        if not 0 < len(text) < self._handle.block_size or b"\0" in text:
            raise SourceError(f"'{entry.path}' is a symlink of {len(text)} bytes, which no filesystem takes")
        return text

    def _put_target(self, ino: int, inode: Inode, text: bytes) -> None:
        inode.size_bytes = len(text)
        if len(text) < FAST_SYMLINK_BYTES:
            inode.block_area = text
        else:
            self._give_blocks(ino, inode, runs := self._reserve.take(0, 1))
            write_extents(self._handle, self._behind, runs, iter((text,)))

    def _put_content(self, ino: int, inode: Inode, entry: Entry) -> None:
        most = MAX_FILE_BLOCKS * self._handle.block_size
        if entry.size_bytes > most:
            raise SourceError(
                f"'{entry.path}' has {entry.size_bytes} bytes; a file in ext4 has {most} at most"
            )
        if entry.size_bytes < LARGE_FILE_BYTES:
            inode.size_bytes = entry.size_bytes
        else:
            self._handle.set_size(inode.raw, entry.size_bytes)
        if not (stretches := _stretches(entry, self._handle.block_size)):
            self._give_blocks(ino, inode, [])
            return
        runs = [run for first, count in stretches for run in self._reserve.take(first, count)]
        self._give_blocks(ino, inode, runs)
        content = _aligned_content(entry, stretches, self._handle.block_size)
        write_extents(self._handle, self._behind, runs, content)

    def _give_blocks(self, ino: int, inode: Inode, runs: list[Run]) -> None:
        if len(runs) > INLINE_EXTENTS:
            self._settle()  # libext2fs allocates further blocks and writes the inode
        attach(self._handle, ino, inode, runs)

    def _settle(self) -> None:
        """Hand over all buffered changes to libext2fs, before it reads inodes or allocates blocks."""
        self._reserve.give_back()
        self._table.pass_on()
        self._behind.settle()
        self._handle.drop_inode_cache()

    def _set_xattrs(self, ino: int, xattrs: Mapping[str, bytes]) -> None:
        if xattrs:
            self._settle()
        for name in sorted(xattrs):
            self._nodes.set_xattr(ino, name, xattrs[name])

    def _link_of(self, entry: Entry) -> _NewLeaf:
        above, _, name = entry.target.rpartition("/")
        directory = self._directories.get(above)
        leaf = directory.names.get(os.fsencode(name)) if directory else None
        if not isinstance(leaf, _NewLeaf):
            what = "is not there yet" if leaf is None else "is a directory"
            raise SourceError(f"'{entry.path}' is a hard link to '{entry.target}', which {what}")
        if entry.path != entry.target:
            self._links[leaf.ino] = self._links.get(leaf.ino, 1) + 1
            if self._links[leaf.ino] > MAX_LINKS:
                raise SourceError(f"'{entry.path}' would be name {MAX_LINKS + 1} of '{entry.target}'")
        return leaf

    def _drop(self, leaf: _NewLeaf | _NewDirectory | None) -> None:
        """Remove a name, and its inode with the last one."""
        if leaf is None:
            return
        left = self._links.get(leaf.ino, 1) - 1
        self._links[leaf.ino] = left
        if not left:
            del self._links[leaf.ino]
            self._settle()
            self._nodes.free(leaf.ino, self._nodes.inode(leaf.ino))

    def _drop_directory(self, entry: Entry, directory: _NewDirectory) -> None:
        """Remove an empty directory whose name another entry takes."""
        if directory.names or directory.own_blocks:
            raise SourceError(f"'{entry.path}' is a {entry.type.value}, but a directory was there before")
        del self._directories[entry.path]
        self._handle.count_inode(directory.ino, -1, directory=True)

    def finish(self) -> int:
        """Write directories, and link counts that are not 1; see `populate`."""
        written = [(directory, self._laid_out(directory)) for directory in self._directories.values()]
        self._settle()  # a directory block's checksum includes the generation in the inode
        for directory, runs in written:
            blocks = (run.first + i for run in runs for i in range(run.blocks))
            packed = self._packed(directory) if runs else ()  # again, to save memory
            for block, data in zip(blocks, packed, strict=True):
                self._handle.write_directory_block(block, data, directory.ino)
            self._set_xattrs(directory.ino, directory.xattrs)
        for ino, links in self._links.items():
            inode = self._nodes.inode(ino)
            inode.links = links
            self._nodes.save(ino, inode)
        sizes = (directory.inode.size_bytes for directory in self._directories.values())
        return sum(size for size in sizes if size > LIST_BYTES)

    def _laid_out(self, directory: _NewDirectory) -> list[Run]:
        """Allocate a directory's blocks and buffer its inode; empty if the directory is unchanged."""
        inode, ino = directory.inode, directory.ino
        if directory.own_blocks and directory is not self._root:
            if not directory.names:
                self._table.put(ino, inode)
                return []
            self._nodes.free_blocks(ino, inode)
            inode.sectors = 0
        count = sum(1 for _ in self._packed(directory))
        below = 2 + sum(isinstance(at, _NewDirectory) for at in directory.names.values())
        inode.links = below if below < MAX_LINKS else 1
        inode.size_bytes = count * self._handle.block_size
        runs = self._reserve.take(0, count)
        self._give_blocks(ino, inode, runs)
        self._table.put(ino, inode)
        return runs

    def _packed(self, directory: _NewDirectory) -> Iterator[bytes]:
        """The content of a directory's blocks."""
        own = (_named(name, at) for name, at in directory.names.items())
        names = [*dots(directory.ino, directory.parent), *own]
        return pack_blocks(self._handle.block_size, names, checksum=self._nodes.has_checksums)


def _check_usable(nodes: Nodes) -> None:
    superblock = nodes.superblock
    special = superblock.ro_compat & sb.RO_COMPAT_BIGALLOC
    if not superblock.has_extents or not superblock.incompat & sb.INCOMPAT_FILETYPE or special:
        raise FilesystemError(
            f"'{nodes.blocks.name}' can't be filled: it needs extent and filetype, not bigalloc"
        )


def _checked_name(name: str, entry: Entry) -> bytes:
    raw = os.fsencode(name)
    if raw in (b"", b".", b"..") or b"\0" in raw:
        raise SourceError(f"'{entry.path}' holds '{name}', which is no name for a file")
    if len(raw) > MAX_NAME_BYTES:
        raise SourceError(f"'{entry.path}' has a name of {len(raw)} bytes; {MAX_NAME_BYTES} is the most")
    return raw


def _named(name: bytes, at: _NewLeaf | _NewDirectory) -> Name:
    return Name(name, at.ino, at.file_type if isinstance(at, _NewLeaf) else FILE_TYPES[EntryType.DIRECTORY])


def _stretches(entry: Entry, block_bytes: int) -> list[tuple[int, int]]:
    """The parts of a file that need blocks, as (first block, count)."""
    if entry.data_extents is None:
        return [(0, -(-entry.size_bytes // block_bytes))] if entry.size_bytes else []
    found: list[tuple[int, int]] = []
    end = 0
    for offset, length in entry.data_extents:
        if offset < end or length < 0 or offset + length > entry.size_bytes:
            raise SourceError(f"'{entry.path}' has data from {offset} on where there can't be any")
        end = offset + length
        first, last = offset // block_bytes, -(-end // block_bytes)
        if found and first <= sum(found[-1]):
            found[-1] = (found[-1][0], max(last, sum(found[-1])) - found[-1][0])
        elif length:
            found.append((first, last - first))
    return found


def _aligned_content(entry: Entry, stretches: list[tuple[int, int]], block_bytes: int) -> Iterator[bytes]:
    """An entry's content, with holes inside its stretches filled with zeros."""
    if entry.content is None:
        raise SourceError(f"'{entry.path}' has {entry.size_bytes} bytes, but no content")
    if entry.data_extents is None:
        return pieces(entry.content, entry.size_bytes, entry.path)
    return _filled(entry.content, entry, stretches, block_bytes)


def _filled(
    content: BinaryIO, entry: Entry, stretches: list[tuple[int, int]], block_bytes: int
) -> Iterator[bytes]:
    extents = iter([*(entry.data_extents or ()), (1 << 63, 0)])
    offset, length = next(extents)
    for first, count in stretches:
        at, end = first * block_bytes, (first + count) * block_bytes
        while offset < end:
            yield bytes(offset - at)
            yield from pieces(content, length, entry.path)
            at = offset + length
            offset, length = next(extents)
        yield bytes(end - at)
