"""The table of signatures: what kind of file begins with which bytes, and how to make a source of it.

A reader that is handed a file of another kind asks here what it is. Signatures that other files may have by
chance come last.
"""

from __future__ import annotations

from dataclasses import dataclass

from bangerbuild.errors import printable_bytes

ZEROS = "nothing but zeros"
TAIL_BYTES = 512
"""How much of its end: some have their mark there."""
HEAD_BYTES = 68 << 10
"""How much of a file `identify` wants to see: past where ISO 9660 and btrfs have their marks."""

_AS_EXT4 = "name it with `ext4 = …` in a manifest"
_AS_TAR = "name it with `tar = …` in a manifest"
_AS_CPIO = "name it with `cpio = …` in a manifest"
_AS_SQUASHFS = "name it with `squashfs = …` in a manifest"
_REPACK_CPIO = "pack it again, as `cpio --create --format=newc` does"
_UNPACK = "unpack it and give the directory (`directory = …` in a manifest), or turn it into a tarball"
_AS_DISK = "name it with `disk_image = …` in a manifest"
_OPEN = "open it with `cryptsetup open`, mount what is inside and give the mount point (`directory = …`)"
_ACTIVATE = "activate it, mount what is on it and give the mount point (`directory = …` in a manifest)"
MOUNT_HINT = "mount it and give the mount point (`directory = …` in a manifest)"
_COMPRESSED = (
    "decompress it; or name it with `disk_image = …` in a manifest if a disk or a filesystem is inside, "
    "with `tar = …` if a tarball is"
)
_DECOMPRESS = "decompress it first; gzip, bzip2, xz and zstd are read as they are"
_PROGRAM = "name the root filesystem instead"
_PAGE = "the address leads to a page about the file: give the file's own"
_EXPAND = "expand it with `simg2img`, and name the result with `ext4 = …` in a manifest"
_CONVERT = (
    "convert it with `qemu-img convert -f {} -O qcow2`, and name that with `disk_image = …` in a manifest"
)
_READ_COMPRESSED = frozenset({_AS_DISK, _AS_TAR, _AS_CPIO, _AS_SQUASHFS})
_STORE = "name the image that it stands on instead"
_DECRYPT = "decrypt it first"
_POINTER = "it stands for a file that is not here: fetch it (`git lfs pull`, `git annex get`)"
_TAKE_OUT = "take out what is in it with `dumpimage`, and name that"
_PATCH = "it only says what differs from another file: apply it to that, and name the result"


@dataclass(frozen=True)
class Signature:
    """A kind of file."""

    what: str
    """With its article: `a qcow2 disk image`."""
    way_out: str | None
    """What to do with such a file; None: there is nothing to advise."""

    @property
    def name(self) -> str:
        """Its kind in one word: `qcow2`, `XFS`."""
        return self.what.split()[1]

    @property
    def is_cpio(self) -> bool:
        """Whether it is an archive of the forms that `cpio = …` takes."""
        return self.way_out == _AS_CPIO

    @property
    def may_hold_a_root(self) -> bool:
        """Whether it is a disk, a volume or a filesystem, as it may lie on a disk."""
        return self.way_out in {_AS_DISK, _AS_EXT4, MOUNT_HINT, _OPEN, _ACTIVATE}

    @property
    def is_filesystem(self) -> bool:
        """Whether it can be mounted."""
        return self.way_out in {MOUNT_HINT, _AS_EXT4}

    def way_out_of(self, compression: str | None) -> str | None:
        """The same for such a file inside a compression, if it is not None."""
        if not compression or not self.way_out or self.way_out in _READ_COMPRESSED:
            return self.way_out
        return _AS_DISK if self.way_out == _AS_EXT4 else f"decompress it, then {self.way_out}"


_SIGNATURES: tuple[tuple[int, bytes, Signature], ...] = tuple(
    (offset, magic, Signature(what, way_out))
    for offset, magic, what, way_out in (
        (1080, b"\x53\xef", "an ext2, ext3 or ext4 filesystem", _AS_EXT4),
        (257, b"ustar", "a tarball", _AS_TAR),
        (0x8001, b"CD001", "a CD image", MOUNT_HINT),  # many have a partition table too
        (0, b"QFI\xfb\0\0\0\x01", "a qcow disk image of version 1", _CONVERT.format("qcow")),
        (0, b"QFI\xfb", "a qcow2 disk image", _AS_DISK),
        (0, b"KDMV", "a VMDK disk image", _AS_DISK),
        (0, b"conectix", "a VHD disk image", _AS_DISK),
        (0, b"vhdxfile", "a VHDX disk image", _AS_DISK),
        (64, b"\x7f\x10\xda\xbe", "a VDI disk image", _AS_DISK),
        (512, b"EFI PART", "a disk image with partitions", _AS_DISK),
        (4096, b"EFI PART", "a disk image with partitions", _AS_DISK),
        (0, b"COWD", "a VMDK disk image", _AS_DISK),
        (0, b"QED\0", "a QED disk image", _CONVERT.format("qed")),
        (0, b"WithoutFreeSpace", "a Parallels disk image", _CONVERT.format("parallels")),
        (0, b"WithouFreSpacExt", "a Parallels disk image", _CONVERT.format("parallels")),
        (0, b"# Disk DescriptorFile", "a VMDK disk image", _AS_DISK),
        (0, b"LUKS\xba\xbe", "a LUKS volume", _OPEN),
        (536, b"LVM2 001", "an LVM physical volume", _ACTIVATE),
        (4096, b"\xfc\x4e\x2b\xa9", "a RAID member", _ACTIVATE),
        (0, b"hsqs", "a squashfs image", _AS_SQUASHFS),
        (0, b"XFSB", "an XFS filesystem", MOUNT_HINT),
        (0x10040, b"_BHRfS_M", "a btrfs filesystem", MOUNT_HINT),
        (1024, b"\xe2\xe1\xf5\xe0", "an EROFS filesystem", MOUNT_HINT),
        (1024, b"\x10\x20\xf5\xf2", "an F2FS filesystem", MOUNT_HINT),
        (4120, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca", "a bcachefs filesystem", MOUNT_HINT),
        (82, b"FAT32   ", "a FAT filesystem", MOUNT_HINT),
        (54, b"FAT16   ", "a FAT filesystem", MOUNT_HINT),
        (54, b"FAT12   ", "a FAT filesystem", MOUNT_HINT),
        (3, b"NTFS    ", "an NTFS filesystem", MOUNT_HINT),
        (3, b"EXFAT   ", "an exFAT filesystem", MOUNT_HINT),
        (3, b"-FVE-FS-", "a BitLocker volume", _OPEN),
        (0x8000, b"JFS1", "a JFS filesystem", MOUNT_HINT),
        (0x10034, b"ReIsEr", "a ReiserFS filesystem", MOUNT_HINT),
        (0x8001, b"BEA01", "a UDF filesystem", MOUNT_HINT),
        (0, b"-rom1fs-", "a romfs filesystem", MOUNT_HINT),
        (0, b"\x45\x3d\xcd\x28", "a cramfs filesystem", MOUNT_HINT),
        (0, b"\x28\xcd\x3d\x45", "a cramfs filesystem", MOUNT_HINT),
        (32, b"NXSB", "an APFS container", MOUNT_HINT),
        (1024, b"H+\0\x04", "an HFS+ filesystem", MOUNT_HINT),
        (1024, b"HX\0\x05", "an HFS+ filesystem", MOUNT_HINT),
        (0x1055C, b"\x19\x01\x54\x19", "a UFS filesystem", MOUNT_HINT),
        (4086, b"SWAPSPACE2", "a swap area", _PROGRAM),
        (0, b"\x3a\xff\x26\xed", "an Android sparse image", _EXPAND),
        (0, b"SnAp", "a dm-snapshot store", _STORE),
        (0, b"PK\x03\x04", "a zip archive", _UNPACK),
        (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
        (0, b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
        (0, b"\xed\xab\xee\xdb", "an RPM package", _UNPACK),
        (0, b"MSCF\0\0\0\0", "a cabinet archive", _UNPACK),
        (0, b"MSWIM\0\0\0", "a WIM archive", _UNPACK),
        (0, b"xar!", "a xar archive", _UNPACK),
        (0, b"7kSt", "a zpaq archive", _UNPACK),
        (0, b"\x60\xea", "an ARJ archive", _UNPACK),
        (0, b"\xd6\xc3\xc4", "a VCDIFF patch", _PATCH),
        (0, b"\x27\x05\x19\x56", "a U-Boot image", _TAKE_OUT),
        (0, b"version https://git-lfs.github.com/", "a pointer of Git LFS", _POINTER),
        (0, b"/annex/objects/", "a pointer of git-annex", _POINTER),
        (0, b"age-encryption.org/", "an age file", _DECRYPT),
        (0, b"-----BEGIN AGE", "an age file", _DECRYPT),
        (0, b"-----BEGIN PGP MESSAGE", "an OpenPGP message", _DECRYPT),
        (0, b"Salted__", "an OpenSSL file, encrypted", _DECRYPT),
        (0, b"070707", "a cpio archive of the old form 'odc'", _REPACK_CPIO),
        (0, b"07070", "a cpio archive", _AS_CPIO),
        (0, b"!<arch>\n", "an ar archive, such as a Debian package", _UNPACK),
        (0, b"\x1f\x8b", "a gzip stream", _COMPRESSED),
        (0, b"BZh", "a bzip2 stream", _COMPRESSED),
        (0, b"\xfd7zXZ\0", "an xz stream", _COMPRESSED),
        (0, b"\x28\xb5\x2f\xfd", "a zstd stream", _COMPRESSED),
        (0, b"\x04\x22\x4d\x18", "an lz4 stream", _DECOMPRESS),
        (0, b"\x02\x21\x4c\x18", "an lz4 stream of the old form", _DECOMPRESS),
        (0, b"\x89LZO\0\r\n\x1a\n", "an lzop stream", _DECOMPRESS),
        (0, b"LZIP", "an lzip stream", _DECOMPRESS),
        (0, b"BZ3v1", "a bzip3 stream", _DECOMPRESS),
        (0, b"LRZI", "an lrzip stream", _DECOMPRESS),
        (0, b"RZIP", "an rzip stream", _DECOMPRESS),
        (0, b"\x5d\0\0", "an lzma stream", _DECOMPRESS),
        (0, b"\x1f\x9d", "a stream of compress", _DECOMPRESS),
        (0, b"\x7fELF", "an ELF program", _PROGRAM),
        (0x202, b"HdrS", "a Linux kernel", _PROGRAM),
        (0, b"#!", "a script", _PROGRAM),
        (0, b"%PDF-", "a PDF document", _PROGRAM),
        (0, b"\xc7\x71", "a cpio archive of the old binary form", _REPACK_CPIO),
        (0, b"\x71\xc7", "a cpio archive of the old binary form", _REPACK_CPIO),
        (1030, b"\x34\x34", "a NILFS2 filesystem", MOUNT_HINT),
        (1040, b"\x7f\x13", "a Minix filesystem", MOUNT_HINT),
        (1040, b"\x8f\x13", "a Minix filesystem", MOUNT_HINT),
        (1040, b"\x68\x24", "a Minix filesystem", MOUNT_HINT),
        (1040, b"\x78\x24", "a Minix filesystem", MOUNT_HINT),
        (1048, b"\x5a\x4d\0\0", "a Minix filesystem", MOUNT_HINT),
        (510, b"\x55\xaa", "a disk image with partitions", _AS_DISK),
    )
)
_TRAILERS: tuple[tuple[bytes, Signature], ...] = (
    (b"koly", Signature("an Apple disk image", _CONVERT.format("dmg"))),
    (b"conectix", Signature("a VHD disk image", _AS_DISK)),
)
_BY_NAME = {".br": Signature("a brotli stream, as its name says", _DECOMPRESS)}
_PAGE_STARTS = (b"<!doctype html", b"<html")
_MESSAGES = ((b"<?xml", "an XML document"), (b"{", "a JSON document"))
"""What servers answer with in place of a file, too."""
_MESSAGE = "it may be what a server said instead of sending the file: look into it"


def identify(head: bytes, tail: bytes = b"") -> Signature | None:
    """What a file is that begins with `head` and ends with `tail`; None if it is nothing known here."""
    if head.lstrip()[:14].lower().startswith(_PAGE_STARTS):
        return Signature("a web page", _PAGE)
    for offset, magic, signature in _SIGNATURES:
        if head.startswith(magic, offset):
            return signature
    at_end = next((signature for magic, signature in _TRAILERS if tail.startswith(magic)), None)
    start = head.lstrip()[:8]
    message = (Signature(what, _MESSAGE) for begin, what in _MESSAGES if start.startswith(begin))
    return at_end or next(message, None)


def named(written: str) -> Signature | None:
    """The same of a file whose kind has no mark, told by its name."""
    return next((found for ending, found in _BY_NAME.items() if written.endswith(ending)), None)


def inside(compression: str | None) -> str:
    """The words, after what a file is, for one inside a compression; none if it is inside none."""
    return f" inside its {compression} compression" if compression else ""


def described(head: bytes, tail: bytes = b"") -> Signature:
    """The same in words for any file: one that nothing is known of by its first bytes."""
    if found := identify(head, tail):
        return found
    if not head.strip(b"\0"):
        return Signature(ZEROS if head else "empty", None)
    return Signature(f"something that begins with '{printable_bytes(head[:8])}'", None)
