"""The inodes of two trees that are joined, by number.

A file of the upper tree has its number there, one of the lower tree its number there and `LOWER`. A directory
that is in both has the number that it has in the upper tree. What it is joined with is found by its path, as
overlayfs does: the lower directory of the same name in what its parent is joined with.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, cast

from typing_extensions import override

from bangerbuild.disk.content import data_of
from bangerbuild.disk.inode import FILE_TYPES
from bangerbuild.disk.libext2fs import DirectoryEntry
from bangerbuild.disk.nodes import Nodes
from bangerbuild.disk.overlayfs import marks
from bangerbuild.disk.superblock import damaged
from bangerbuild.errors import FilesystemError
from bangerbuild.tree import EntryType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.disk.inode import Inode

LOWER = 1 << 32
"""What is added to the numbers of the lower tree; those of ext4 have 32 bits."""
UPPER_NAME, WORK_NAME = b"upper", b"work"
"""The directories of the upper disk: what overlayfs mounts as `upperdir` and `workdir`."""
_DIRECTORY, _WHITEOUT = EntryType.DIRECTORY, EntryType.CHARACTER_DEVICE
_COPIED_FLAGS = 0x8 | 0x80
"""EXT4_SYNC_FL and EXT4_NOATIME_FL, which overlayfs copies up (`OVL_COPY_FS_FLAGS_MASK`)."""


def is_lower(ino: int) -> bool:
    """Whether a number is one of the lower tree."""
    return ino >= LOWER


class JoinedNodes(Nodes):
    """The inodes of an upper disk, joined with those of the lower one; only the upper one changes.

    Args:
        upper: the upper disk's own.
        lower: the lower disk's, whose root is the lower tree.
        sound: see `Nodes`; of the upper disk.
    """

    def __init__(self, upper: Nodes, lower: Nodes, sound: set[int]) -> None:
        super().__init__(upper.handle, upper.blocks, upper.superblock, upper.now, sound)
        self._lower = lower
        self._names: dict[int, tuple[int, bytes]] = {}
        """Where each directory of the upper tree is: its parent, and its name."""
        self._joined: dict[int, int] = {}
        """The lower directory that each is joined with; 0: none."""
        self._copied: dict[int, int] = {}
        """Directories of the lower tree that have been copied up here, and their copies."""
        self._read: set[int] = set()
        """Files of the upper tree that have no mark that would be refused."""

    @cached_property
    def _root(self) -> int:
        self._top(WORK_NAME)
        ino = self._top(UPPER_NAME)
        self._joined[ino] = 0 if marks.is_opaque(super().xattrs(ino)) else LOWER | self._lower.root
        return ino

    def _top(self, name: bytes) -> int:
        """A directory at the top of the upper disk."""
        ino = super().child(super().root, name)
        if not ino or super().kind(ino) is not _DIRECTORY:
            raise FilesystemError(
                f"'{self.blocks.name}' is no upper disk: it has no directory '{name.decode()}'",
                hint="put the file back from where there is a copy, or make it anew with --replace",
            )
        return ino

    @property
    @override
    def root(self) -> int:
        return self._root

    def look_for_top(self) -> None:
        """Find what is joined.

        Raises:
            FilesystemError: the upper disk is none.
        """
        _ = self._root

    # finding

    @override
    def child(self, directory: int, name: bytes) -> int:
        directory = self._copied.get(directory, directory)
        if is_lower(directory):
            return self._lower_child(directory, name)
        ino = super().child(directory, name)
        if not ino:
            return self._lower_child(self.joined_with(directory), name)
        if self._is_whiteout(ino):
            return 0
        self._note(ino, directory, name)
        self._refuse_unread(ino)
        return ino

    def _lower_child(self, directory: int, name: bytes) -> int:
        if not directory:
            return 0
        ino = self._lower.child(directory - LOWER, name)
        return LOWER | ino if ino and not self._is_whiteout(LOWER | ino) else 0

    def _is_whiteout(self, ino: int) -> bool:
        return self.kind(ino) is _WHITEOUT and self.inode(ino).device == marks.WHITEOUT_DEVICE

    def _note(self, ino: int, directory: int, name: bytes) -> None:
        if self.kind(ino) is _DIRECTORY:
            self._names[ino] = directory, name

    def _refuse_unread(self, ino: int) -> None:
        if ino not in self._read:
            marks.refuse_unread(super().xattrs(ino))
            self._read.add(ino)

    def joined_with(self, directory: int) -> int:
        """The lower directory that one of the upper tree is joined with; 0 if there is none."""
        unknown: dict[int, None] = {}
        while directory not in self._joined:
            if directory in unknown:
                raise damaged(self.blocks, f"directory {directory} is inside itself")
            unknown[directory] = None
            directory = self._names[directory][0]
        below = self._joined[directory]
        for known in reversed(unknown):  # a guest's directories may be deeper than calls in Python
            below = self._joined[known] = self._found_below(known, below)
        return below

    def _found_below(self, directory: int, above: int) -> int:
        """The lower directory of a directory whose parent is joined with `above`."""
        if not above or marks.is_opaque(super().xattrs(directory)):
            return 0
        ino = self._lower_child(above, self._names[directory][1])
        return ino if ino and self.kind(ino) is _DIRECTORY else 0

    @override
    def entries(self, directory: int) -> list[DirectoryEntry]:
        directory = self._copied.get(directory, directory)
        if is_lower(directory):
            return self._lower_entries(directory)
        own = super().entries(directory)
        shown = [entry for entry in own if not self._is_whiteout_entry(entry)]
        for entry in shown:
            self._note(entry.ino, directory, entry.name)
        below = self._lower_entries(self.joined_with(directory))
        taken = {entry.name for entry in own} if below else set()
        return shown + [entry for entry in below if entry.name not in taken]

    def _lower_entries(self, directory: int) -> list[DirectoryEntry]:
        if not directory:
            return []
        found = self._lower.entries(directory - LOWER)
        lower = [DirectoryEntry(entry.name, LOWER | entry.ino, entry.file_type) for entry in found]
        return [entry for entry in lower if not self._is_whiteout_entry(entry)]

    def _is_whiteout_entry(self, entry: DirectoryEntry) -> bool:
        return entry.file_type in {0, FILE_TYPES[_WHITEOUT]} and self._is_whiteout(entry.ino)

    @override
    def kind(self, ino: int) -> EntryType | None:
        return self._lower.kind(ino - LOWER) if is_lower(ino) else super().kind(ino)

    # reading

    @override
    def inode(self, ino: int) -> Inode:
        return self._lower.inode(ino - LOWER) if is_lower(ino) else super().inode(ino)

    @override
    def target(self, ino: int, inode: Inode) -> bytes:
        return self._lower.target(ino - LOWER, inode) if is_lower(ino) else super().target(ino, inode)

    @override
    def content(self, ino: int, inode: Inode) -> Iterator[bytes]:
        return self._lower.content(ino - LOWER, inode) if is_lower(ino) else super().content(ino, inode)

    @override
    def xattrs(self, ino: int) -> dict[str, bytes]:
        stored = self._lower.xattrs(ino - LOWER) if is_lower(ino) else super().xattrs(ino)
        return marks.seen(stored)

    # changing: all numbers are the upper tree's, unless it is said

    @override
    def refuse_to_name(self, directory: int) -> None:
        """One of the lower tree is copied up before a name is written into it."""
        if not is_lower(directory):
            super().refuse_to_name(directory)

    @override
    def set_xattr(self, ino: int, name: str, value: bytes) -> None:
        super().set_xattr(ino, marks.stored(name), value)

    @override
    def remove_xattr(self, ino: int, name: str) -> None:
        super().remove_xattr(ino, marks.stored(name))

    @override
    def add_name(self, directory: int, name: bytes, ino: int, kind: EntryType) -> None:
        self._drop_whiteout(directory, name)
        super().add_name(directory, name, ino, kind)

    @override
    def make_directory(self, parent: int, name: bytes, inode: Inode) -> int:
        """One that takes the place of a whiteout is opaque: what the whiteout hid stays hidden."""
        hid = self._drop_whiteout(parent, name)
        ino = super().make_directory(parent, name, inode)
        self._names[ino] = parent, name
        if hid:
            super().set_xattr(ino, marks.OPAQUE, marks.IS_OPAQUE)
        return ino

    def _drop_whiteout(self, directory: int, name: bytes) -> bool:
        """Remove a whiteout, whose inode overlayfs may share with others; whether there was one."""
        ino = super().child(directory, name)
        if not ino or not self._is_whiteout(ino):
            return False
        super().drop_name(directory, name, ino)
        return True

    @override
    def drop_name(self, directory: int, name: bytes, ino: int) -> None:
        """One of the lower tree has no name in the upper one: the caller hides it by what it puts there."""
        if not is_lower(ino):
            super().drop_name(directory, name, ino)

    def hide(self, directory: int, name: bytes) -> None:
        """Put a whiteout where the upper tree has nothing and the lower one has something."""
        if self._lower_child(self.joined_with(directory), name):
            inode = self.new(_WHITEOUT, 0, 0, 0, None)
            inode.device = marks.WHITEOUT_DEVICE
            ino = self.claim(directory, inode)
            self.save(ino, inode)
            super().add_name(directory, name, ino, _WHITEOUT)

    @override
    def free(self, ino: int, inode: Inode) -> None:
        super().free(ino, inode)
        self._joined.pop(ino, None)
        self._names.pop(ino, None)
        self._read.discard(ino)

    def copy_up(self, directory: int, name: bytes, ino: int) -> int:
        """Copy what the lower tree has under a name into a directory of the upper one; its number there.

        A directory is copied without what is in it, and is joined with its original. A file is copied without
        its other names.
        """
        source = self.inode(ino)
        kind = cast("EntryType", source.type)
        inode = self.new(kind, source.mode, source.uid, source.gid, source.mtime_ns)
        inode.atime_ns = source.atime_ns
        if kind is _DIRECTORY:
            copy = self.make_directory(directory, name, inode)
            self._joined[copy], self._copied[ino] = ino, copy
        else:
            copy = self.claim(directory, inode)
            self._copy_leaf(ino, source, copy, inode)
        for attribute, value in sorted(self.xattrs(ino).items()):
            self.set_xattr(copy, attribute, value)
        self._copy_flags(source, copy)
        if kind is not _DIRECTORY:
            self.add_name(directory, name, copy, kind)
        return copy

    def _copy_leaf(self, ino: int, source: Inode, copy: int, inode: Inode) -> None:
        if source.type is EntryType.FILE:
            name = f"inode {ino - LOWER}"
            self._lower.refuse_encrypted(source, name)
            self.write_content(copy, inode, data_of(name, self._lower.blocks, self._lower.superblock, source))
        elif source.type is EntryType.SYMLINK:
            self.write_target(copy, inode, self.target(ino, source))
        else:
            inode.device = source.device
            self.save(copy, inode)

    def _copy_flags(self, source: Inode, copy: int) -> None:
        if flags := source.flags & _COPIED_FLAGS:
            inode = self.inode(copy)
            inode.flags |= flags
            self.save(copy, inode)
