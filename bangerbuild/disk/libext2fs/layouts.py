"""The structs and callbacks of libext2fs, declared for ctypes.

Sources: `ext2fs/ext2_io.h` and `ext2fs/ext2fs.h`, as they are from 1.46 on.
"""

from __future__ import annotations

from ctypes import (
    CFUNCTYPE,
    POINTER,
    Structure,
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

errcode_t = c_long


class IoChannel(Structure):
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


Open = CFUNCTYPE(errcode_t, c_char_p, c_int, POINTER(c_void_p))
OnChannel = CFUNCTYPE(errcode_t, c_void_p)
SetBlockSize = CFUNCTYPE(errcode_t, c_void_p, c_int)
Transfer = CFUNCTYPE(errcode_t, c_void_p, c_ulong, c_int, c_void_p)
Zero = CFUNCTYPE(errcode_t, c_void_p, c_uint64, c_uint64)
Transfer64 = CFUNCTYPE(errcode_t, c_void_p, c_uint64, c_int, c_void_p)


class IoManager(Structure):
    """`struct_io_manager`; for functions that are NULL, libext2fs uses plain reads and writes."""

    _fields_ = (
        ("magic", errcode_t),
        ("name", c_char_p),
        ("open", Open),
        ("close", OnChannel),
        ("set_blksize", SetBlockSize),
        ("read_blk", Transfer),
        ("write_blk", Transfer),
        ("flush", OnChannel),
        ("write_byte", Transfer),
        ("set_option", c_void_p),
        ("get_stats", c_void_p),
        ("read_blk64", Transfer64),
        ("write_blk64", Transfer64),
        ("discard", c_void_p),
        ("cache_readahead", c_void_p),
        ("zeroout", Zero),
        ("reserved", c_long * 14),
    )


class Filsys(Structure):
    """The first fields of `struct struct_ext2_filsys`, which are the same in all versions from 1.46 on."""

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


class Extent(Structure):
    """`struct ext2fs_extent`."""

    _fields_ = (("pblk", c_uint64), ("lblk", c_uint64), ("len", c_uint32), ("flags", c_uint32))


DirVisitor = CFUNCTYPE(c_int, c_uint32, c_int, c_void_p, c_int, c_int, c_void_p, c_void_p)
BlockChanged = CFUNCTYPE(None, c_void_p, c_uint64, c_int)
BlocksChanged = CFUNCTYPE(None, c_void_p, c_uint64, c_uint32, c_int)
XattrVisitor = CFUNCTYPE(c_int, c_char_p, c_void_p, c_size_t, c_void_p)
ErrorHook = CFUNCTYPE(None, c_char_p, errcode_t, c_char_p, c_void_p)
"""`errf` of `et/com_err.h`; its `va_list` is not read."""
