"""Parse the setup header of an x86 bzImage, which says where the compressed kernel is.

    0x1F1  u8   setup_sects: sectors of real-mode code after the first one; 0 means 4
    0x202  4    "HdrS"
    0x206  u16  version of the boot protocol, 0x020F for 2.15
    0x20E  u16  kernel_version: 0x200 less than the offset of `6.1.0-9-amd64 (build@host) #1 …`; 0: none
    0x248  u32  payload_offset, from the beginning of the protected-mode code
    0x24C  u32  payload_length

Source: Documentation/arch/x86/boot.rst. The payload's fields exist from version 2.08 on.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from bangerbuild.formats.format_error import FormatError

HEAD_BYTES = 64 << 10
"""How many bytes `read_header` needs: the setup code, with the version text, has at most 64 sectors."""
MAGIC_OFFSET = 0x202
MAGIC = b"HdrS"
PAYLOAD_VERSION = 0x0208
SECTOR_BYTES = 512


@dataclass(frozen=True)
class BzImageHeader:
    """The fields of a setup header that are used here."""

    payload_offset: int
    """From the beginning of the file."""
    payload_bytes: int
    release: str | None
    """The output of `uname -r`."""


def read_header(head: bytes) -> BzImageHeader | None:
    """The header of a file that begins with `head`; None if it is no bzImage.

    Raises:
        FormatError: the boot protocol is too old to have the payload's position.
    """
    if not head.startswith(MAGIC, MAGIC_OFFSET) or len(head) < 0x250:
        return None
    (version,) = struct.unpack_from("<H", head, 0x206)
    offset, length = struct.unpack_from("<II", head, 0x248)
    if version < PAYLOAD_VERSION or not offset:
        protocol = f"{version >> 8}.{version & 0xFF:02}"
        raise FormatError(
            f"is a kernel of boot protocol {protocol}, which can't be unpacked: 2.08 is the oldest"
        )
    setup_bytes = ((head[0x1F1] or 4) + 1) * SECTOR_BYTES
    return BzImageHeader(setup_bytes + offset, length, _release(head))


def _release(head: bytes) -> str | None:
    (place,) = struct.unpack_from("<H", head, 0x20E)
    text = head[place + 0x200 :].partition(b"\0")[0] if place else b""
    words = text.decode("ascii", "replace").split()
    return words[0] if words else None
