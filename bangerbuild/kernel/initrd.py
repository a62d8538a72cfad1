"""Check that a file is an initrd: a cpio archive, plain or in a compression of lib/decompress.c."""

from __future__ import annotations

from bangerbuild.formats.format_error import FormatError
from bangerbuild.formats.signatures import identify

HEAD_BYTES = 4096
"""How many bytes of a file `check` needs."""
_MAGICS = (
    b"0707",  # cpio, also with early microcode at its start
    b"\x1f\x8b",
    b"BZh",
    b"\xfd7zXZ\0",
    b"\x28\xb5\x2f\xfd",
    b"\x02\x21\x4c\x18",
    b"\x5d\0\0",
    b"\x89LZO",
)


def check(head: bytes) -> None:
    """Check that a file that begins with `head` may be an initrd.

    Raises:
        FormatError: it is none.
    """
    if not head:
        raise FormatError("is no initrd: it is empty")
    if not head.lstrip(b"\0").startswith(_MAGICS):  # the kernel skips zeros too
        seen = identify(head)
        is_kernel = head.startswith(b"HdrS", 0x202)
        what = "a kernel" if is_kernel else seen.what if seen else None
        raise FormatError(f"is no initrd: it looks like {what}" if what else "is no initrd")
