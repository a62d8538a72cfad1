"""What is in a partition: its filesystem, its label and UUID, and whether it is a Linux root."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from typing_extensions import override

from bangerbuild.disk.blocks import Blocks, check_end
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.superblock import OFFSET, SIZE, parse_superblock
from bangerbuild.errors import FilesystemError, GuestPathError, printable, readable_size
from bangerbuild.formats import signatures
from bangerbuild.tree import EntryType
from bangerbuild.virtual_disk.partition_types import NAMES

if TYPE_CHECKING:
    from bangerbuild.virtual_disk.table import Partition

INITS = ("/sbin/init", "/usr/lib/systemd/systemd", "/lib/systemd/systemd", "/etc/init", "/bin/init", "/init")
"""Where a root has what the kernel starts first."""
EXT = "ext4"
FAT = "FAT"
EXT_BYTES = OFFSET + SIZE
"""A partition below that size holds no filesystem."""


class Slice(Blocks):
    """A range of a disk, to be read as a disk of its own."""

    def __init__(self, disk: Blocks, start: int, size_bytes: int, name: str) -> None:
        self._disk = disk
        self._start = start
        self.name = name
        self.place = None
        self.writable = False
        self.size_bytes = max(0, min(size_bytes, disk.size_bytes - start))

    @override
    def read(self, offset: int, length: int) -> bytes:
        check_end(self, offset, length)
        return self._disk.read(self._start + offset, length)

    @override
    def write(self, offset: int, data: bytes) -> None:
        raise FilesystemError(f"'{self.name}' is open for reading only")

    @override
    def flush(self) -> None:
        """Nothing is ever written."""


@dataclass(frozen=True)
class _Tags:
    """Where a filesystem has its label and UUID, in bytes."""

    magic: bytes
    magic_at: int
    label_at: int
    label_bytes: int
    uuid_at: int
    uuid_bytes: int = 16


_TAGS = (
    _Tags(b"XFSB", 0, 108, 12, 32),
    _Tags(b"_BHRfS_M", 0x10040, 0x1012B, 256, 0x10020),
    _Tags(b"FAT32", 82, 71, 11, 67, 4),
    _Tags(b"FAT1", 54, 43, 11, 39, 4),
)


@dataclass(frozen=True)
class Content:
    """A partition, and what is in it."""

    partition: Partition
    filesystem: str
    """`ext4` also for ext2 and ext3; empty: nothing that is known."""
    what: str
    """The same with its article: `an XFS filesystem`."""
    label: str = ""
    uuid: str = ""
    size_bytes: int = 0
    """Of the filesystem, where that is an ext4; it may be smaller than the partition."""
    way_out: str | None = None
    """What to do with what is none that can be mounted."""

    @property
    def is_ext(self) -> bool:
        """Whether it can be taken."""
        return self.filesystem == EXT

    @property
    def is_fat(self) -> bool:
        """Whether it is what firmware reads."""
        return self.filesystem == FAT

    def __str__(self) -> str:
        """A line for people: `1: ext4 'cloudimg-rootfs', 2.1 GiB, Linux root (x86-64)`."""
        one = self.partition
        label = f" '{self.label}'" if self.label else ""
        what = f"{self.filesystem or 'unknown'}{label}"
        name = f"'{one.name}'" if one.name and one.name != self.label else ""
        parts = (what, readable_size(one.size_bytes), NAMES.get(one.type, ""), name)
        return printable(f"{one.number}: {', '.join(filter(None, parts))}")


def content_of(partition: Partition, disk: Blocks) -> Content:
    """Look at the first bytes of a partition."""
    if partition.is_container:
        return Content(partition, "extended", "an extended partition")
    part = Slice(disk, partition.start, partition.size_bytes, disk.name)
    head = part.read(0, min(part.size_bytes, signatures.HEAD_BYTES))
    superblock = parse_superblock(head[OFFSET:EXT_BYTES]) if len(head) >= EXT_BYTES else None
    if superblock is not None:
        what = "an ext2, ext3 or ext4 filesystem"
        return Content(partition, EXT, what, superblock.label, superblock.uuid, superblock.size_bytes)
    found = signatures.identify(head)
    if found is None:
        return Content(partition, "", "nothing that is known")
    label, own_uuid = _tags(head)
    way_out = None if found.is_filesystem else found.way_out
    return Content(partition, found.name, found.what, label, own_uuid, way_out=way_out)


def _tags(head: bytes) -> tuple[str, str]:
    at = next((tags for tags in _TAGS if head.startswith(tags.magic, tags.magic_at)), None)
    if at is None:
        return "", ""
    label = head[at.label_at : at.label_at + at.label_bytes].split(b"\0")[0].rstrip(b" ")
    raw = head[at.uuid_at : at.uuid_at + at.uuid_bytes]
    return label.decode(errors="replace"), _uuid(raw)


def _uuid(raw: bytes) -> str:
    """As fstab and blkid write it; that of a FAT is a number of 4 bytes, little-endian."""
    if len(raw) == 4:
        return f"{raw[3]:02X}{raw[2]:02X}-{raw[1]:02X}{raw[0]:02X}"
    return str(uuid.UUID(bytes=raw)) if len(raw) == 16 else ""


def part_of(content: Content, disk: Blocks) -> Slice:
    """The partition as a disk of its own."""
    one = content.partition
    return Slice(disk, one.start, one.size_bytes, f"partition {one.number} of {disk.name}")


def is_root(content: Content, disk: Blocks) -> bool:
    """Whether an ext4 holds `/etc` and an init; False where it can't be read."""
    try:
        filesystem = Filesystem(part_of(content, disk), allow_unclean=True)
    except FilesystemError:
        return False
    try:
        etc = filesystem.stat("/etc")
        is_there = etc is not None and etc.type is EntryType.DIRECTORY
        return is_there and any(_is_there(filesystem, path) for path in INITS)
    except FilesystemError:
        return False
    finally:
        filesystem.abandon()


def _is_there(filesystem: Filesystem, path: str) -> bool:
    """A link that leads out of the filesystem's own tree counts: NixOS makes it at boot."""
    try:
        found = filesystem.stat(path, follow=False)
    except GuestPathError:
        return False
    return found is not None and found.type is not EntryType.DIRECTORY
