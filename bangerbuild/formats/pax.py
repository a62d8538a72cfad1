r"""Extended tar headers: pax records, and the times, numbers and extended attributes in them.

A record is `LENGTH KEY=VALUE\n`, its length in decimal and counting itself (POSIX `pax`). Every function
raises FormatError; the caller adds the name of the entry.
"""

from __future__ import annotations

import binascii
import re
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from bangerbuild.formats.acl import access_acl, check_binary, default_acl
from bangerbuild.formats.format_error import FormatError
from bangerbuild.formats.names import text_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Records = dict[bytes, bytes]

_DIGITS_MAX = 20
_DECIMAL = re.compile(rb"(-?)([0-9]{1,20})(?:\.([0-9]*))?")
_STAR_XATTR = b"SCHILY.xattr."
_LIBARCHIVE_XATTR = b"LIBARCHIVE.xattr."
_ACCESS, _DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
_LINUX_NAMESPACES = ("user.", "trusted.", "security.", "system.posix_acl_")


def parse_records(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The (key, value) pairs of one extended header, in its order.

    Raises:
        FormatError: it is damaged.
    """
    position = 0
    while position < len(data):
        length_text, blank, _ = data[position : position + 20].partition(b" ")
        end = position + int(length_text) if length_text.isdigit() else 0
        record = data[position + len(length_text) + 1 : end]
        key, equals, value = record.partition(b"=")
        if not (blank and equals and key and value.endswith(b"\n") and end <= len(data)):
            raise FormatError("has a damaged pax header")
        yield key, value[:-1]
        position = end


def mtime_ns(value: bytes) -> int:
    """A decimal time in seconds as nanoseconds; further digits are rounded down."""
    match = _DECIMAL.fullmatch(value)
    if not match:
        raise FormatError(f"has a damaged time: '{text_of(value)}'")
    sign, seconds, fraction = match.groups(default=b"")
    nanoseconds = int(seconds) * 10**9 + int(fraction[:9].ljust(9, b"0"))
    is_cut = bool(fraction[9:].strip(b"0"))
    return -nanoseconds - is_cut if sign else nanoseconds


def number(value: bytes, what: str) -> int:
    """A decimal number, 0 or more; `what` names it in an error."""
    if not value.isdigit() or len(value) > _DIGITS_MAX:
        raise FormatError(f"has a damaged {what}: '{text_of(value)}'")
    return int(value)


def xattrs(records: Mapping[bytes, bytes]) -> dict[str, bytes]:
    """The extended attributes by their Linux names, ACLs in the kernel's form.

    If an archive has an ACL both as an attribute and as text, the attribute counts: it has numbers where the
    text may have names. Attributes outside of Linux's namespaces (macOS, BSD) are left out.

    Raises:
        FormatError: an attribute or an ACL can't be understood; the brief is a predicate.
    """
    if b"SCHILY.acl.ace" in records:
        raise FormatError("has an NFSv4 ACL, which ext4 can't hold")
    named = (pair for key, value in records.items() if (pair := _xattr(key, value)))
    found = {name: value for name, value in named if name.startswith(_LINUX_NAMESPACES)}
    for name in found.keys() & {_ACCESS, _DEFAULT}:
        check_binary(found[name])
    access, default = records.get(b"SCHILY.acl.access"), records.get(b"SCHILY.acl.default")
    if access and _ACCESS not in found and (acl := access_acl(text_of(access))):
        found[_ACCESS] = acl
    if default and _DEFAULT not in found:
        found[_DEFAULT] = default_acl(text_of(default))
    return found


def _xattr(key: bytes, value: bytes) -> tuple[str, bytes] | None:
    if key.startswith(_STAR_XATTR):  # GNU tar escapes only `=` and `%` in a name
        name = key[len(_STAR_XATTR) :].replace(b"%3D", b"=").replace(b"%25", b"%")
        return text_of(name), value
    if key.startswith(_LIBARCHIVE_XATTR):
        name = unquote_to_bytes(key[len(_LIBARCHIVE_XATTR) :])
        return text_of(name), _base64(value, text_of(name))
    return None


def _base64(value: bytes, name: str) -> bytes:
    try:  # libarchive omits the padding
        return binascii.a2b_base64(value + b"=" * (-len(value) % 4))
    except binascii.Error as err:
        raise FormatError(f"has a damaged value of '{name}'") from err
