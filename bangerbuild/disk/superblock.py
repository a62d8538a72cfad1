"""Parse the ext4 superblock, and decide whether the filesystem may be read or written.

libext2fs would also open a filesystem with an unreplayed journal, with errors, or with quota counters that it
does not update. So the superblock is checked here first. `journal` reads through an unreplayed journal.
Source: `struct ext2_super_block` in `ext2fs/ext2_fs.h`; it lies at byte 1024 of the disk.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bangerbuild.errors import FilesystemError
from bangerbuild.formats import signatures

if TYPE_CHECKING:
    from bangerbuild.disk.blocks import Blocks

PUT_BACK = "put the whole file back from where it came"
"""The way out for a file that was cut short."""
OFFSET = 1024
SIZE = 1024
_MAGIC = 0xEF53
_VALID = 1
ERROR_FS = 2

INCOMPAT_FILETYPE = 0x2
INCOMPAT_RECOVER = 0x4
INCOMPAT_EXTENTS = 0x40
INCOMPAT_MMP = 0x100
_RESIZE_INODE = 0x10
_META_BG = 0x10
_64BIT = 0x80
INCOMPAT_EA_INODE = 0x400
INCOMPAT_CSUM_SEED = 0x2000
RO_COMPAT_DIR_NLINK = 0x20
RO_COMPAT_BIGALLOC = 0x200
RO_COMPAT_METADATA_CSUM = 0x400
RO_COMPAT_ORPHAN_PRESENT = 0x10000

# filetype, recover, meta_bg, extents, 64bit, mmp, flex_bg, ea_inode, csum_seed, largedir, inline_data,
# encrypt, casefold
_KNOWN_INCOMPAT = 0x2 | 0x4 | 0x10 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x2000 | 0x4000 | 0x8000 | 0x30000
_INCOMPAT_NAMES = {0x1: "compression", 0x8: "journal_dev", 0x1000: "dirdata"}
# sparse_super, large_file, btree_dir, huge_file, uninit_bg, dir_nlink, extra_isize, bigalloc, metadata_csum,
# verity
_WRITABLE_RO_COMPAT = 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x20 | 0x40 | 0x200 | 0x400 | 0x8000
_REMOVABLE = 0x100 | 0x1000 | 0x2000
"""quota, read-only, project: what tune2fs takes off again (`clear_ok_features` in misc/tune2fs.c)."""
_SHARED_BLOCKS = 0x4000
_JOURNAL_DEV = 0x8
_RO_COMPAT_NAMES = {
    0x80: "has_snapshot",
    0x100: "quota",
    0x800: "replica",
    0x1000: "read-only",
    0x2000: "project",
    0x4000: "shared_blocks",
    0x10000: "orphan_present",
}

_NO_EXT4_HINT = "give an ext4 filesystem itself: unpacked, and without a partition table"


@dataclass(frozen=True)
class Superblock:
    """The fields of a superblock that are used here."""

    blocks: int
    block_bytes: int
    inode_bytes: int
    state: int
    compat: int
    incompat: int
    ro_compat: int
    last_orphan: int
    free_blocks: int
    free_inodes: int
    inodes: int
    first_data_block: int
    label: str
    uuid: str
    """In the form that `UUID=` in an fstab has: lower case, with hyphens."""

    @property
    def size_bytes(self) -> int:
        """The filesystem's size."""
        return self.blocks * self.block_bytes

    @property
    def has_extents(self) -> bool:
        """Whether files may be in extent format."""
        return bool(self.incompat & INCOMPAT_EXTENTS)

    @property
    def has_errors(self) -> bool:
        """Whether it is marked as having errors, or (without a journal) was not unmounted."""
        return self.state & (_VALID | ERROR_FS) != _VALID

    @property
    def is_clean(self) -> bool:
        """Whether it was unmounted cleanly: no journal to replay, no errors, no orphans."""
        unclean = self.incompat & INCOMPAT_RECOVER or self.ro_compat & RO_COMPAT_ORPHAN_PRESENT
        return not (self.has_errors or unclean or self.last_orphan)


def parse_superblock(raw: bytes) -> Superblock | None:
    """Parse 1024 bytes; None if they are no superblock."""
    u16, u32 = struct.Struct("<H").unpack_from, struct.Struct("<I").unpack_from
    if u16(raw, 0x38)[0] != _MAGIC or u32(raw, 0x18)[0] > 6:
        return None
    incompat = u32(raw, 0x60)[0]
    high = 32 if incompat & 0x80 else 64  # the upper halves count with the 64bit feature only
    return Superblock(
        blocks=u32(raw, 0x04)[0] | (u32(raw, 0x150)[0] << high) & 0xFFFFFFFFFFFFFFFF,
        block_bytes=1024 << u32(raw, 0x18)[0],
        inode_bytes=u16(raw, 0x58)[0] if u32(raw, 0x4C)[0] else 128,
        state=u16(raw, 0x3A)[0],
        compat=u32(raw, 0x5C)[0],
        incompat=incompat,
        ro_compat=u32(raw, 0x64)[0],
        last_orphan=u32(raw, 0xE8)[0],
        free_blocks=u32(raw, 0x0C)[0] | (u32(raw, 0x158)[0] << high) & 0xFFFFFFFFFFFFFFFF,
        free_inodes=u32(raw, 0x10)[0],
        inodes=u32(raw, 0x00)[0],
        first_data_block=u32(raw, 0x14)[0],
        label=raw[0x78:0x88].rstrip(b"\0").decode(errors="replace"),
        uuid="-".join(part.hex() for part in struct.unpack_from("4s2s2s2s6s", raw, 0x68)),
    )


def read_superblock(
    blocks: Blocks, *, writable: bool, allow_unclean: bool = False, allow_unreplayed: bool = False
) -> Superblock:
    """Read and check the superblock of a disk.

    Args:
        blocks: the disk.
        writable: whether the filesystem is to be changed.
        allow_unclean: accept errors or an unreplayed journal, for reading.
        allow_unreplayed: accept an unreplayed journal and orphans, but no errors.

    Raises:
        FilesystemError: there is no superblock, or it forbids reading or writing.
    """
    raw = blocks.read(OFFSET, SIZE) if blocks.size_bytes >= OFFSET + SIZE else bytes(SIZE)
    superblock = parse_superblock(raw)
    if superblock is None:
        raise _other_kind(blocks)
    if superblock.size_bytes > blocks.size_bytes:
        raise FilesystemError(
            f"'{blocks.name}' is cut short: its filesystem has {superblock.size_bytes} bytes, "
            f"the disk {blocks.size_bytes}",
            hint=PUT_BACK,
        )
    _check_features(blocks.name, superblock, writable=writable)
    if not (allow_unclean and not writable):
        _check_state(blocks, superblock, allow_unreplayed=allow_unreplayed)
    return superblock


def _check_features(name: str, superblock: Superblock, *, writable: bool) -> None:
    if superblock.incompat & _JOURNAL_DEV:
        raise FilesystemError(
            f"'{name}' is the journal of another ext4 filesystem (journal_dev), and has no files",
            hint="give that filesystem, once `tune2fs -O ^has_journal` has taken its journal from it",
        )
    if unknown := superblock.incompat & ~_KNOWN_INCOMPAT:
        raise FilesystemError(
            f"'{name}' uses ext4 features that are not supported: {_names(unknown, _INCOMPAT_NAMES)}",
            hint=signatures.MOUNT_HINT,
        )
    refused = superblock.ro_compat & ~_WRITABLE_RO_COMPAT & ~RO_COMPAT_ORPHAN_PRESENT
    if writable and refused:
        names = _names(refused, _RO_COMPAT_NAMES)
        raise FilesystemError(
            f"'{name}' can't be written: it uses ext4 features that are not kept up to date: {names}",
            hint=_without_features(name, refused),
        )


def _without_features(name: str, refused: int) -> str:
    """The commands that take features off a filesystem."""
    if refused & ~_REMOVABLE & ~_SHARED_BLOCKS:
        return signatures.MOUNT_HINT
    commands = []
    if refused & _SHARED_BLOCKS:
        commands.append(f"e2fsck -f -E unshare_blocks '{name}'")
    if removable := refused & _REMOVABLE:
        off = ",".join(f"^{feature}" for feature in _names(removable, _RO_COMPAT_NAMES).split(", "))
        commands.append(f"tune2fs -O {off} '{name}'")
    return ", then ".join(commands)


def _names(bits: int, names: dict[int, str]) -> str:
    single = [1 << i for i in range(32) if bits >> i & 1]
    return ", ".join(names.get(bit, f"{bit:#x}") for bit in single)


def mend_hint(blocks: Blocks, options: str = "-f") -> str:
    """The hint for a filesystem that has to be checked; e2fsck can't check a store, but the guest can."""
    if blocks.place is None:
        return "start the VM, whose system checks its root; or make it anew with --replace"
    return f"e2fsck {options} '{blocks.place}'"


def damaged(blocks: Blocks, what: str) -> FilesystemError:
    """The error for a damaged disk."""
    return FilesystemError(f"'{blocks.name}' is damaged: {what}", hint=mend_hint(blocks))


def _check_state(blocks: Blocks, superblock: Superblock, *, allow_unreplayed: bool) -> None:
    name = blocks.name
    if superblock.incompat & INCOMPAT_MMP:
        raise FilesystemError(
            f"'{name}' uses the ext4 feature mmp: another host may have it mounted",
            hint=f"tune2fs -O ^mmp '{blocks.place or name}'",
        )
    if superblock.has_errors:
        raise FilesystemError(f"'{name}' is marked as having errors", hint=mend_hint(blocks))
    if allow_unreplayed:
        return
    if superblock.incompat & INCOMPAT_RECOVER:
        raise FilesystemError(f"'{name}' has an unreplayed journal", hint=mend_hint(blocks, "-p"))
    if not superblock.state & _VALID:
        raise FilesystemError(f"'{name}' is marked as having errors", hint=mend_hint(blocks))
    if not superblock.is_clean:
        raise FilesystemError(f"'{name}' has orphaned inodes to be cleared", hint=mend_hint(blocks, "-p"))


def has_magic(head: bytes) -> bool:
    """Whether a disk that begins so has the magic number of a superblock."""
    return (
        len(head) >= OFFSET + SIZE and int.from_bytes(head[OFFSET + 0x38 : OFFSET + 0x3A], "little") == _MAGIC
    )


def _other_kind(blocks: Blocks) -> FilesystemError:
    """The error of a disk without ext4 magic: what it is, as far as its beginning tells, and the way out."""
    head = blocks.read(0, min(blocks.size_bytes, signatures.HEAD_BYTES))
    start = f"'{blocks.name}' holds no ext4 filesystem"
    tail_bytes = min(blocks.size_bytes, signatures.TAIL_BYTES)
    tail = blocks.read(blocks.size_bytes - tail_bytes, tail_bytes)
    if found := signatures.identify(head, tail):
        return FilesystemError(f"{start}: it looks like {found.what}", hint=found.way_out)
    if not head:
        return FilesystemError(f"{start}: it is empty", hint=_NO_EXT4_HINT)
    if not any(head):
        return FilesystemError(f"{start}: it begins with zeros", hint=_NO_EXT4_HINT)
    hint = _NO_EXT4_HINT if blocks.place else mend_hint(blocks)  # e2fsck would make one of what is none
    return FilesystemError(f"{start}: its magic number is missing", hint=hint)


def has_room_for_groups(raw: bytes, size_bytes: int) -> bool:
    """Whether a filesystem can grow to a size without moving anything that lies in it.

    Growing needs group descriptors. Nothing has to make way for them where mke2fs has reserved blocks
    (resize_inode), or where each group of groups has its own (meta_bg). Source: `blocks_to_move` in
    resize/resize2fs.c of e2fsprogs.

    Args:
        raw: the superblock, 1024 bytes.
        size_bytes: the new size.
    """
    found = parse_superblock(raw)
    if found is None or not (found.incompat & _META_BG or found.compat & _RESIZE_INODE):
        return False
    (reserved,) = struct.unpack_from("<H", raw, 0xCE)
    missing = _descriptor_blocks(raw, found, size_bytes) - _descriptor_blocks(raw, found, found.size_bytes)
    return bool(found.incompat & _META_BG) or missing <= int(reserved)


def _descriptor_blocks(raw: bytes, found: Superblock, size_bytes: int) -> int:
    """How many blocks the group descriptors of a filesystem of that size take."""
    (per_group,), (descriptor_bytes,) = (
        struct.unpack_from("<I", raw, 0x20),
        struct.unpack_from("<H", raw, 0xFE),
    )
    groups = -(-(size_bytes // found.block_bytes - found.first_data_block) // int(per_group))
    return -(-groups * (int(descriptor_bytes) if found.incompat & _64BIT else 32) // found.block_bytes)
