"""The names in a cpio archive of the form "newc", which an initrd is made of.

A header is "070701" or "070702" and 13 numbers of 8 hex digits: the seventh is the size of the content, the
twelfth that of the name with its NUL. Name and content end on a multiple of 4 bytes each; "TRAILER!!!" is the
last name (Documentation/driver-api/early-userspace/buffer-format.rst).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

MAGIC = b"07070"
_HEADER_BYTES = 110
_TRAILER = b"TRAILER!!!"
_MOST_NAME_BYTES = 4096
_PIECE_BYTES = 1 << 20


def names(stream: BinaryIO) -> Iterator[bytes]:
    """The names up to the trailer, which is read too; fewer where the archive is damaged or cut short."""
    while True:
        header = stream.read(_HEADER_BYTES)
        if len(header) < _HEADER_BYTES or not header.startswith(MAGIC):
            return
        try:
            content_bytes, name_bytes = int(header[54:62], 16), int(header[94:102], 16)
        except ValueError:
            return
        if not 0 < name_bytes <= _MOST_NAME_BYTES:
            return
        name = stream.read(_padded(_HEADER_BYTES + name_bytes) - _HEADER_BYTES)[: name_bytes - 1]
        _skip(stream, _padded(content_bytes))
        if name == _TRAILER:
            return
        yield name


def _padded(length: int) -> int:
    return (length + 3) & ~3


def _skip(stream: BinaryIO, length: int) -> None:
    while length and (piece := stream.read(min(length, _PIECE_BYTES))):
        length -= len(piece)
