"""Parse one header of a cpio archive of the form "newc", or "crc", which adds a sum of the content.

A header is 13 numbers of 8 hex digits after the magic
(Documentation/driver-api/early-userspace/buffer-format.rst):

    070701 or 070702 | inode | mode | uid | gid | names | mtime | size | device major, minor
    | own device major, minor (of a device file) | size of the name with its NUL | sum
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from bangerbuild.errors import printable_bytes
from bangerbuild.formats.format_error import FormatError

HEADER_BYTES = 110
ALIGNMENT = 4
MAGIC_BYTES = 6
_NEWC, _CRC = b"070701", b"070702"
_NUMBERS = re.compile(rb"[0-9A-Fa-f]{104}")
_OLD_FORMS = {
    b"070707": "the old portable form 'odc'",
    b"\xc7\x71": "the old binary form",
    b"\x71\xc7": "the old binary form of a big-endian machine",
}
REPACK_HINT = "pack it again, as `cpio --create --format=newc` does"


@dataclass(frozen=True, slots=True)
class CpioHeader:
    """The fields of a header."""

    inode: int
    mode: int
    """With the bits of the type."""
    uid: int
    gid: int
    links: int
    """How many names the inode has."""
    mtime_s: int
    size_bytes: int
    device: tuple[int, int]
    """That holds the inode: together they tell which names are of one inode."""
    own_device: tuple[int, int]
    """Of a device file."""
    name_bytes: int
    """With the NUL at its end."""
    checksum: int | None
    """The sum of the content's bytes; None: the form has none."""


def parse_header(block: bytes) -> CpioHeader:
    """The header that `block` holds, 110 bytes.

    Raises:
        FormatError: it is none, or one of an older form.
    """
    magic = block[:MAGIC_BYTES]
    if old := next((form for start, form in _OLD_FORMS.items() if magic.startswith(start)), None):
        raise FormatError(f"is a cpio archive of {old}, and 'newc' is what is read here", hint=REPACK_HINT)
    if magic not in {_NEWC, _CRC} or not _NUMBERS.fullmatch(block, MAGIC_BYTES):
        raise FormatError(f"has no header where one must be, but '{printable_bytes(block[:8])}'")
    inode, mode, uid, gid, links, mtime, size, major, minor, own_major, own_minor, name, checksum = (
        int(block[at : at + 8], 16) for at in range(MAGIC_BYTES, HEADER_BYTES, 8)
    )
    return CpioHeader(
        inode,
        mode,
        uid,
        gid,
        links,
        mtime,
        size,
        (major, minor),
        (own_major, own_minor),
        name,
        checksum if magic == _CRC else None,
    )


def is_header(head: bytes) -> bool:
    """Whether a file that begins so begins with a header, also one of an older form."""
    if head.startswith(tuple(_OLD_FORMS)):
        return head.startswith(b"070707")
    return head[:MAGIC_BYTES] in {_NEWC, _CRC} and bool(_NUMBERS.match(head, MAGIC_BYTES))
