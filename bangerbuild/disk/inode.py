"""Access to the fields of an ext4 inode, which is kept as its bytes on disk.

    0x00  mode, uid, size, atime, ctime, mtime, dtime, gid, links, blocks (of 512 bytes), flags
    0x28  60 bytes: block map, extent tree, symlink text, device number or inline data
    0x64  generation, file_acl, size_high … blocks_hi, file_acl_hi, uid_hi, gid_hi, checksum
    0x80  extra_isize, checksum_hi, ctime_extra, mtime_extra, atime_extra, crtime, crtime_extra, …, projid

Source: `struct ext2_inode_large` in `ext2fs/ext2_fs.h`. The fields beyond 0x80 exist only in inodes
of 256 bytes and more, as far as extra_isize reaches.
"""

from __future__ import annotations

import functools
import stat
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from bangerbuild.tree import TYPE_BITS, TYPES, EntryType

if TYPE_CHECKING:
    from collections.abc import Callable

NANOSECONDS = 1_000_000_000
EXTRA_BYTES = 32
"""How many bytes beyond 0x80 have fields that are known here."""
BLOCK_AREA = slice(0x28, 0x64)

ENCRYPT_FL = 0x800
EXTENTS_FL = 0x80000
INLINE_DATA_FL = 0x10000000
CASEFOLD_FL = 0x40000000

FILE_TYPES = {
    EntryType.FILE: 1,
    EntryType.DIRECTORY: 2,
    EntryType.CHARACTER_DEVICE: 3,
    EntryType.BLOCK_DEVICE: 4,
    EntryType.FIFO: 5,
    EntryType.SOCKET: 6,
    EntryType.SYMLINK: 7,
}
"""EXT2_FT_*: the file type in a directory entry."""

_U16 = struct.Struct("<H")
_U32 = struct.Struct("<I")
_EXTENT_HEADER = struct.Struct("<4HI")
_EXTENT = struct.Struct("<IHHI")
MAX_EXTENT_BLOCKS = 32768
INLINE_EXTENTS = 4


@dataclass(frozen=True)
class Stat:
    """The metadata of a file."""

    ino: int
    type: EntryType
    mode: int
    """Permission bits, set-id and sticky included (07777)."""
    uid: int
    gid: int
    size_bytes: int
    mtime_ns: int
    links: int
    target: str = ""
    """A symlink's text."""
    device: tuple[int, int] = (0, 0)
    """Major and minor."""


class InodeAttributes(NamedTuple):
    """The attributes that a new inode gets from the entry it is made for."""

    mode: int = 0
    """Permission bits."""
    uid: int = 0
    gid: int = 0
    mtime_ns: int | None = None
    """None means now."""


ROOT_OWNED = InodeAttributes()


def _field(form: struct.Struct, offset: int, high: int | None = None) -> property:
    """A property for a number at an offset.

    `high` is the offset of its upper 16 bits, if they are separate.
    """

    def get(self: Inode) -> int:
        value: int = form.unpack_from(self.raw, offset)[0]
        if high is not None:
            value |= _U16.unpack_from(self.raw, high)[0] << (form.size * 8)
        return value

    def put(self: Inode, value: int) -> None:
        form.pack_into(self.raw, offset, value & ((1 << form.size * 8) - 1))
        if high is not None:
            _U16.pack_into(self.raw, high, value >> (form.size * 8))

    return property(get, put)


class Inode:
    """One inode as named fields over its bytes; the bytearray is shared with the caller."""

    __slots__ = ("raw",)

    def __init__(self, raw: bytearray) -> None:
        self.raw = raw

    full_mode = _field(_U16, 0x00)
    uid = _field(_U16, 0x02, 0x78)
    gid = _field(_U16, 0x18, 0x7A)
    dtime = _field(_U32, 0x14)
    links = _field(_U16, 0x1A)
    sectors = _field(_U32, 0x1C, 0x74)
    flags = _field(_U32, 0x20)
    xattr_block = _field(_U32, 0x68, 0x76)
    extra_bytes = _field(_U16, 0x80)

    @classmethod
    def new(
        cls, inode_bytes: int, entry_type: EntryType, now: int, owned: InodeAttributes = ROOT_OWNED
    ) -> Inode:
        """An empty inode with one link (a directory: two); all times but the mtime in `owned` are `now`."""
        return cls(bytearray(_blank(inode_bytes, entry_type, now, owned)))

    @property
    def type(self) -> EntryType | None:
        """The file type; None if the mode has no known type."""
        return TYPES.get(stat.S_IFMT(self.full_mode))

    @property
    def mode(self) -> int:
        """Permission bits, set-id and sticky included."""
        return stat.S_IMODE(self.full_mode)

    @mode.setter
    def mode(self, bits: int) -> None:
        self.full_mode = stat.S_IFMT(self.full_mode) | bits

    @property
    def size_bytes(self) -> int:
        """The content's size."""
        low: int = _U32.unpack_from(self.raw, 0x04)[0]
        high: int = _U32.unpack_from(self.raw, 0x6C)[0]
        return low | high << 32

    @size_bytes.setter
    def size_bytes(self, value: int) -> None:
        _U32.pack_into(self.raw, 0x04, value & 0xFFFFFFFF)
        _U32.pack_into(self.raw, 0x6C, value >> 32)

    @property
    def mtime_ns(self) -> int:
        """The time of the last change of content."""
        return self._get_time(0x10, 0x88)

    @mtime_ns.setter
    def mtime_ns(self, value: int) -> None:
        self._put_time(0x10, 0x88, value)

    @property
    def atime_ns(self) -> int:
        """The time of the last access."""
        return self._get_time(0x08, 0x8C)

    @atime_ns.setter
    def atime_ns(self, value: int) -> None:
        self._put_time(0x08, 0x8C, value)

    def set_times(self, now: int) -> None:
        """Set all times, the creation time included, in seconds."""
        created = ((0x90, 0x94),) if self._reaches(0x94) else ()
        for offset, extra in ((0x08, 0x8C), (0x0C, 0x84), (0x10, 0x88), *created):
            self._put_time(offset, extra, now * NANOSECONDS)

    def set_ctime(self, now: int) -> None:
        """Set the time of the inode's last change, in seconds."""
        self._put_time(0x0C, 0x84, now * NANOSECONDS)

    def _get_time(self, offset: int, extra: int) -> int:
        seconds: int = struct.unpack_from("<i", self.raw, offset)[0]
        if not self._reaches(extra):
            return seconds * NANOSECONDS
        bits: int = _U32.unpack_from(self.raw, extra)[0]
        return (seconds + ((bits & 3) << 32)) * NANOSECONDS + (bits >> 2)

    def _put_time(self, offset: int, extra: int, time_ns: int) -> None:
        """Write a time: 32 signed bits of seconds, then two epoch bits and nanoseconds.

        It is clamped to fit.
        """
        reaches = self._reaches(extra)
        last = (1 << 34) - (1 << 31) - 1 if reaches else (1 << 31) - 1
        seconds, nanoseconds = divmod(time_ns, NANOSECONDS)
        seconds = max(-(1 << 31), min(seconds, last))
        low = (seconds + (1 << 31)) % (1 << 32) - (1 << 31)
        struct.pack_into("<i", self.raw, offset, low)
        if reaches:
            _U32.pack_into(self.raw, extra, nanoseconds << 2 | (seconds - low) >> 32)

    def _reaches(self, offset: int) -> bool:
        return len(self.raw) > 128 and 0x80 + int(self.extra_bytes) >= offset + 4

    @property
    def device(self) -> tuple[int, int]:
        """Major and minor number of a device."""
        old, new = struct.unpack_from("<II", self.raw, 0x28)
        if old:
            return old >> 8 & 0xFF, old & 0xFF
        return (new & 0xFFF00) >> 8, new & 0xFF | new >> 12 & 0xFFF00

    @device.setter
    def device(self, numbers: tuple[int, int]) -> None:
        major, minor = numbers
        if major < 256 and minor < 256:
            struct.pack_into("<II", self.raw, 0x28, major << 8 | minor, 0)
        else:
            new = minor & 0xFF | major << 8 | (minor & ~0xFF) << 12
            struct.pack_into("<II", self.raw, 0x28, 0, new)

    @property
    def block_area(self) -> bytes:
        """The 60 bytes of block map, extent tree or symlink text."""
        return bytes(self.raw[BLOCK_AREA])

    @block_area.setter
    def block_area(self, data: bytes) -> None:
        self.raw[BLOCK_AREA] = data.ljust(60, b"\0")

    def set_extents(self, extents: list[tuple[int, int, int]]) -> None:
        """Set at most four extents (logical block, first block, count) in the inode itself."""
        self.flags |= EXTENTS_FL
        packed = [_EXTENT.pack(at, count, first >> 32, first & 0xFFFFFFFF) for at, first, count in extents]
        header = _EXTENT_HEADER.pack(0xF30A, len(packed), INLINE_EXTENTS, 0, 0)
        self.block_area = header + b"".join(packed)


@functools.lru_cache(maxsize=1024)
def _blank(inode_bytes: int, entry_type: EntryType, now: int, owned: InodeAttributes) -> bytes:
    """The bytes of a new inode; cached, because most inodes of a tree have the same attributes."""
    inode = Inode(bytearray(inode_bytes))
    if inode_bytes > 128:
        inode.extra_bytes = EXTRA_BYTES
    inode.full_mode = TYPE_BITS[entry_type] | owned.mode
    inode.uid, inode.gid = owned.uid, owned.gid
    inode.links = 2 if entry_type is EntryType.DIRECTORY else 1
    inode.set_times(now)
    if owned.mtime_ns is not None:
        inode.mtime_ns = owned.mtime_ns
    return bytes(inode.raw)


def stat_of(ino: int, inode: Inode, read_target: Callable[[int, Inode], bytes]) -> Stat | None:
    """The Stat of an inode; None if its type is unknown."""
    entry_type = inode.type
    if entry_type is None:
        return None
    target = b""
    if entry_type is EntryType.SYMLINK:
        target = read_target(ino, inode)
    devices = (EntryType.CHARACTER_DEVICE, EntryType.BLOCK_DEVICE)
    return Stat(
        ino=ino,
        type=entry_type,
        mode=inode.mode,
        uid=inode.uid,
        gid=inode.gid,
        size_bytes=inode.size_bytes,
        mtime_ns=inode.mtime_ns,
        links=inode.links,
        target=target.decode(errors="surrogateescape"),
        device=inode.device if entry_type in devices else (0, 0),
    )
