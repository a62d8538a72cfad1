"""The inodes of an open filesystem, by number: make, fill, name and free them.

`ext4` translates paths to inode numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild.disk import superblock as sb
from bangerbuild.disk.attributes import ACL_NAMES, INLINE_DATA, acl_from_disk, check_name
from bangerbuild.disk.content import allocate, attach, read_content, write_extents
from bangerbuild.disk.directory import DIRECTORY, dots, pack_blocks
from bangerbuild.disk.inode import (
    CASEFOLD_FL,
    ENCRYPT_FL,
    FILE_TYPES,
    INLINE_DATA_FL,
    Inode,
    InodeAttributes,
)
from bangerbuild.disk.libext2fs import EA_NO_SPACE, MISSING_EA_FEATURE
from bangerbuild.disk.mapping import runs_of
from bangerbuild.disk.soundness import Soundness
from bangerbuild.errors import FilesystemError, GuestPathError
from bangerbuild.tree import EntryType

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.disk.blocks import Blocks
    from bangerbuild.disk.content import FileData
    from bangerbuild.disk.libext2fs import DirectoryEntry, Handle
    from bangerbuild.disk.superblock import Superblock

ROOT_INO = 2
MAX_LINKS = 65000
MOST_NAMES = 1_000_000
"""The most names that are read from one directory, because they are held in memory."""
FAST_SYMLINK_BYTES = 60
_DEVICES = (EntryType.CHARACTER_DEVICE, EntryType.BLOCK_DEVICE)


class Nodes:
    """The inodes of one open filesystem; also the `Directories` in which paths are resolved.

    Args:
        handle: the open filesystem; the caller closes it.
        blocks: the disk under it.
        superblock: as it was when opened.
        now: the time, in seconds since 1970, for all timestamps.
        sound: directories whose blocks were validated.
    """

    def __init__(
        self, handle: Handle, blocks: Blocks, superblock: Superblock, now: int, sound: set[int]
    ) -> None:
        self.handle = handle
        self.blocks = blocks
        self.superblock = superblock
        self.now = now or 1
        self._writes_extents = superblock.has_extents and not superblock.ro_compat & sb.RO_COMPAT_BIGALLOC
        self._sectors_per_block = handle.cluster_blocks * handle.block_size // 512
        self._children: dict[tuple[int, bytes], int] = {}
        self._facts: dict[int, tuple[EntryType | None, int]] = {}
        self._sound = Soundness(blocks, superblock, sound)

    @property
    def root(self) -> int:
        """The directory that paths begin at."""
        return ROOT_INO

    # the interface `Directories`

    def child(self, directory: int, name: bytes) -> int:
        """The inode of a name in a directory; 0 if there is none."""
        ino = self._children.get((directory, name), 0)
        if ino:
            return ino
        self._facts_of(directory)
        if ino := self.handle.lookup(directory, name):
            self._children[directory, name] = ino
        return ino

    def entries(self, directory: int) -> list[DirectoryEntry]:
        """All names in a directory except `.` and `..`, in their order on disk."""
        return self.stored_entries(directory)

    def stored_entries(self, directory: int) -> list[DirectoryEntry]:
        """Those of them that this disk has itself: all, unless a directory is joined of two."""
        self._facts_of(directory)
        found = self.handle.entries(directory, MOST_NAMES + 1)
        if len(found) > MOST_NAMES:
            raise FilesystemError(
                f"'{self.blocks.name}' has a directory of more than {MOST_NAMES} names: too many to read",
                hint="make the directory anew in the guest, with less in it",
            )
        return found

    def kind(self, ino: int) -> EntryType | None:
        """An inode's file type."""
        return self._facts_of(ino)[0]

    def _facts_of(self, ino: int) -> tuple[EntryType | None, int]:
        """An inode's type and flags, which do not change as long as it exists (cached)."""
        facts = self._facts.get(ino)
        if facts is None:
            inode = self.inode(ino)
            if inode.type is EntryType.DIRECTORY:
                self._sound.directory(ino, inode)
            facts = self._facts[ino] = (inode.type, inode.flags & (ENCRYPT_FL | CASEFOLD_FL))
        return facts

    def symlink(self, ino: int) -> bytes:
        """A symlink's text."""
        return self.target(ino, self.inode(ino))

    # reading

    def inode(self, ino: int) -> Inode:
        """An inode as it is on disk."""
        return Inode(self.handle.read_inode(ino))

    def target(self, ino: int, inode: Inode) -> bytes:
        """A symlink's text."""
        self.refuse_encrypted(inode, f"inode {ino}")
        size = inode.size_bytes
        if not 0 < size <= self.handle.block_size:
            raise sb.damaged(self.blocks, f"inode {ino} is a symlink of {size} bytes")
        if (
            size < FAST_SYMLINK_BYTES
            and not inode.flags & INLINE_DATA_FL
            and not self.handle.has_blocks(inode.raw)
        ):
            return inode.block_area[:size]
        return b"".join(read_content(self.blocks, self.superblock, inode))

    def content(self, _ino: int, inode: Inode) -> Iterator[bytes]:
        """A file's content, see `read_content`."""
        return read_content(self.blocks, self.superblock, inode)

    def refuse_encrypted(self, inode: Inode, name: str) -> None:
        """Raise if content or names are encrypted."""
        if inode.flags & ENCRYPT_FL:
            raise FilesystemError(f"'{name}' in '{self.blocks.name}' is encrypted")

    def xattrs(self, ino: int) -> dict[str, bytes]:
        """All extended attributes, POSIX ACLs in the kernel's form."""
        self._sound.attributes(self.inode(ino), self.inode)
        try:
            found = self.handle.xattrs(ino)
        except FilesystemError as err:
            if err.code == MISSING_EA_FEATURE:
                return {}
            raise
        found.pop(INLINE_DATA, None)
        return {name: acl_from_disk(value) if name in ACL_NAMES else value for name, value in found.items()}

    # making

    def new(self, kind: EntryType, mode: int, uid: int, gid: int, mtime_ns: int | None) -> Inode:
        """A new inode in memory, without a number."""
        return Inode.new(self.handle.inode_size, kind, self.now, InodeAttributes(mode, uid, gid, mtime_ns))

    def claim(self, near: int, inode: Inode) -> int:
        """Allocate a free number for an inode, close to its directory."""
        ino = self.handle.new_inode(near, inode.full_mode)
        if ino in self._facts:
            raise sb.damaged(self.blocks, f"inode {ino} is in use, but not marked so")
        self.handle.count_inode(ino, 1, directory=inode.type is EntryType.DIRECTORY)
        return ino

    def save(self, ino: int, inode: Inode) -> None:
        """Write an inode."""
        self.handle.write_inode(ino, inode.raw)

    def write_content(self, ino: int, inode: Inode, data: FileData) -> None:
        """Write the content of a new inode, and the inode; what is no data becomes holes."""
        self.handle.set_size(inode.raw, data.size_bytes)
        if not self._writes_extents:
            self._write_by_library(ino, inode, data)
            return
        block_bytes, goal = self.handle.block_size, self.handle.block_goal(ino)
        stretches = data.stretches(block_bytes)
        runs = [run for first, count in stretches for run in allocate(self.handle, goal, first, count)]
        write_extents(self.handle, self.blocks, runs, data.pieces(block_bytes))
        attach(self.handle, ino, inode, runs)
        self.save(ino, inode)

    def _write_by_library(self, ino: int, inode: Inode, data: FileData) -> None:
        """Write block by block through libext2fs: needed for block maps and bigalloc, and slow."""
        if self.superblock.has_extents:
            inode.set_extents([])
        inode.size_bytes = 0
        self.save(ino, inode)
        for offset, piece in data.parts():
            self.handle.write_file(ino, offset, piece)
        written = self.inode(ino)  # libext2fs has set blocks and block map; size and times are set here
        self.handle.set_size(written.raw, data.size_bytes)
        for part in (slice(0x08, 0x14), slice(0x84, 0x90)):
            written.raw[part] = inode.raw[part]
        self.save(ino, written)

    def write_target(self, ino: int, inode: Inode, text: bytes) -> None:
        """Write the text of a new symlink, into the inode or a block, and the inode."""
        inode.size_bytes = len(text)
        if len(text) < FAST_SYMLINK_BYTES:
            inode.block_area = text
        else:
            block = self.give_block(ino, inode)
            self.blocks.write(block * self.handle.block_size, text.ljust(self.handle.block_size, b"\0"))
        self.save(ino, inode)

    def give_block(self, ino: int, inode: Inode) -> int:
        """Allocate the only block of a new inode."""
        block = self.handle.allocate_block(self.handle.block_goal(ino))
        inode.sectors = self._sectors_per_block
        if self.superblock.has_extents:
            inode.set_extents([(0, block, 1)])
        else:
            inode.block_area = block.to_bytes(4, "little")
        return block

    def make_directory(self, parent: int, name: bytes, inode: Inode) -> int:
        """Make a directory under an unused name; the parent's link count is increased."""
        self.refuse_to_name(parent)
        self._count_subdirectory(parent)
        ino = self.claim(parent, inode)
        block = self.give_block(ino, inode)
        inode.size_bytes = self.handle.block_size
        self.save(ino, inode)
        file_type = DIRECTORY if self.superblock.incompat & sb.INCOMPAT_FILETYPE else 0
        names = dots(ino, parent, file_type)
        data = next(pack_blocks(self.handle.block_size, names, checksum=self.has_checksums))
        self.handle.write_directory_block(block, data, ino)
        self.handle.link(parent, name, ino, FILE_TYPES[EntryType.DIRECTORY])
        return ino

    @property
    def has_checksums(self) -> bool:
        """Whether directory blocks end in a checksum."""
        return bool(self.superblock.ro_compat & sb.RO_COMPAT_METADATA_CSUM)

    def make_parent(self, parent: int, name: bytes) -> int:
        """Make a missing parent, mode 0755, owner root."""
        return self.make_directory(parent, name, self.new(EntryType.DIRECTORY, 0o755, 0, 0, None))

    def _count_subdirectory(self, parent: int) -> None:
        """Count a link for a new `..`; at 65,000 ext4 sets the count to 1, which means many."""
        above = self.inode(parent)
        if above.links == 1:
            return
        above.links += 1
        if above.links >= MAX_LINKS:
            if not self.superblock.ro_compat & sb.RO_COMPAT_DIR_NLINK:
                raise GuestPathError(
                    f"a directory in '{self.blocks.name}' has all the subdirectories it can have"
                )
            above.links = 1
        self.save(parent, above)

    def refuse_to_name(self, directory: int) -> None:
        """Raise if names can't be written into a directory: it is encrypted, case-folded or damaged."""
        flags = self._facts_of(directory)[1]
        if flags:
            kind = "an encrypted" if flags & ENCRYPT_FL else "a case-folding"
            raise GuestPathError(f"'{self.blocks.name}': names can't be written into {kind} directory")
        self._sound.names(directory, self.inode(directory))

    def add_name(self, directory: int, name: bytes, ino: int, kind: EntryType) -> None:
        """Add a name, unused so far, for an inode; the link count is not changed."""
        self.handle.link(directory, name, ino, FILE_TYPES[kind])

    def count_link(self, ino: int) -> None:
        """Increase a file's link count.

        Raises:
            GuestPathError: it has 65,000 links already.
        """
        inode = self.inode(ino)
        if inode.links >= MAX_LINKS:
            raise GuestPathError(
                f"a file in '{self.blocks.name}' has {MAX_LINKS} names already; there can't be more"
            )
        inode.links += 1
        self.save(ino, inode)

    def set_xattr(self, ino: int, name: str, value: bytes) -> None:
        """Set an extended attribute.

        Raises:
            FilesystemError: ext4 has no such namespace, or there is no space.
        """
        check_name(name)
        self._sound.attributes(self.inode(ino), self.inode)
        try:
            self.handle.set_xattr(ino, name, value)
        except FilesystemError as err:
            if err.code != EA_NO_SPACE:
                raise
            raise FilesystemError(
                f"no room for the attribute '{name}' of {len(value)} bytes", code=err.code
            ) from err

    def remove_xattr(self, ino: int, name: str) -> None:
        """Remove an extended attribute if it exists."""
        check_name(name)
        self._sound.attributes(self.inode(ino), self.inode)
        self.handle.remove_xattr(ino, name)

    # freeing

    def drop_name(self, directory: int, name: bytes, ino: int) -> None:
        """Remove a name of a file, and the file with its last name."""
        inode = self.inode(ino)
        if not inode.links:
            raise sb.damaged(self.blocks, f"inode {ino} has a name, but counts none")
        if inode.links == 1 and self.handle.has_blocks(inode.raw):
            self._sound.mapping(inode)  # before anything is changed
        self.unlink(directory, name, ino)
        if inode.links > 1:
            inode.links -= 1
            inode.set_ctime(self.now)
            self.save(ino, inode)
        else:
            self.free(ino, inode)

    def unlink(self, directory: int, name: bytes, ino: int) -> None:
        """Remove a name from a directory; the link count is not changed."""
        self.refuse_to_name(directory)
        self.handle.unlink(directory, name, ino)
        self._children.pop((directory, name), None)

    def free(self, ino: int, inode: Inode) -> None:
        """Free an inode without names, its blocks and its attributes."""
        directory = inode.type is EntryType.DIRECTORY
        if self.superblock.incompat & sb.INCOMPAT_EA_INODE:
            self._sound.attributes(inode, self.inode)
            for name in [name for name in self.handle.xattrs(ino) if name != INLINE_DATA]:
                self.handle.remove_xattr(ino, name)  # values may be stored in separate inodes
            inode = self.inode(ino)
        if self.handle.has_blocks(inode.raw):
            self.free_blocks(ino, inode)
        if inode.xattr_block:
            self.handle.free_xattr_block(ino, inode.raw)
        self._facts.pop(ino, None)
        self._sound.forget(ino)
        gone = Inode(bytearray(self.handle.inode_size))
        gone.dtime = self.now
        self.save(ino, gone)
        self.handle.count_inode(ino, -1, directory=directory)

    def free_blocks(self, ino: int, inode: Inode) -> None:
        """Free all blocks of an inode; the mapping in the inode is still needed for that."""
        self._sound.mapping(inode)
        if self.superblock.ro_compat & sb.RO_COMPAT_BIGALLOC:
            self.handle.free_blocks(ino, inode.raw)
            return
        for run in runs_of(self.blocks, self.superblock, inode):
            self.handle.free_run(run.first, run.blocks)
