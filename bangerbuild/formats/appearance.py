"""What a file that is not what was asked for looks like, told from its first bytes."""

from __future__ import annotations

from dataclasses import dataclass

HEAD_BYTES = 4096
"""How much of a file `appearance` wants to see."""

_AS_EXT4 = "name it with `ext4 = …`"
_UNPACK = "turn it into a tarball, or unpack it and name the directory with `directory = …`"
_CONVERT = (
    "convert it with `qemu-img convert -O raw`; a filesystem without partitions is named with `ext4 = …`"
)
_COMPRESSED = "name it with `tar = …` if it is a tarball, else decompress it"
_DECOMPRESS = "decompress it first; gzip, bzip2, xz and zstd are read as they are"


@dataclass(frozen=True)
class Appearance:
    """A kind of file, with its article, and the way to use it all the same."""

    what: str
    hint: str


@dataclass(frozen=True)
class _Signature:
    offset: int
    magic: bytes
    appearance: Appearance


_SIGNATURES = tuple(
    _Signature(offset, magic, Appearance(what, hint))
    for offset, magic, what, hint in (
        (1080, b"\x53\xef", "an ext2, ext3 or ext4 filesystem", _AS_EXT4),
        (257, b"ustar", "a tarball", "name it with `tar = …`"),
        (0, b"QFI\xfb", "a qcow2 disk image", _CONVERT),
        (0, b"KDMV", "a VMDK disk image", _CONVERT),
        (0, b"vhdxfile", "a VHDX disk image", _CONVERT),
        (64, b"\x7f\x10\xda\xbe", "a VDI disk image", _CONVERT),
        (512, b"EFI PART", "a disk image with partitions", "extract its root partition and use `ext4 = …`"),
        (510, b"\x55\xaa", "a disk image with partitions", "extract its root partition and use `ext4 = …`"),
        (0, b"hsqs", "a squashfs image", _UNPACK),
        (0, b"PK\x03\x04", "a zip file", _UNPACK),
        (0, b"07070", "a cpio archive", _UNPACK),
        (0, b"!<arch>\n", "an ar archive or a Debian package", _UNPACK),
        (0, b"\x1f\x8b", "a gzip stream", _COMPRESSED),
        (0, b"BZh", "a bzip2 stream", _COMPRESSED),
        (0, b"\xfd7zXZ\0", "an xz stream", _COMPRESSED),
        (0, b"\x28\xb5\x2f\xfd", "a zstd stream", _COMPRESSED),
        (0, b"\x04\x22\x4d\x18", "an lz4 stream", _DECOMPRESS),
        (0, b"\x5d\0\0", "an lzma stream", _DECOMPRESS),
        (0, b"\x1f\x9d", "a stream of compress", _DECOMPRESS),
        (0, b"\x7fELF", "an ELF program", "name the root filesystem instead"),
        (0, b"<!DOCTYPE", "a web page", "was the download refused?"),
        (0, b"<html", "a web page", "was the download refused?"),
    )
)


def appearance(head: bytes) -> Appearance | None:
    """What a file that begins with `head` looks like; None if nothing known."""
    for signature in _SIGNATURES:
        if head.startswith(signature.magic, signature.offset):
            return signature.appearance
    return None
