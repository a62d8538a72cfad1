"""One open `ext2_filsys`, and the functions of libext2fs as its methods."""

from __future__ import annotations

import ctypes
import struct
from contextlib import nullcontext
from ctypes import byref, c_char, c_uint32, c_uint64, c_void_p
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bangerbuild.disk.geometry import count_problem, group_problem, superblock_problem
from bangerbuild.disk.libext2fs.bitmaps import (
    Bitmap,
    ChangedGroups,
    changed_groups,
    remember_bitmaps,
    write_touched,
)
from bangerbuild.disk.libext2fs.channel import MANAGER_ADDRESS, Channel, opening
from bangerbuild.disk.libext2fs.layouts import DirVisitor, Extent, Filsys, XattrVisitor
from bangerbuild.disk.libext2fs.library import DIR_NO_SPACE, Library, load
from bangerbuild.disk.superblock import INCOMPAT_EA_INODE, OFFSET, SIZE, damaged
from bangerbuild.errors import FilesystemError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bangerbuild.disk.blocks import Blocks

_RW = 0x01
_DIRTY = 0x04
_64BITS = 0x20000
_DIRENT_ABORT = 2
_FILE_WRITE = 1
_DOTS = (b".", b"..")
_DIRENT = struct.Struct("<IHBB")  # inode, rec_len, name_len, file_type; the name follows


@dataclass(frozen=True, slots=True)
class DirectoryEntry:
    """A name in a directory; `file_type` is EXT2_FT_*, 0 if it is not recorded."""

    name: bytes
    ino: int
    file_type: int


def open_handle(blocks: Blocks, *, writable: bool, now: int, bitmaps: bool | None = None) -> Handle:
    """Open the ext2, ext3 or ext4 filesystem on a disk.

    Args:
        blocks: the disk, which the caller closes.
        writable: whether it may be changed.
        now: the time, in seconds since 1970, that libext2fs uses; 0 would mean the clock, so it counts as 1.
        bitmaps: whether to load the bitmaps; by default if it may be changed.

    Raises:
        FilesystemError: libext2fs can't open it.
    """
    library = load()
    if blocks.size_bytes >= OFFSET + SIZE and (problem := superblock_problem(blocks.read(OFFSET, SIZE))):
        raise damaged(blocks, f"its superblock has {problem}")
    channel = Channel(blocks)
    pointer = c_void_p()
    try:
        with opening(channel) as token:
            flags = _64BITS | (_RW if writable else 0)
            library.ext2fs_open2(token, None, flags, 0, 0, MANAGER_ADDRESS, byref(pointer))
    except BaseException:
        channel.forget()
        raise
    handle = Handle(library, pointer, channel)
    handle.head.now = now or 1
    try:
        if writable if bitmaps is None else bitmaps:
            handle.read_bitmaps()
    except BaseException:
        handle.abandon()
        raise
    return handle


class Handle:
    """One open `ext2_filsys` with its functions as methods. Inodes are bytearrays of `inode_size`.

    Every method raises FilesystemError with libext2fs's code and text, or the error that the `Blocks` raised.
    """

    def __init__(self, library: Library, pointer: c_void_p, channel: Channel) -> None:
        self._lib = library
        self._fs = pointer
        self._channel = channel
        self.head = Filsys.from_address(pointer.value or 0)
        self.block_size: int = self.head.blocksize
        self.cluster_blocks = 1 << self.head.cluster_ratio_bits
        (revision,) = struct.unpack_from("<I", raw := self.superblock(), 0x4C)
        self._inodes_per_group: int = struct.unpack_from("<I", raw, 0x28)[0]
        self.inode_size: int = struct.unpack_from("<H", raw, 0x58)[0] if revision else 128
        self._has_value_inodes = bool(struct.unpack_from("<I", raw, 0x60)[0] & INCOMPAT_EA_INODE)
        self._bitmaps: tuple[Bitmap, ...] = ()
        self._touched: ChangedGroups | None = None
        self._touched_inodes: set[int] = set()
        """The groups whose inode bitmap was changed."""
        self._inode_type = c_char * self.inode_size
        self._number32 = c_uint32()
        self._number64 = c_uint64()
        self._length64 = c_uint64()

    def duplicate(self, blocks: Blocks, *, now: int) -> Handle:
        """A writable handle on another disk with the same content; nothing is parsed again.

        This handle must stay open as long as the copy, whose bitmaps refer to it, and its inode cache must
        have been dropped. Calls of this method for one handle must not overlap.
        """
        pointer = c_void_p()
        self._lib.ext2fs_dup_handle(self._fs, byref(pointer))
        channel = Channel(blocks)
        channel.block_size = channel.struct.block_size = self.block_size
        channel.struct.app_data = pointer.value
        handle = Handle(self._lib, pointer, channel)
        handle.head.io = handle.head.image_io = channel.address
        handle.head.flags |= _RW
        handle.head.now = now or 1
        handle._watch(self._bitmaps)
        return handle

    def _watch(self, bitmaps: tuple[Bitmap, ...]) -> None:
        """Track changes of the bitmaps in memory from now on."""
        self._bitmaps = bitmaps
        if bitmaps:
            self._touched = ChangedGroups(self._lib, self._fs, bitmaps[0])

    def drop_inode_cache(self) -> None:
        """Drop the inode cache; a later read makes a new one."""
        if self.head.icache:
            self._lib.ext2fs_free_inode_cache(self.head.icache)
            self.head.icache = None

    def read_bitmaps(self) -> None:
        """Load the block and inode bitmaps, which every allocation needs.

        Raises:
            FilesystemError: they can't be read, or contradict the group descriptors.
        """
        blocks = self._lib.ext2fs_blocks_count(self.head.super)
        superblock, descriptors = self.superblock(), self.group_descriptors()
        if problem := group_problem(superblock, descriptors, blocks):
            raise damaged(self._channel.blocks, problem)
        self._lib.ext2fs_read_bitmaps(self._fs)
        if self.cluster_blocks == 1:
            self._watch(remember_bitmaps(self._lib, self.head, superblock))
        for bitmap in self._bitmaps:
            last = (blocks - bitmap.first) % bitmap.group_bits if bitmap.kind == "block" else 0
            last = last or bitmap.group_bits
            if problem := count_problem(superblock, descriptors, bitmap.kind, bitmap.as_read, last):
                raise damaged(self._channel.blocks, problem)

    def was_free(self, block: int) -> bool:
        """Whether a block was free when the bitmap was read; False if no copy of the bitmap is kept."""
        return bool(self._bitmaps) and self._bitmaps[0].is_clear(block)

    def set_label(self, label: bytes) -> None:
        """Set `s_volume_name`, at most 16 bytes; written when the handle is closed."""
        ctypes.memmove(self.head.super + 0x78, label.ljust(16, b"\0"), 16)
        self.head.flags |= _DIRTY

    def superblock(self) -> bytes:
        """The present superblock in memory, 1024 bytes."""
        return ctypes.string_at(self.head.super, 1024)

    def group_descriptors(self) -> bytes:
        """All group descriptors as they are in memory."""
        return ctypes.string_at(self.head.group_desc, self.head.desc_blocks * self.block_size)

    def close(self) -> None:
        """Write what is in memory and free the handle, also after an error; it can't be used any more."""
        try:
            self._write_bitmaps()
            self._forget_touched()
            self._lib.ext2fs_close2(self._fs, 0)
        except BaseException:
            self.abandon()
            raise
        self._fs = c_void_p()

    def _write_bitmaps(self) -> None:
        if self._touched is None:
            return
        for bitmap, touched in zip(self._bitmaps, (self._touched.groups, self._touched_inodes), strict=True):
            groups = touched
            if self._has_value_inodes or not self._touched.is_all:
                groups = touched | changed_groups(self._lib, self._fs, bitmap)
            write_touched(self._lib, self._fs, bitmap, sorted(groups), self._channel.blocks)

    def _forget_touched(self) -> None:
        """Stop watching, before the handle is freed and another thread's handle gets its address."""
        if self._touched is not None:
            self._touched.forget()

    def abandon(self) -> None:
        """Free the handle without writing anything."""
        self._forget_touched()
        self._lib.ext2fs_free(self._fs)
        self._fs = c_void_p()

    def read_inode(self, ino: int) -> bytearray:
        """An inode's bytes."""
        raw = bytearray(self.inode_size)
        self._lib.ext2fs_read_inode_full(self._fs, ino, self._inode_type.from_buffer(raw), self.inode_size)
        return raw

    def inode_offset(self, ino: int) -> int:
        """The byte offset of an inode on the disk; writing there makes the inode cache stale."""
        group, index = divmod(ino - 1, self._inodes_per_group)
        first: int = self._lib.ext2fs_inode_table_loc(self._fs, group)
        return first * self.block_size + index * self.inode_size

    def write_inode(self, ino: int, raw: bytearray) -> None:
        """Write an inode's bytes; the checksum is set."""
        self._lib.ext2fs_write_inode_full(self._fs, ino, self._inode_type.from_buffer(raw), self.inode_size)

    def set_inode_checksum(self, ino: int, raw: bytearray) -> None:
        """Set the checksum in an inode's bytes, if the filesystem has checksums; nothing is written."""
        self._lib.ext2fs_inode_csum_set(self._fs, ino, self._inode_type.from_buffer(raw))

    def new_inode(self, near: int, mode: int) -> int:
        """The number of a free inode in the group of `near` or after it; it is not allocated yet."""
        self._lib.ext2fs_new_inode(self._fs, near, mode, None, byref(self._number32))
        return self._number32.value

    def count_inode(self, ino: int, change: int, *, directory: bool) -> None:
        """Allocate (1) or free (-1) an inode in bitmap and counters."""
        self._lib.ext2fs_inode_alloc_stats2(self._fs, ino, change, int(directory))
        self._touched_inodes.add((ino - 1) // self._inodes_per_group)

    def set_size(self, raw: bytearray, size_bytes: int) -> None:
        """Set an inode's size, and the superblock's feature flag for files of 2 GiB and more."""
        self._lib.ext2fs_inode_size_set(self._fs, self._inode_type.from_buffer(raw), size_bytes)

    def has_blocks(self, raw: bytearray) -> bool:
        """Whether an inode's block area maps blocks: it is no fast symlink, device or inline data."""
        return bool(self._lib.ext2fs_inode_has_valid_blocks2(self._fs, self._inode_type.from_buffer(raw)))

    def block_goal(self, ino: int) -> int:
        """The block near which a new inode's blocks should be allocated."""
        goal: int = self._lib.ext2fs_find_inode_goal(self._fs, ino, None, 0)
        return goal

    def allocate_run(self, goal: int, blocks: int) -> tuple[int, int]:
        """Allocate a run of at most `blocks` blocks near a goal: (first, count). Not for bigalloc."""
        first, length = self._number64, self._length64
        goal = self._touched.search_from(goal) if self._touched else goal
        self._lib.ext2fs_new_range(self._fs, 0, goal, blocks, None, byref(first), byref(length))
        taken = min(length.value, blocks)
        self._count_run(first.value, taken, 1)
        return first.value, taken

    def allocate_block(self, goal: int) -> int:
        """Allocate one block; with bigalloc its cluster."""
        goal = self._touched.search_from(goal) if self._touched else goal
        self._lib.ext2fs_new_block2(self._fs, goal, None, byref(self._number64))
        block = self._number64.value
        self._lib.ext2fs_block_alloc_stats2(self._fs, block, 1)
        return block

    def free_run(self, first: int, blocks: int) -> None:
        """Free blocks that no inode refers to. Not for bigalloc."""
        self._count_run(first, blocks, -1)

    def _count_run(self, first: int, blocks: int, in_use: int) -> None:
        own = nullcontext() if self._touched is None else self._touched.own_run(first, blocks, in_use)
        with own:
            self._lib.ext2fs_block_alloc_stats_range(self._fs, first, blocks, in_use)

    def free_blocks(self, ino: int, raw: bytearray) -> None:
        """Free all blocks of an inode; the inode is written. Only for bigalloc: see `bitmaps`."""
        self._lib.ext2fs_punch(self._fs, ino, self._inode_type.from_buffer(raw), None, 0, (1 << 64) - 1)

    def free_xattr_block(self, ino: int, raw: bytearray) -> None:
        """Release an inode's attribute block, which other inodes may share."""
        self._lib.ext2fs_free_ext_attr(self._fs, ino, self._inode_type.from_buffer(raw))

    def insert_extents(self, ino: int, raw: bytearray, extents: list[tuple[int, int, int]]) -> None:
        """Append (logical block, first block, count) to an inode's extent tree; the inode is written."""
        tree = c_void_p()
        self._lib.ext2fs_extent_open2(self._fs, ino, self._inode_type.from_buffer(raw), byref(tree))
        try:
            for logical, first, count in extents:
                extent = Extent(pblk=first, lblk=logical, len=count, flags=0)
                self._lib.ext2fs_extent_insert(tree, 1, byref(extent))  # EXT2_EXTENT_INSERT_AFTER
        finally:
            self._lib.ext2fs_extent_free(tree)

    def lookup(self, directory: int, name: bytes) -> int:
        """The inode of a name in a directory; 0 if there is no such name."""
        found = self._number32
        code = self._lib.ext2fs_lookup(self._fs, directory, name, len(name), None, byref(found))
        return found.value if code == 0 else 0

    def link(self, directory: int, name: bytes, ino: int, file_type: int) -> None:
        """Add a new name to a directory, which grows if needed; the link count is not changed."""
        try:
            self._lib.ext2fs_link(self._fs, directory, name, ino, file_type)
        except FilesystemError as err:
            if err.code != DIR_NO_SPACE:
                raise
            self._lib.ext2fs_expand_dir(self._fs, directory)
            self._lib.ext2fs_link(self._fs, directory, name, ino, file_type)

    def unlink(self, directory: int, name: bytes, ino: int) -> None:
        """Remove a name from a directory; the link count is not changed."""
        self._lib.ext2fs_unlink(self._fs, directory, name, ino, 0)

    def entries(self, directory: int, most: int) -> list[DirectoryEntry]:
        """At most `most` names in a directory, without `.` and `..`, in their order on disk."""
        found: list[DirectoryEntry] = []

        def visit(_dir: int, kind: int, at: int, *_rest: int) -> int:
            if kind > 2:  # DIRENT_DOT_DOT_FILE
                ino, _, length, file_type = _DIRENT.unpack(ctypes.string_at(at, _DIRENT.size))
                name = ctypes.string_at(at + _DIRENT.size, length)
                if name not in _DOTS:  # in inline data, `..` is reported like any other name
                    found.append(DirectoryEntry(name, ino, file_type))
            return 0 if len(found) < most else _DIRENT_ABORT

        self._lib.ext2fs_dir_iterate2(self._fs, directory, 0, None, DirVisitor(visit), None)
        return found

    def write_directory_block(self, block: int, data: bytes, directory: int) -> None:
        """Write one block of a directory; its checksum tail is set if it has one."""
        self._lib.ext2fs_write_dir_block4(
            self._fs, block, ctypes.create_string_buffer(data, len(data)), 0, directory
        )

    def write_file(self, ino: int, offset: int, data: bytes) -> None:
        """Write a part of a file block by block, allocating blocks as needed; the inode is written."""
        file = c_void_p()
        self._lib.ext2fs_file_open(self._fs, ino, _FILE_WRITE, byref(file))
        try:
            self._lib.ext2fs_file_llseek(file, offset, 0, None)
            self._lib.ext2fs_file_write(file, data, len(data), None)
        finally:
            self._lib.ext2fs_file_close(file)

    def xattrs(self, ino: int) -> dict[str, bytes]:
        """An inode's attributes by full name, in their order and form on disk."""
        found: dict[str, bytes] = {}

        def visit(name: bytes, value: int, length: int, _data: int) -> int:
            found[name.decode(errors="surrogateescape")] = ctypes.string_at(value, length) if length else b""
            return 0

        visitor = XattrVisitor(visit)
        self._with_xattrs(ino, lambda handle: self._lib.ext2fs_xattrs_iterate(handle, visitor, None))
        return found

    def set_xattr(self, ino: int, name: str, value: bytes) -> None:
        """Set an attribute, POSIX ACLs in the kernel's form; the inode is written."""
        key = name.encode(errors="surrogateescape")
        self._with_xattrs(ino, lambda handle: self._lib.ext2fs_xattr_set(handle, key, value, len(value)))

    def remove_xattr(self, ino: int, name: str) -> None:
        """Remove an attribute; the inode is written."""
        key = name.encode(errors="surrogateescape")
        self._with_xattrs(ino, lambda handle: self._lib.ext2fs_xattr_remove(handle, key))

    def _with_xattrs(self, ino: int, use: Callable[[c_void_p], int]) -> None:
        handle = c_void_p()
        self._lib.ext2fs_xattrs_open(self._fs, ino, byref(handle))
        try:
            self._lib.ext2fs_xattrs_read(handle)
            use(handle)
        finally:
            self._lib.ext2fs_xattrs_close(byref(handle))
