"""libext2fs and libcom_err through ctypes: the signatures, the loader, and an I/O manager of our own.

Everything libext2fs reads or writes passes through one `io_manager` whose callbacks call a `Blocks` object
(layouts: `ext2fs/ext2_io.h`, `ext2fs/ext2fs.h`). ctypes releases the interpreter's lock during a call, so
filesystems in several threads run side by side; one handle belongs to one thread at a time.
"""

from __future__ import annotations

import ctypes
import errno
import functools
import itertools
import re
import struct
import threading
from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
    byref,
    c_char,
    c_char_p,
    c_int,
    c_long,
    c_size_t,
    c_uint,
    c_uint16,
    c_uint32,
    c_uint64,
    c_ulong,
    c_void_p,
)
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from bangerbuild.errors import FilesystemError, LibraryError

if TYPE_CHECKING:
    from collections.abc import Callable

    from bangerbuild.disk.blocks import Blocks

_BASE = 2133571328  # EXT2_ET_BASE of ext2fs/ext2_err.h
MAGIC_IO_CHANNEL = _BASE + 5
MAGIC_IO_MANAGER = _BASE + 7
DIR_NO_SPACE = _BASE + 38
BLOCK_ALLOC_FAIL = _BASE + 72
INODE_ALLOC_FAIL = _BASE + 73
FILE_NOT_FOUND = _BASE + 76
EA_NO_SPACE = _BASE + 163
MISSING_EA_FEATURE = _BASE + 164
NO_SPACE = frozenset({BLOCK_ALLOC_FAIL, INODE_ALLOC_FAIL, errno.ENOSPC})

_RW = 0x01
_DIRTY = 0x04
_ZEROED_AT_ONCE = 64
_INODE_BITMAP_DIRTY = 0x10
_BLOCK_BITMAP_DIRTY = 0x20
_64BITS = 0x20000
_INSTALL = "apt install e2fsprogs"
_OLDEST = (1, 46)

errcode_t = c_long


class _IoChannel(Structure):
    """`struct_io_channel`."""

    _fields_ = (
        ("magic", errcode_t),
        ("manager", c_void_p),
        ("name", c_char_p),
        ("block_size", c_int),
        ("read_error", c_void_p),
        ("write_error", c_void_p),
        ("refcount", c_int),
        ("flags", c_int),
        ("reserved", c_long * 14),
        ("private_data", c_void_p),
        ("app_data", c_void_p),
        ("align", c_int),
    )


_Open = CFUNCTYPE(errcode_t, c_char_p, c_int, POINTER(c_void_p))
_OnChannel = CFUNCTYPE(errcode_t, c_void_p)
_SetBlockSize = CFUNCTYPE(errcode_t, c_void_p, c_int)
_Transfer = CFUNCTYPE(errcode_t, c_void_p, c_ulong, c_int, c_void_p)
_Zero = CFUNCTYPE(errcode_t, c_void_p, c_uint64, c_uint64)
_Transfer64 = CFUNCTYPE(errcode_t, c_void_p, c_uint64, c_int, c_void_p)


class _IoManager(Structure):
    """`struct_io_manager`; what stays NULL makes libext2fs fall back to plain reads and writes."""

    _fields_ = (
        ("magic", errcode_t),
        ("name", c_char_p),
        ("open", _Open),
        ("close", _OnChannel),
        ("set_blksize", _SetBlockSize),
        ("read_blk", _Transfer),
        ("write_blk", _Transfer),
        ("flush", _OnChannel),
        ("write_byte", _Transfer),
        ("set_option", c_void_p),
        ("get_stats", c_void_p),
        ("read_blk64", _Transfer64),
        ("write_blk64", _Transfer64),
        ("discard", c_void_p),
        ("cache_readahead", c_void_p),
        ("zeroout", _Zero),
        ("reserved", c_long * 14),
    )


class _Filsys(Structure):
    """The head of `struct struct_ext2_filsys`, as far as it is the same in all versions from 1.46 on."""

    _fields_ = (
        ("magic", errcode_t),
        ("io", c_void_p),
        ("flags", c_int),
        ("device_name", c_char_p),
        ("super", c_void_p),
        ("blocksize", c_uint),
        ("fragsize", c_int),
        ("group_desc_count", c_uint32),
        ("desc_blocks", c_ulong),
        ("group_desc", c_void_p),
        ("inode_blocks_per_group", c_uint),
        ("inode_map", c_void_p),
        ("block_map", c_void_p),
        ("get_blocks", c_void_p),
        ("check_directory", c_void_p),
        ("write_bitmaps", c_void_p),
        ("read_inode", c_void_p),
        ("write_inode", c_void_p),
        ("badblocks", c_void_p),
        ("dblist", c_void_p),
        ("stride", c_uint32),
        ("orig_super", c_void_p),
        ("image_header", c_void_p),
        ("umask", c_uint32),
        ("now", c_long),
        ("cluster_ratio_bits", c_int),
        ("default_bitmap_type", c_uint16),
        ("pad", c_uint16),
        ("reserved", c_uint32 * 5),
        ("priv_data", c_void_p),
        ("icache", c_void_p),
        ("image_io", c_void_p),
    )


class _Extent(Structure):
    """`struct ext2fs_extent`."""

    _fields_ = (("pblk", c_uint64), ("lblk", c_uint64), ("len", c_uint32), ("flags", c_uint32))


_DirVisitor = CFUNCTYPE(c_int, c_uint32, c_int, c_void_p, c_int, c_int, c_void_p, c_void_p)
_XattrVisitor = CFUNCTYPE(c_int, c_char_p, c_void_p, c_size_t, c_void_p)

_SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "ext2fs_open2": (errcode_t, (c_char_p, c_char_p, c_int, c_int, c_uint, c_void_p, c_void_p)),
    "ext2fs_dup_handle": (errcode_t, (c_void_p, c_void_p)),
    "ext2fs_close2": (errcode_t, (c_void_p, c_int)),
    "ext2fs_flush2": (errcode_t, (c_void_p, c_int)),
    "ext2fs_free": (None, (c_void_p,)),
    "ext2fs_free_inode_cache": (None, (c_void_p,)),
    "ext2fs_read_bitmaps": (errcode_t, (c_void_p,)),
    "ext2fs_get_block_bitmap_range2": (errcode_t, (c_void_p, c_uint64, c_size_t, c_void_p)),
    "ext2fs_get_inode_bitmap_range2": (errcode_t, (c_void_p, c_uint64, c_size_t, c_void_p)),
    "ext2fs_block_bitmap_csum_set": (errcode_t, (c_void_p, c_uint32, c_void_p, c_int)),
    "ext2fs_inode_bitmap_csum_set": (errcode_t, (c_void_p, c_uint32, c_void_p, c_int)),
    "ext2fs_block_bitmap_loc": (c_uint64, (c_void_p, c_uint32)),
    "ext2fs_inode_bitmap_loc": (c_uint64, (c_void_p, c_uint32)),
    "ext2fs_blocks_count": (c_uint64, (c_void_p,)),
    "ext2fs_group_desc_csum_set": (None, (c_void_p, c_uint32)),
    "ext2fs_read_inode_full": (errcode_t, (c_void_p, c_uint32, c_void_p, c_int)),
    "ext2fs_write_inode_full": (errcode_t, (c_void_p, c_uint32, c_void_p, c_int)),
    "ext2fs_new_inode": (errcode_t, (c_void_p, c_uint32, c_int, c_void_p, c_void_p)),
    "ext2fs_inode_alloc_stats2": (None, (c_void_p, c_uint32, c_int, c_int)),
    "ext2fs_inode_size_set": (errcode_t, (c_void_p, c_void_p, c_uint64)),
    "ext2fs_inode_has_valid_blocks2": (c_int, (c_void_p, c_void_p)),
    "ext2fs_find_inode_goal": (c_uint64, (c_void_p, c_uint32, c_void_p, c_uint64)),
    "ext2fs_new_range": (errcode_t, (c_void_p, c_int, c_uint64, c_uint64, c_void_p, c_void_p, c_void_p)),
    "ext2fs_new_block2": (errcode_t, (c_void_p, c_uint64, c_void_p, c_void_p)),
    "ext2fs_block_alloc_stats2": (None, (c_void_p, c_uint64, c_int)),
    "ext2fs_block_alloc_stats_range": (None, (c_void_p, c_uint64, c_uint32, c_int)),
    "ext2fs_punch": (errcode_t, (c_void_p, c_uint32, c_void_p, c_void_p, c_uint64, c_uint64)),
    "ext2fs_extent_open2": (errcode_t, (c_void_p, c_uint32, c_void_p, c_void_p)),
    "ext2fs_extent_insert": (errcode_t, (c_void_p, c_int, c_void_p)),
    "ext2fs_extent_free": (None, (c_void_p,)),
    "ext2fs_file_open": (errcode_t, (c_void_p, c_uint32, c_int, c_void_p)),
    "ext2fs_file_llseek": (errcode_t, (c_void_p, c_uint64, c_int, c_void_p)),
    "ext2fs_file_read": (errcode_t, (c_void_p, c_void_p, c_uint, c_void_p)),
    "ext2fs_file_write": (errcode_t, (c_void_p, c_void_p, c_uint, c_void_p)),
    "ext2fs_file_set_size2": (errcode_t, (c_void_p, c_uint64)),
    "ext2fs_file_close": (errcode_t, (c_void_p,)),
    "ext2fs_lookup": (errcode_t, (c_void_p, c_uint32, c_char_p, c_int, c_void_p, c_void_p)),
    "ext2fs_link": (errcode_t, (c_void_p, c_uint32, c_char_p, c_uint32, c_int)),
    "ext2fs_unlink": (errcode_t, (c_void_p, c_uint32, c_char_p, c_uint32, c_int)),
    "ext2fs_expand_dir": (errcode_t, (c_void_p, c_uint32)),
    "ext2fs_dir_iterate2": (errcode_t, (c_void_p, c_uint32, c_int, c_void_p, _DirVisitor, c_void_p)),
    "ext2fs_write_dir_block4": (errcode_t, (c_void_p, c_uint64, c_void_p, c_int, c_uint32)),
    "ext2fs_xattrs_open": (errcode_t, (c_void_p, c_uint32, c_void_p)),
    "ext2fs_xattrs_read": (errcode_t, (c_void_p,)),
    "ext2fs_xattrs_iterate": (errcode_t, (c_void_p, _XattrVisitor, c_void_p)),
    "ext2fs_xattr_set": (errcode_t, (c_void_p, c_char_p, c_void_p, c_size_t)),
    "ext2fs_xattr_remove": (errcode_t, (c_void_p, c_char_p)),
    "ext2fs_xattrs_close": (errcode_t, (c_void_p,)),
    "ext2fs_free_ext_attr": (errcode_t, (c_void_p, c_uint32, c_void_p)),
    "ext2fs_get_library_version": (c_int, (c_void_p, c_void_p)),
    "initialize_ext2_error_table": (None, ()),
}

_kept = threading.local()
"""The exception of a callback, on its way around the C code that can't carry it."""


def _keep(error: BaseException) -> int:
    _kept.error = error
    return errno.EIO


def _check(code: int, _function: object, _arguments: object) -> int:
    """Ctypes' errcheck of every function that returns an errcode_t."""
    if (error := getattr(_kept, "error", None)) is not None:
        _kept.error = None
        raise error
    if code:
        raise FilesystemError(error_text(code), code=code)
    return code


class _Library:
    """The loaded functions, one attribute for each row of the table."""

    def __init__(self, library: ctypes.CDLL, com_err: ctypes.CDLL) -> None:
        for name, (restype, argtypes) in _SIGNATURES.items():
            setattr(self, name, _bound(library, name, restype, argtypes))
        self.error_message = _bound(com_err, "error_message", c_char_p, (errcode_t,))

    def version(self) -> str:
        """Such as `1.47.0`."""
        text = c_char_p()
        self.ext2fs_get_library_version(byref(text), None)
        return (text.value or b"").decode()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - the table gives the types, at run time
        raise AttributeError(f"no signature for {name}")


def _bound(library: ctypes.CDLL, name: str, restype: Any, argtypes: tuple[Any, ...]) -> Any:  # noqa: ANN401 - ctypes
    try:
        function = getattr(library, name)
    except AttributeError as err:
        raise LibraryError(
            f"libext2fs is too old: it has no {name}", hint=f"version 1.46 or newer: {_INSTALL}"
        ) from err
    function.restype, function.argtypes = restype, argtypes
    if restype is errcode_t:
        function.errcheck = _check
    return function


def _shared_object(name: str) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(name)
    except OSError as err:
        raise LibraryError(f"{name} can't be loaded: {err}", hint=_INSTALL) from err


_loading = threading.Lock()


def load() -> _Library:
    """Both libraries, loaded once for all threads.

    Raises:
        LibraryError: one is missing or too old; the hint names the package.
    """
    with _loading:
        return _load("libext2fs.so.2", "libcom_err.so.2")


@functools.cache
def _load(library: str, com_err: str) -> _Library:
    """Load both libraries.

    Raises:
        LibraryError: one is missing or too old; the hint names the package.
    """
    loaded = _Library(_shared_object(library), _shared_object(com_err))
    loaded.initialize_ext2_error_table()
    check_version(loaded.version())
    return loaded


def check_version(text: str) -> None:
    """Refuse a libext2fs older than 1.46, whose struct layouts and directory index code differ."""
    numbers = re.match(r"(\d+)\.(\d+)", text)
    if numbers is None or (int(numbers[1]), int(numbers[2])) < _OLDEST:
        raise LibraryError(f"libext2fs {text} is too old", hint=f"version 1.46 or newer: {_INSTALL}")


def version() -> str:
    """The loaded library's own version, such as `1.47.0`."""
    return load().version()


def error_text(code: int) -> str:
    """What libcom_err says to a code."""
    if code in NO_SPACE:
        return "no space left in the guest filesystem"
    text: bytes = load().error_message(code)
    return text.decode(errors="replace")


class _Channel:
    """One `io_channel`: which Blocks it stands for, and the C struct that libext2fs sees."""

    def __init__(self, blocks: Blocks) -> None:
        self.blocks = blocks
        self.block_size = 1024
        self.name = b"blocks"
        self.struct = _IoChannel(
            magic=MAGIC_IO_CHANNEL, manager=_manager_address, name=self.name, block_size=1024, refcount=1
        )
        self.address = ctypes.addressof(self.struct)
        _channels[self.address] = self


_channels: dict[int, _Channel] = {}
_opening: dict[bytes, _Channel] = {}
_tokens = itertools.count()


def _open(name: bytes, _flags: int, channel_out: Any) -> int:  # noqa: ANN401 - a ctypes pointer
    channel_out[0] = _opening[name].address
    return 0


def _close(channel: int) -> int:
    _channels.pop(channel, None)
    return 0


def _set_block_size(channel: int, size: int) -> int:
    known = _channels[channel]
    known.block_size = known.struct.block_size = size
    return 0


def _read(channel: int, block: int, count: int, data: int) -> int:
    try:
        known = _channels[channel]
        length = count * known.block_size if count >= 0 else -count  # below 0: bytes, not blocks
        ctypes.memmove(data, known.blocks.read(block * known.block_size, length), length)
    except BaseException as error:  # noqa: BLE001 - raised again by _check, once C has returned
        return _keep(error)
    return 0


def _write(channel: int, block: int, count: int, data: int) -> int:
    try:
        known = _channels[channel]
        length = count * known.block_size if count >= 0 else -count
        known.blocks.write(block * known.block_size, ctypes.string_at(data, length))
    except BaseException as error:  # noqa: BLE001 - raised again by _check, once C has returned
        return _keep(error)
    return 0


def _write_bytes(channel: int, offset: int, count: int, data: int) -> int:
    try:
        _channels[channel].blocks.write(offset, ctypes.string_at(data, count))
    except BaseException as error:  # noqa: BLE001 - raised again by _check, once C has returned
        return _keep(error)
    return 0


def _zero(channel: int, block: int, count: int) -> int:
    """Without it, libext2fs would zero blocks from a buffer that all threads share."""
    try:
        known = _channels[channel]
        for at in range(block, block + count, _ZEROED_AT_ONCE):
            blocks = min(_ZEROED_AT_ONCE, block + count - at)
            known.blocks.write(at * known.block_size, bytes(blocks * known.block_size))
    except BaseException as error:  # noqa: BLE001 - raised again by _check, once C has returned
        return _keep(error)
    return 0


def _flush(_channel: int) -> int:
    return 0  # Filesystem flushes once, at its end


# one manager for all channels, alive as long as the module: libext2fs keeps no reference to the callbacks
_manager = _IoManager(
    magic=MAGIC_IO_MANAGER,
    name=b"bangerbuild",
    open=_Open(_open),
    close=_OnChannel(_close),
    set_blksize=_SetBlockSize(_set_block_size),
    read_blk=_Transfer(_read),
    write_blk=_Transfer(_write),
    flush=_OnChannel(_flush),
    write_byte=_Transfer(_write_bytes),
    read_blk64=_Transfer64(_read),
    write_blk64=_Transfer64(_write),
    zeroout=_Zero(_zero),
)
_manager_address = ctypes.addressof(_manager)


def open_handle(blocks: Blocks, *, writable: bool, now: int) -> Handle:
    """Open the ext2, ext3 or ext4 filesystem on a disk, with its bitmaps if it is to be written.

    Args:
        blocks: the disk; stays the caller's and open.
        writable: whether it may be changed.
        now: seconds since 1970 for every time that libext2fs sets; 0 would mean the clock, so it counts as 1.

    Raises:
        FilesystemError: libext2fs can't open it.
    """
    library = load()
    channel = _Channel(blocks)
    token = b"bangerbuild-%d" % next(_tokens)
    _opening[token] = channel
    pointer = c_void_p()
    try:
        flags = _64BITS | (_RW if writable else 0)
        library.ext2fs_open2(token, None, flags, 0, 0, _manager_address, byref(pointer))
    finally:
        del _opening[token]
        if not pointer:
            _channels.pop(channel.address, None)
    handle = Handle(library, pointer, channel)
    handle.head.now = now or 1
    if writable:
        handle.read_bitmaps()
    return handle


@dataclass(frozen=True)
class _Bitmap:
    """One of the two kinds of bitmaps: where its bits begin, and how they are dealt out to groups."""

    kind: str
    first: int
    group_bits: int
    groups: int
    dirty: int
    """The flag that says it has to be written."""


_MOST_BITS = 1 << 29
"""Above (2 TiB in blocks of 4 KiB), bitmaps are not kept twice in memory to find out which ones changed."""

_DIRENT = struct.Struct("<IHBB")  # inode, rec_len, name_len, file_type; the name follows


@dataclass(frozen=True, slots=True)
class DirectoryEntry:
    """A name in a directory as it stands on disk; `file_type` is EXT2_FT_*, 0 if not recorded."""

    name: bytes
    ino: int
    file_type: int


class Handle:
    """One open `ext2_filsys`, its functions as methods. Inodes are whole, in bytearrays of `inode_size`.

    Every method raises FilesystemError with libext2fs's code and text, or what the Blocks raised.
    """

    def __init__(self, library: _Library, pointer: c_void_p, channel: _Channel) -> None:
        self._lib = library
        self._fs = pointer
        self._channel = channel
        self.head = _Filsys.from_address(pointer.value or 0)
        self.block_size: int = self.head.blocksize
        self.cluster_blocks = 1 << self.head.cluster_ratio_bits
        (revision,) = struct.unpack_from("<I", raw := self.superblock(), 0x4C)
        self.inode_size: int = struct.unpack_from("<H", raw, 0x58)[0] if revision else 128
        self._bitmaps: tuple[_Bitmap, ...] = ()
        self._as_read: tuple[bytes, ...] = ()
        self._inode_type = c_char * self.inode_size
        self._number32 = c_uint32()
        self._number64 = c_uint64()
        self._length64 = c_uint64()

    def duplicate(self, blocks: Blocks, *, now: int) -> Handle:
        """A writable handle of its own on other blocks with the same content, without parsing anything again.

        This handle must stay open for as long, as the copied bitmaps refer to it, and its inode cache must
        have been dropped. Calls for one handle must not overlap.
        """
        pointer = c_void_p()
        self._lib.ext2fs_dup_handle(self._fs, byref(pointer))
        channel = _Channel(blocks)
        channel.block_size = channel.struct.block_size = self.block_size
        channel.struct.app_data = pointer.value
        handle = Handle(self._lib, pointer, channel)
        handle.head.io = handle.head.image_io = channel.address
        handle.head.flags |= _RW
        handle.head.now = now or 1
        handle._bitmaps, handle._as_read = self._bitmaps, self._as_read
        return handle

    def drop_inode_cache(self) -> None:
        """Forget cached inodes; a later read makes a new cache."""
        if self.head.icache:
            self._lib.ext2fs_free_inode_cache(self.head.icache)
            self.head.icache = None

    def read_bitmaps(self) -> None:
        """Load the block and inode bitmaps, which every allocation needs."""
        self._lib.ext2fs_read_bitmaps(self._fs)
        first_block, group_blocks, group_inodes = struct.unpack_from("<I8xI4xI", self.superblock(), 0x14)
        groups: int = self.head.group_desc_count
        if self.cluster_blocks > 1 or groups * group_blocks > _MOST_BITS:
            return
        self._bitmaps = (
            _Bitmap("block", first_block, group_blocks, groups, _BLOCK_BITMAP_DIRTY),
            _Bitmap("inode", 1, group_inodes, groups, _INODE_BITMAP_DIRTY),
        )
        self._as_read = tuple(self._bits(bitmap) for bitmap in self._bitmaps)

    def _bits(self, bitmap: _Bitmap) -> bytes:
        bits = bitmap.group_bits * bitmap.groups
        buffer = ctypes.create_string_buffer(bits // 8)
        get = getattr(self._lib, f"ext2fs_get_{bitmap.kind}_bitmap_range2")
        get(getattr(self.head, f"{bitmap.kind}_map"), bitmap.first, bits, buffer)
        return buffer.raw

    def _write_changed_bitmaps(self) -> None:
        """Write the bitmaps of the groups that changed; libext2fs would write those of all groups."""
        for bitmap, as_read in zip(self._bitmaps, self._as_read, strict=True):
            if not self.head.flags & bitmap.dirty:
                continue
            bits, size = self._bits(bitmap), bitmap.group_bits // 8
            for group in range(bitmap.groups):
                part = slice(group * size, (group + 1) * size)
                if bits[part] != as_read[part]:
                    self._write_bitmap(bitmap, group, bits[part])
            self.head.flags = self.head.flags & ~bitmap.dirty | _DIRTY

    def _write_bitmap(self, bitmap: _Bitmap, group: int, bits: bytes) -> None:
        if group == bitmap.groups - 1 and bitmap.kind == "block":
            bits = self._padded(bits, bitmap)
        data = ctypes.create_string_buffer(bits.ljust(self.block_size, b"\xff"), self.block_size)
        getattr(self._lib, f"ext2fs_{bitmap.kind}_bitmap_csum_set")(self._fs, group, data, len(bits))
        self._lib.ext2fs_group_desc_csum_set(self._fs, group)
        block = getattr(self._lib, f"ext2fs_{bitmap.kind}_bitmap_loc")(self._fs, group)
        self._channel.blocks.write(block * self.block_size, data.raw)

    def _padded(self, bits: bytes, bitmap: _Bitmap) -> bytes:
        """The last group's block bitmap, with what lies beyond the filesystem's end marked as used."""
        blocks = self._lib.ext2fs_blocks_count(self.head.super)
        used = (blocks - bitmap.first) % bitmap.group_bits or bitmap.group_bits
        padding = (1 << bitmap.group_bits) - (1 << used)
        return (int.from_bytes(bits, "little") | padding).to_bytes(len(bits), "little")

    def superblock(self) -> bytes:
        """The superblock as it now stands in memory, 1024 bytes."""
        return ctypes.string_at(self.head.super, 1024)

    def group_descriptors(self) -> bytes:
        """All group descriptors as they now stand in memory."""
        return ctypes.string_at(self.head.group_desc, self.head.desc_blocks * self.block_size)

    def close(self) -> None:
        """Write what is in memory and free the handle, which must not be used any more, failed or not."""
        try:
            self._write_changed_bitmaps()
            self._lib.ext2fs_close2(self._fs, 0)
        except BaseException:
            self.abandon()
            raise
        self._fs = c_void_p()

    def abandon(self) -> None:
        """Free the handle without writing anything."""
        self._lib.ext2fs_free(self._fs)
        self._fs = c_void_p()

    def read_inode(self, ino: int) -> bytearray:
        """An inode's bytes."""
        raw = bytearray(self.inode_size)
        self._lib.ext2fs_read_inode_full(self._fs, ino, self._inode_type.from_buffer(raw), self.inode_size)
        return raw

    def write_inode(self, ino: int, raw: bytearray) -> None:
        """Write an inode's bytes; the checksum is set on the way."""
        self._lib.ext2fs_write_inode_full(self._fs, ino, self._inode_type.from_buffer(raw), self.inode_size)

    def new_inode(self, near: int, mode: int) -> int:
        """The number of a free inode in the group of `near`, or behind it; not yet taken."""
        self._lib.ext2fs_new_inode(self._fs, near, mode, None, byref(self._number32))
        return self._number32.value

    def count_inode(self, ino: int, change: int, *, directory: bool) -> None:
        """Take (1) or free (-1) an inode in bitmap and counters."""
        self._lib.ext2fs_inode_alloc_stats2(self._fs, ino, change, int(directory))

    def set_size(self, raw: bytearray, size_bytes: int) -> None:
        """Set an inode's size, and in the superblock what a file of 2 GiB needs."""
        self._lib.ext2fs_inode_size_set(self._fs, self._inode_type.from_buffer(raw), size_bytes)

    def has_blocks(self, raw: bytearray) -> bool:
        """Whether an inode's block area holds blocks: no fast symlink, device or inline data."""
        return bool(self._lib.ext2fs_inode_has_valid_blocks2(self._fs, self._inode_type.from_buffer(raw)))

    def block_goal(self, ino: int) -> int:
        """Where the blocks of a new inode want to lie."""
        goal: int = self._lib.ext2fs_find_inode_goal(self._fs, ino, None, 0)
        return goal

    def allocate_run(self, goal: int, blocks: int) -> tuple[int, int]:
        """Take at most so many blocks in one run from a goal on: first and count. Not for bigalloc."""
        first, length = self._number64, self._length64
        self._lib.ext2fs_new_range(self._fs, 0, goal, blocks, None, byref(first), byref(length))
        taken = min(length.value, blocks)
        self._lib.ext2fs_block_alloc_stats_range(self._fs, first.value, taken, 1)
        return first.value, taken

    def allocate_block(self, goal: int) -> int:
        """Take one block, with bigalloc the cluster that it begins."""
        self._lib.ext2fs_new_block2(self._fs, goal, None, byref(self._number64))
        block = self._number64.value
        self._lib.ext2fs_block_alloc_stats2(self._fs, block, 1)
        return block

    def free_run(self, first: int, blocks: int) -> None:
        """Give blocks back that no inode refers to. Not for bigalloc."""
        self._lib.ext2fs_block_alloc_stats_range(self._fs, first, blocks, -1)

    def free_blocks(self, ino: int, raw: bytearray) -> None:
        """Give all blocks of an inode back; the inode is written."""
        self._lib.ext2fs_punch(self._fs, ino, self._inode_type.from_buffer(raw), None, 0, (1 << 64) - 1)

    def free_xattr_block(self, ino: int, raw: bytearray) -> None:
        """Let go of an inode's block of attributes, which other inodes may share."""
        self._lib.ext2fs_free_ext_attr(self._fs, ino, self._inode_type.from_buffer(raw))

    def insert_extents(self, ino: int, raw: bytearray, extents: list[tuple[int, int, int]]) -> None:
        """Append (logical block, first block, count) to an inode's extent tree; the inode is written."""
        tree = c_void_p()
        self._lib.ext2fs_extent_open2(self._fs, ino, self._inode_type.from_buffer(raw), byref(tree))
        try:
            for logical, first, count in extents:
                extent = _Extent(pblk=first, lblk=logical, len=count, flags=0)
                self._lib.ext2fs_extent_insert(tree, 1, byref(extent))  # EXT2_EXTENT_INSERT_AFTER
        finally:
            self._lib.ext2fs_extent_free(tree)

    def lookup(self, directory: int, name: bytes) -> int:
        """The inode that a name in a directory stands for; 0 if there is no such name."""
        try:
            self._lib.ext2fs_lookup(self._fs, directory, name, len(name), None, byref(self._number32))
        except FilesystemError as err:
            if err.code == FILE_NOT_FOUND:
                return 0
            raise
        return self._number32.value

    def link(self, directory: int, name: bytes, ino: int, file_type: int) -> None:
        """Add a name to a directory, which grows if it must. The name must not be there; counts no link."""
        try:
            self._lib.ext2fs_link(self._fs, directory, name, ino, file_type)
        except FilesystemError as err:
            if err.code != DIR_NO_SPACE:
                raise
            self._lib.ext2fs_expand_dir(self._fs, directory)
            self._lib.ext2fs_link(self._fs, directory, name, ino, file_type)

    def unlink(self, directory: int, name: bytes, ino: int) -> None:
        """Take a name out of a directory; counts no link."""
        self._lib.ext2fs_unlink(self._fs, directory, name, ino, 0)

    def entries(self, directory: int) -> list[DirectoryEntry]:
        """All names in a directory but `.` and `..`, in the order they stand there."""
        found: list[DirectoryEntry] = []

        def visit(_dir: int, kind: int, at: int, *_rest: int) -> int:
            if kind > 2:  # DIRENT_DOT_DOT_FILE
                ino, _, length, file_type = _DIRENT.unpack(ctypes.string_at(at, _DIRENT.size))
                found.append(DirectoryEntry(ctypes.string_at(at + _DIRENT.size, length), ino, file_type))
            return 0

        self._lib.ext2fs_dir_iterate2(self._fs, directory, 0, None, _DirVisitor(visit), None)
        return found

    def write_directory_block(self, block: int, data: bytes, directory: int) -> None:
        """Write one block of a directory; its checksum tail, if it has one, is filled in."""
        self._lib.ext2fs_write_dir_block4(
            self._fs, block, ctypes.create_string_buffer(data, len(data)), 0, directory
        )

    def read_file(self, ino: int, offset: int, length: int) -> bytes:
        """Bytes of a file's content in any form, fewer at its end. Goes block by block."""
        return self._with_file(ino, 0, functools.partial(self._read_at, offset=offset, length=length))

    def _read_at(self, file: c_void_p, *, offset: int, length: int) -> bytes:
        buffer = ctypes.create_string_buffer(length)
        got = c_uint()
        self._lib.ext2fs_file_llseek(file, offset, 0, None)
        self._lib.ext2fs_file_read(file, buffer, length, byref(got))
        return buffer.raw[: got.value]

    def write_file(self, ino: int, offset: int, data: bytes) -> None:
        """Write into a file's content, allocating as needed; the inode is written. Goes block by block."""
        self._with_file(ino, 1, functools.partial(self._write_at, offset=offset, data=data))

    def _write_at(self, file: c_void_p, *, offset: int, data: bytes) -> bytes:
        self._lib.ext2fs_file_llseek(file, offset, 0, None)
        self._lib.ext2fs_file_write(file, data, len(data), None)
        return b""

    def grow_file(self, ino: int, size_bytes: int) -> None:
        """Set a file's size to more than it holds: a hole at its end; the inode is written."""
        self._with_file(ino, 1, lambda file: bytes(self._lib.ext2fs_file_set_size2(file, size_bytes)))

    def _with_file(self, ino: int, flags: int, use: Callable[[c_void_p], bytes]) -> bytes:
        file = c_void_p()
        self._lib.ext2fs_file_open(self._fs, ino, flags, byref(file))
        try:
            return use(file)
        finally:
            self._lib.ext2fs_file_close(file)

    def xattrs(self, ino: int) -> dict[str, bytes]:
        """An inode's attributes by full name, in the order and form they have on disk."""
        found: dict[str, bytes] = {}

        def visit(name: bytes, value: int, length: int, _data: int) -> int:
            found[name.decode(errors="surrogateescape")] = ctypes.string_at(value, length) if length else b""
            return 0

        visitor = _XattrVisitor(visit)
        self._with_xattrs(ino, lambda handle: self._lib.ext2fs_xattrs_iterate(handle, visitor, None))
        return found

    def set_xattr(self, ino: int, name: str, value: bytes) -> None:
        """Set one attribute, POSIX ACLs in the kernel's form; the inode is written."""
        key = name.encode(errors="surrogateescape")
        self._with_xattrs(ino, lambda handle: self._lib.ext2fs_xattr_set(handle, key, value, len(value)))

    def remove_xattr(self, ino: int, name: str) -> None:
        """Remove one attribute; the inode is written."""
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
