"""Check that a file is an initrd, and look for modules in it.

An initrd is one or several cpio archives, zeros between them; the last may be in a compression of
lib/decompress.c. The ones before it hold microcode.
"""

from __future__ import annotations

import io
import posixpath
from typing import TYPE_CHECKING, cast

from bangerbuild.disk.content import PiecesFile
from bangerbuild.formats.compression import CompressionError
from bangerbuild.formats.format_error import FormatError
from bangerbuild.formats.signatures import identify
from bangerbuild.kernel import cpio, payload

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path
    from typing import BinaryIO

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


def modules(path: Path, wanted: Collection[str]) -> list[str] | None:
    """Which of these modules an initrd holds, sorted; None if it can't be read."""
    try:
        found = {_module(name) for name in _names(path)}
    except (CompressionError, FormatError):
        return None
    return sorted(found & set(wanted))


def _module(path: bytes) -> str:
    """The module that a file is, by its name, which may have `-` for `_`."""
    name, dot, _ = posixpath.basename(path).partition(b".ko")
    return name.decode(errors="replace").replace("-", "_") if dot else ""


def _names(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while head := _after_zeros(file):
            if not head.startswith(cpio.MAGIC):
                pieces = payload.decompressed_pieces(file.read())
                yield from cpio.names(cast("BinaryIO", io.BufferedReader(PiecesFile(pieces))))
                return
            yield from cpio.names(file)


def _after_zeros(file: BinaryIO) -> bytes:
    """Go to the next byte that is not zero; the first bytes from there on."""
    while piece := file.read(HEAD_BYTES):
        if rest := piece.lstrip(b"\0"):
            file.seek(-len(rest), io.SEEK_CUR)
            return rest
    return b""
