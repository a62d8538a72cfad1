"""Parse one tar header of 512 bytes into its fields.

`tarfile` is not used: it takes a damaged header for the end of the archive, rounds times to floats, and joins
GNU's incremental fields to names. Layout: POSIX `ustar`, with GNU's
base-256 numbers (`tar.h` and the manual's "Basic Tar Format" of GNU tar).

    0 name 100 | 100 mode 8 | 108 uid 8 | 116 gid 8 | 124 size 12 | 136 mtime 12 | 148 checksum 8 | 156 type 1
    157 link name 100 | 257 magic 8 | 265 user, group 64 | 329 major 8 | 337 minor 8 | 345 prefix 155 | 500 -
"""

from __future__ import annotations

import functools
import struct
from dataclasses import dataclass

from bangerbuild.errors import printable_bytes
from bangerbuild.formats.format_error import FormatError

BLOCK_BYTES = 512
ZERO_BLOCK = bytes(BLOCK_BYTES)

_FIELDS = struct.Struct("100s8s8s8s12s12s8s1s100s8s64s8s8s155s12x")
_POSIX_MAGIC = b"ustar\0"
_DEVICES = (b"3", b"4")
"""The types whose device numbers count; what packed others may have anything there."""


@dataclass(slots=True)
class TarHeader:
    """The fields that describe an inode. Names are raw bytes, with the prefix."""

    name: bytes
    mode: int
    uid: int
    gid: int
    size_bytes: int
    mtime_s: int
    type: bytes
    link: bytes
    major: int
    minor: int


def parse_header(block: bytes) -> TarHeader:
    """The header that `block` holds, 512 bytes.

    Raises:
        FormatError: its checksum or a number is wrong.
    """
    name, mode, uid, gid, size, mtime, checksum, type_, link, magic, _, major, minor, prefix = _FIELDS.unpack(
        block
    )
    said = parse_number(checksum)
    if said != _checksum(block) and said != _signed_checksum(block):
        raise FormatError("has a header with a wrong checksum")
    name = _text(name)
    if magic.startswith(_POSIX_MAGIC) and prefix[0]:
        name = _text(prefix) + b"/" + name
    return TarHeader(
        name=name,
        mode=_frequent_number(mode) & 0o7777,
        uid=_frequent_number(uid),
        gid=_frequent_number(gid),
        size_bytes=parse_number(size),
        mtime_s=_frequent_number(mtime),
        type=type_,
        link=_text(link),
        major=_frequent_number(major) if type_ in _DEVICES else 0,
        minor=_frequent_number(minor) if type_ in _DEVICES else 0,
    )


def parse_number(field: bytes) -> int:
    """A numeric field: octal digits, or GNU's base-256 if the top bit is set.

    Raises:
        FormatError: it is neither.
    """
    first = field[0]
    if not first:
        return 0
    if first & 0x80:
        bits = 8 * len(field) - 1
        value = int.from_bytes(field, "big") & ((1 << bits) - 1)
        return value - (1 << bits) if value >> (bits - 1) else value
    digits = field.partition(b"\0")[0]
    try:
        return int(digits, 8) if not digits.isspace() else 0
    except ValueError as err:
        raise FormatError(f"has a header with a damaged number: '{printable_bytes(field)}'") from err


_frequent_number = functools.lru_cache(maxsize=1024)(parse_number)
"""`parse_number` with a cache, for fields that have few different values in an archive."""


def _checksum(block: bytes) -> int:
    """The sum of all bytes, with blanks in the checksum field."""
    return sum(block) - sum(block[148:156]) + 8 * ord(" ")


def _signed_checksum(block: bytes) -> int:
    """The checksum over signed bytes, as old SunOS made it."""
    rest = block[:148] + block[156:]
    return _checksum(block) - 256 * sum(byte >> 7 for byte in rest)


def _text(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def is_header(head: bytes) -> bool:
    """Whether a file that begins so begins with a header whose checksum is right."""
    block = head[:BLOCK_BYTES]
    if len(block) < BLOCK_BYTES or not any(block):
        return False
    try:
        parse_header(block)
    except FormatError:
        return False
    return True
