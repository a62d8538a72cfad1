"""POSIX ACLs: from the text form that archives hold to the binary form of the kernel.

The binary form is `system.posix_acl_access` as of `include/uapi/linux/posix_acl_xattr.h`, all little-endian:
u32 version 2, then for each entry u16 tag, u16 permissions, u32 id. The text is that of POSIX 1003.1e
draft 17, with a number as a fourth field in star's and libarchive's archives.
"""

from __future__ import annotations

import re
import struct

from bangerbuild.formats.format_error import FormatError

ACCESS = "system.posix_acl_access"
_VERSION = struct.pack("<I", 2)
_ENTRY = struct.Struct("<HHI")
_MINIMAL_BYTES = len(_VERSION) + 3 * _ENTRY.size
_NO_ID = 0xFFFFFFFF
_USER_OBJ, _USER, _GROUP_OBJ, _GROUP, _MASK, _OTHER = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_TAGS = {
    "user": (_USER_OBJ, _USER),
    "group": (_GROUP_OBJ, _GROUP),
    "mask": (_MASK, None),
    "other": (_OTHER, None),
}
_ALL_TAGS = frozenset({tag for pair in _TAGS.values() for tag in pair})
_LONG_NAMES = {name[0]: name for name in _TAGS}
_BASE = [_USER_OBJ, _GROUP_OBJ, _OTHER]
_PERMISSIONS = re.compile("[r-][w-][x-]")
_NUMBER = re.compile("[0-9]{1,20}")


def access_acl(text: str) -> bytes | None:
    """The binary form of an access ACL; None if the ACL says no more than the permission bits.

    Raises:
        FormatError: as `default_acl`.
    """
    acl = default_acl(text)
    return None if len(acl) == _MINIMAL_BYTES else acl


def default_acl(text: str) -> bytes:
    """The binary form of a directory's default ACL.

    Raises:
        FormatError: it is no ACL, or names a user without a number; the brief is a predicate.
    """
    lines = (line.split("#", 1)[0].strip() for line in re.split(r"[,\n]", text))
    entries = sorted(_entry(line) for line in lines if line)
    tags = [tag for tag, _, _ in entries]
    if any(tags.count(tag) != 1 for tag in _BASE) or len({(tag, id_) for tag, id_, _ in entries}) < len(
        entries
    ):
        raise FormatError(f"has an ACL that is none: '{text}'")
    if len(entries) > len(_BASE) and _MASK not in tags:
        raise FormatError(f"has an ACL without a mask: '{text}'")
    return _VERSION + b"".join(_ENTRY.pack(tag, bits, id_) for tag, id_, bits in entries)


def with_mode(value: bytes, mode: int) -> bytes:
    """An access ACL in binary form after a chmod, which sets its entries for owner, mask and others.

    The group's bits are those of the mask; without one, which only a minimal ACL is, the group's own.
    """
    head, entries = value[: len(_VERSION)], list(_ENTRY.iter_unpack(value[len(_VERSION) :]))
    group = _MASK if any(tag == _MASK for tag, _, _ in entries) else _GROUP_OBJ
    new = {_USER_OBJ: mode >> 6 & 7, group: mode >> 3 & 7, _OTHER: mode & 7}
    return head + b"".join(_ENTRY.pack(tag, new.get(tag, bits), id_) for tag, bits, id_ in entries)


def check_binary(value: bytes) -> None:
    """Check an ACL in binary form.

    Raises:
        FormatError: it is damaged; the brief is a predicate.
    """
    head, body = value[: len(_VERSION)], value[len(_VERSION) :]
    whole = head == _VERSION and bool(body) and len(body) % _ENTRY.size == 0
    if not whole or any(tag not in _ALL_TAGS or bits > 7 for tag, bits, _ in _ENTRY.iter_unpack(body)):
        raise FormatError("has a damaged ACL")


def _entry(line: str) -> tuple[int, int, int]:
    """(tag, id, permissions): the kernel wants them sorted by the first two."""
    fields = [field.strip() for field in line.split(":")]
    if len(fields) == 2:  # Solaris and star write `mask:rwx`
        fields.insert(1, "")
    kind = _LONG_NAMES.get(fields[0], fields[0])
    if kind not in _TAGS or len(fields) not in {3, 4} or not _PERMISSIONS.fullmatch(fields[2]):
        raise FormatError(f"has an ACL entry that is none: '{line}'")
    bits = sum(4 >> place for place, letter in enumerate(fields[2]) if letter != "-")
    unnamed, named = _TAGS[kind]
    if not fields[1]:
        return unnamed, _NO_ID, bits
    if named is None:
        raise FormatError(f"has an ACL entry that is none: '{line}'")
    return named, _id(kind, fields), bits


def _id(kind: str, fields: list[str]) -> int:
    number = next((field for field in (*fields[3:], fields[1]) if _NUMBER.fullmatch(field)), None)
    if number is None and fields[1] == "root":
        return 0
    if number is None or int(number) >= _NO_ID:
        raise FormatError(
            f"has an ACL that names {kind} '{fields[1]}' without a number",
            hint="make the archive with `tar --acls --numeric-owner`",
        )
    return int(number)
