"""Load libext2fs and libcom_err, declare their functions, and raise an error for every code that is not 0."""

from __future__ import annotations

import ctypes
import errno
import functools
import re
import threading
from ctypes import byref, c_char_p, c_int, c_size_t, c_uint, c_uint32, c_uint64, c_void_p
from typing import Any

from bangerbuild.disk.libext2fs.layouts import (
    BlockChanged,
    BlocksChanged,
    DirVisitor,
    ErrorHook,
    XattrVisitor,
    errcode_t,
)
from bangerbuild.errors import FilesystemError, LibraryError

CODE_BASE = 2133571328
"""EXT2_ET_BASE of `ext2fs/ext2_err.h`."""
DIR_NO_SPACE = CODE_BASE + 38
BLOCK_ALLOC_FAIL = CODE_BASE + 72
INODE_ALLOC_FAIL = CODE_BASE + 73
FILE_NOT_FOUND = CODE_BASE + 76
EA_NO_SPACE = CODE_BASE + 163
MISSING_EA_FEATURE = CODE_BASE + 164
GUEST_FULL = frozenset({BLOCK_ALLOC_FAIL, INODE_ALLOC_FAIL})
NO_SPACE = GUEST_FULL | {errno.ENOSPC}

_INSTALL = "apt install e2fsprogs"
_OLDEST = (1, 46)

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
    "ext2fs_inode_csum_set": (errcode_t, (c_void_p, c_uint32, c_void_p)),
    "ext2fs_new_inode": (errcode_t, (c_void_p, c_uint32, c_int, c_void_p, c_void_p)),
    "ext2fs_inode_alloc_stats2": (None, (c_void_p, c_uint32, c_int, c_int)),
    "ext2fs_inode_size_set": (errcode_t, (c_void_p, c_void_p, c_uint64)),
    "ext2fs_inode_has_valid_blocks2": (c_int, (c_void_p, c_void_p)),
    "ext2fs_find_inode_goal": (c_uint64, (c_void_p, c_uint32, c_void_p, c_uint64)),
    "ext2fs_new_range": (errcode_t, (c_void_p, c_int, c_uint64, c_uint64, c_void_p, c_void_p, c_void_p)),
    "ext2fs_new_block2": (errcode_t, (c_void_p, c_uint64, c_void_p, c_void_p)),
    "ext2fs_block_alloc_stats2": (None, (c_void_p, c_uint64, c_int)),
    "ext2fs_block_alloc_stats_range": (None, (c_void_p, c_uint64, c_uint32, c_int)),
    "ext2fs_set_block_alloc_stats_callback": (None, (c_void_p, BlockChanged, c_void_p)),
    "ext2fs_set_block_alloc_stats_range_callback": (None, (c_void_p, BlocksChanged, c_void_p)),
    "ext2fs_punch": (errcode_t, (c_void_p, c_uint32, c_void_p, c_void_p, c_uint64, c_uint64)),
    "ext2fs_extent_open2": (errcode_t, (c_void_p, c_uint32, c_void_p, c_void_p)),
    "ext2fs_extent_insert": (errcode_t, (c_void_p, c_int, c_void_p)),
    "ext2fs_extent_free": (None, (c_void_p,)),
    "ext2fs_file_open": (errcode_t, (c_void_p, c_uint32, c_int, c_void_p)),
    "ext2fs_file_llseek": (errcode_t, (c_void_p, c_uint64, c_int, c_void_p)),
    "ext2fs_file_write": (errcode_t, (c_void_p, c_void_p, c_uint, c_void_p)),
    "ext2fs_file_close": (errcode_t, (c_void_p,)),
    "ext2fs_lookup": (errcode_t, (c_void_p, c_uint32, c_char_p, c_int, c_void_p, c_void_p)),
    "ext2fs_link": (errcode_t, (c_void_p, c_uint32, c_char_p, c_uint32, c_int)),
    "ext2fs_unlink": (errcode_t, (c_void_p, c_uint32, c_char_p, c_uint32, c_int)),
    "ext2fs_expand_dir": (errcode_t, (c_void_p, c_uint32)),
    "ext2fs_dir_iterate2": (errcode_t, (c_void_p, c_uint32, c_int, c_void_p, DirVisitor, c_void_p)),
    "ext2fs_write_dir_block4": (errcode_t, (c_void_p, c_uint64, c_void_p, c_int, c_uint32)),
    "ext2fs_xattrs_open": (errcode_t, (c_void_p, c_uint32, c_void_p)),
    "ext2fs_xattrs_read": (errcode_t, (c_void_p,)),
    "ext2fs_xattrs_iterate": (errcode_t, (c_void_p, XattrVisitor, c_void_p)),
    "ext2fs_xattr_set": (errcode_t, (c_void_p, c_char_p, c_void_p, c_size_t)),
    "ext2fs_xattr_remove": (errcode_t, (c_void_p, c_char_p)),
    "ext2fs_xattrs_close": (errcode_t, (c_void_p,)),
    "ext2fs_free_ext_attr": (errcode_t, (c_void_p, c_uint32, c_void_p)),
    "ext2fs_inode_table_loc": (c_uint64, (c_void_p, c_uint32)),
    "ext2fs_crc32c_le": (c_uint32, (c_uint32, c_char_p, c_size_t)),
    "ext2fs_crc32_be": (c_uint32, (c_uint32, c_char_p, c_size_t)),
    "ext2fs_get_library_version": (c_int, (c_void_p, c_void_p)),
    "initialize_ext2_error_table": (None, ()),
}


class _HeldError(threading.local):
    """The exception of a callback, kept until the C function returns, because C can't pass it on.

    Per thread.
    """

    error: BaseException | None = None


_held_error = _HeldError()


def hold_error(error: BaseException) -> int:
    """Keep a callback's exception until its C function has returned; the callback's return value."""
    _held_error.error = error
    return errno.EIO


def _complained(who: bytes | None, code: int, complaint: bytes | None, _arguments: int) -> None:
    """Turn a warning that libext2fs would print, about invalid data on the disk, into an error."""
    text = error_text(code) if code else (complaint or b"").decode(errors="replace").partition(":")[0]
    hold_error(FilesystemError(f"{text} ({(who or b'libext2fs').decode(errors='replace')})", code=code))


_hook = ErrorHook(_complained)


def _check_found(code: int, function: object, arguments: object) -> int:
    """As `_check`, but "not found" is a result: an exception each time would cost more than the search."""
    return code if code == FILE_NOT_FOUND and _held_error.error is None else _check(code, function, arguments)


def _check(code: int, _function: object, _arguments: object) -> int:
    """The errcheck of all functions that return an errcode_t, or nothing (then code is None)."""
    if (error := _held_error.error) is not None:
        _held_error.error = None
        raise error
    if code:
        raise FilesystemError(error_text(code), code=code)
    return code


class Library:
    """The loaded functions, one attribute for each row of the table."""

    def __init__(self, library: ctypes.CDLL, com_err: ctypes.CDLL) -> None:
        for name, (restype, argtypes) in _SIGNATURES.items():
            setattr(self, name, _bound(library, name, restype, argtypes))
        self.error_message = _bound(com_err, "error_message", c_char_p, (errcode_t,))
        _bound(com_err, "set_com_err_hook", c_void_p, (ErrorHook,))(_hook)

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
    if restype is errcode_t or restype is None:
        function.errcheck = _check_found if name == "ext2fs_lookup" else _check
    return function


def _shared_object(name: str) -> ctypes.CDLL:
    try:
        return ctypes.CDLL(name)
    except OSError as err:
        raise LibraryError(f"{name} can't be loaded: {err}", hint=_INSTALL) from err


_loading = threading.Lock()


def load() -> Library:
    """Both libraries, loaded once for all threads.

    Raises:
        LibraryError: one is missing or too old; the hint names the package.
    """
    with _loading:
        return _load("libext2fs.so.2", "libcom_err.so.2")


@functools.cache
def _load(library: str, com_err: str) -> Library:
    """Load both libraries.

    Raises:
        LibraryError: one is missing or too old; the hint names the package.
    """
    loaded = Library(_shared_object(library), _shared_object(com_err))
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


def crc32c(seed: int, data: bytes) -> int:
    """The checksum of ext4's own structures, going on from `seed`; neither end is inverted."""
    checksum: int = load().ext2fs_crc32c_le(seed, data, len(data))
    return checksum


def crc32_be(seed: int, data: bytes) -> int:
    """The checksum of transactions in journals of the first kind, from the highest bit down."""
    checksum: int = load().ext2fs_crc32_be(seed, data, len(data))
    return checksum


def error_text(code: int) -> str:
    """The message of libcom_err for a code."""
    if code == INODE_ALLOC_FAIL:
        return "no free inodes left in the guest filesystem"
    if code in NO_SPACE:
        return "no space left in the guest filesystem"
    text: bytes = load().error_message(code)
    return text.decode(errors="replace")
