"""Extended attributes: which names ext4 can store, and POSIX ACLs from ext4's form to the kernel's.

On disk an ACL is u32 version 1, then entries of (u16 tag, u16 permissions) with a u32 id only for a named
user or group; the kernel's is u32 version 2 and entries that all have the id (sources: `fs/ext4/acl.h`,
`include/uapi/linux/posix_acl_xattr.h`).
"""

from __future__ import annotations

import struct

from bangerbuild.errors import FilesystemError

ACL_NAMES = ("system.posix_acl_access", "system.posix_acl_default")
NAMESPACES = ("user.", "trusted.", "security.", *ACL_NAMES)
INLINE_DATA = "system.data"
"""Holds the second part of inline data; ext4 uses it itself, a guest never sees it."""
MAX_NAME_BYTES = 255

_NAMED_TAGS = (0x02, 0x08)
_NO_ID = 0xFFFFFFFF


def check_name(name: str) -> None:
    """Refuse a name whose namespace has no number in ext4; libext2fs would store it without a namespace.

    Raises:
        FilesystemError: its namespace is unknown, or it is empty or too long.
    """
    known = name in ACL_NAMES or any(name.startswith(n) and name != n for n in NAMESPACES[:3])
    if not known or "\0" in name or len(name.encode(errors="surrogateescape")) > MAX_NAME_BYTES:
        raise FilesystemError(f"ext4 keeps no attribute called '{name}'")


def acl_from_disk(value: bytes) -> bytes:
    """An ACL in the kernel's form.

    Raises:
        FilesystemError: it is damaged.
    """
    try:
        (version,) = struct.unpack_from("<I", value)
        entries, at = [struct.pack("<I", 2)], 4
        while at < len(value):
            tag, permissions = struct.unpack_from("<HH", value, at)
            named = tag in _NAMED_TAGS
            identity = struct.unpack_from("<I", value, at + 4)[0] if named else _NO_ID
            entries.append(struct.pack("<HHI", tag, permissions, identity))
            at += 8 if named else 4
    except struct.error as err:
        raise FilesystemError("a POSIX ACL on disk is cut short") from err
    if version != 1:
        raise FilesystemError(f"a POSIX ACL on disk has version {version}")
    return b"".join(entries)
