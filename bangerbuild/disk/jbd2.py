"""Parse the journal of ext3 and ext4 (jbd2).

The journal is a file of blocks of the filesystem's block size. Block 0 is its superblock; the others are a
ring, in which the log begins at `start`. All numbers are big-endian (source: `include/linux/jbd2.h`,
`fs/jbd2/recovery.c`):

    superblock | descriptor | data | data | … | descriptor | data | … | revoke | commit | descriptor | …
                 └───────────────────────── transaction n ─────────────────────────┘   └─ n + 1 ─ …

    header      u32 magic, u32 type, u32 sequence: the start of every block except data
    superblock  header, u32 block size, blocks, first block of the ring, sequence and start of the log
                0x20 u32 error, u32 compat, incompat and ro_compat features; 0x30 16 bytes UUID
                0x50 u8 checksum type; 0x54 u32 fast-commit blocks; 0xFC u32 checksum of the 1024 bytes
    descriptor  header, a tag for each data block that follows, at the end u32 checksum (v2, v3)
    tag, v3     u32 block, u32 flags, u32 upper half of the block, u32 checksum of sequence and data
    tag, else   u32 block, u16 checksum (v2), u16 flags, u32 upper half (64bit only), 2 unused bytes (v2)
                either is followed by 16 bytes UUID unless flagged SAME_UUID
    revoke      header, u32 bytes in use, blocks of u32 or (64bit) u64, at the end u32 checksum (v2, v3)
    commit      header, u8 type and u8 size of a checksum, 0x10 u32 checksum (v1, v2, v3), 0x30 u64 seconds

A transaction without a commit block does not count. A revoked block is not replayed from this transaction or
an older one. A data block that itself begins with the magic is stored with zeros there and flagged ESCAPE.
With fast commits, the ring ends before the file does; after it are blocks of another format, which is
little-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import NamedTuple

from bangerbuild.disk.libext2fs import crc32_be, crc32c
from bangerbuild.errors import FilesystemError, JournalError

MAGIC_BYTES = b"\xc0\x3b\x39\x98"
DESCRIPTOR = 1
COMMIT = 2
REVOKE = 5
SUPERBLOCK_BYTES = 1024

_SUPERBLOCK_V1 = 3
_SUPERBLOCK_V2 = 4
_CHECKSUM_V1 = 0x1
_64BIT = 0x2
_ASYNC_COMMIT = 0x4
_CHECKSUM_V2 = 0x8
_CHECKSUM_V3 = 0x10
_FAST_COMMIT = 0x20
_KNOWN_INCOMPAT = 0x3F
_CRC32C = 4
_FAST_COMMIT_BLOCKS = 256
"""The number of fast-commit blocks if the superblock does not state it."""
_FAST_COMMIT_HEAD = 9

_ESCAPE = 1
_SAME_UUID = 2
_LAST_TAG = 8

_HEADER = struct.Struct(">4sII")
_FIELDS = struct.Struct(">4sI4x5I")
_FEATURES = struct.Struct(">4I")
_TAG = struct.Struct(">IHH")
_TAG_V3 = struct.Struct(">4I")
_U32 = struct.Struct(">I")


@dataclass(frozen=True)
class Journal:
    """The fields of a journal's superblock: its format, and where its log begins."""

    block_bytes: int
    blocks: int
    first: int
    """The first block of the ring."""
    end: int
    """The block after the last one of the ring."""
    start: int
    """The block where the log begins; 0 if there is nothing to replay."""
    sequence: int
    """The number of the first transaction of the log."""
    error: int
    """Not 0 if the kernel has found an error in the filesystem."""
    compat: int
    incompat: int
    seed: int
    """The start value of checksums v2 and v3."""

    @property
    def has_checksums(self) -> bool:
        """Whether each block has a checksum (v2, v3)."""
        return bool(self.incompat & (_CHECKSUM_V2 | _CHECKSUM_V3))

    @property
    def has_transaction_checksums(self) -> bool:
        """Whether a commit block has a checksum of all other blocks (v1)."""
        return bool(self.compat & _CHECKSUM_V1)

    @property
    def has_async_commit(self) -> bool:
        """Whether a commit block may reach the disk before the blocks that it commits."""
        return bool(self.incompat & _ASYNC_COMMIT)

    @property
    def fast_commits(self) -> int | None:
        """The first block for fast commits; None if the journal has none."""
        first = self.end + 1
        return first if self.incompat & _FAST_COMMIT and first < self.blocks else None

    @property
    def used_bytes(self) -> int:
        """The size of a descriptor or revoke block without its checksum."""
        return self.block_bytes - (4 if self.has_checksums else 0)


def parse_superblock(raw: bytes, name: str) -> Journal:
    """Parse the superblock in a journal's first 1024 bytes.

    Raises:
        FilesystemError: it is missing or damaged, or has unknown features.
    """
    magic, kind, block_bytes, blocks, first, sequence, start = _FIELDS.unpack_from(raw)
    if magic != MAGIC_BYTES or kind not in {_SUPERBLOCK_V1, _SUPERBLOCK_V2}:
        raise damaged(name, "it has no superblock")
    error, compat, incompat, ro_compat = _FEATURES.unpack_from(raw, 0x20)
    if kind == _SUPERBLOCK_V1:
        compat = incompat = ro_compat = 0
    if incompat & ~_KNOWN_INCOMPAT or ro_compat:
        raise FilesystemError(
            f"the journal of '{name}' uses features that are not supported: "
            f"incompat {incompat:#x}, ro_compat {ro_compat:#x}"
        )
    _check_checksum(raw, compat, incompat, name)
    end = blocks - (_fast_commit_blocks(raw) if incompat & _FAST_COMMIT else 0)
    if not 0 < first < end or (start and not first <= start < end):
        raise damaged(name, f"its log lies at block {start} of {first} to {end}")
    return Journal(
        block_bytes=block_bytes,
        blocks=blocks,
        first=first,
        end=end,
        start=start,
        sequence=sequence,
        error=error,
        compat=compat,
        incompat=incompat,
        seed=crc32c(0xFFFFFFFF, raw[0x30:0x40]),
    )


def _fast_commit_blocks(raw: bytes) -> int:
    number: int = _U32.unpack_from(raw, 0x54)[0]
    return number or _FAST_COMMIT_BLOCKS


def _check_checksum(raw: bytes, compat: int, incompat: int, name: str) -> None:
    kinds = (compat & _CHECKSUM_V1, incompat & _CHECKSUM_V2, incompat & _CHECKSUM_V3)
    if sum(map(bool, kinds)) > 1:
        raise damaged(name, "it has checksums of several kinds")
    if not incompat & (_CHECKSUM_V2 | _CHECKSUM_V3):
        return
    (checksum,) = _U32.unpack_from(raw, 0xFC)
    bare = raw[:0xFC] + bytes(4) + raw[0x100:SUPERBLOCK_BYTES]
    if raw[0x50] != _CRC32C or checksum != crc32c(0xFFFFFFFF, bare):
        raise damaged(name, "the checksum of its superblock is wrong")


def damaged(name: str, what: str) -> JournalError:
    """The error for a damaged journal."""
    return JournalError(f"the journal of '{name}' is damaged: {what}", hint=f"e2fsck -f '{name}'")


def kind_of(block: bytes, sequence: int) -> int:
    """The type of a block of the log; 0 if it does not belong to this transaction."""
    magic, kind, found = _HEADER.unpack_from(block)
    return int(kind) if magic == MAGIC_BYTES and found == sequence else 0


def following(sequence: int) -> int:
    """The number of the next transaction."""
    return sequence + 1 & 0xFFFFFFFF


class Tag(NamedTuple):
    """An entry of a descriptor, for one data block."""

    block: int
    """The filesystem's block that the data block is a copy of."""
    is_escaped: bool
    checksum: int


def parse_tags(journal: Journal, block: bytes) -> list[Tag]:
    """The tags in a descriptor block."""
    tags = []
    tag_bytes = _tag_bytes(journal)
    at, is_last = _HEADER.size, False
    while not is_last and at + tag_bytes <= journal.used_bytes:
        if journal.incompat & _CHECKSUM_V3:
            number, flags, high, checksum = _TAG_V3.unpack_from(block, at)
        else:
            number, checksum, flags = _TAG.unpack_from(block, at)
            (high,) = _U32.unpack_from(block, at + _TAG.size) if journal.incompat & _64BIT else (0,)
        if journal.incompat & _64BIT:
            number |= high << 32
        tags.append(Tag(number, bool(flags & _ESCAPE), checksum))
        at += tag_bytes if flags & _SAME_UUID else tag_bytes + 16
        is_last = bool(flags & _LAST_TAG)
    return tags


def _tag_bytes(journal: Journal) -> int:
    if journal.incompat & _CHECKSUM_V3:
        return _TAG_V3.size
    upper_half = 4 if journal.incompat & _64BIT else 0
    unused = 2 if journal.incompat & _CHECKSUM_V2 else 0
    return _TAG.size + upper_half + unused


def parse_revoked(journal: Journal, block: bytes, name: str) -> tuple[int, ...]:
    """The block numbers in a revoke block.

    Raises:
        FilesystemError: it claims more numbers than fit.
    """
    start = _HEADER.size + _U32.size
    (used,) = _U32.unpack_from(block, _HEADER.size)
    if used > journal.used_bytes:
        raise damaged(name, f"a revoke block of {journal.block_bytes} bytes has {used} in use")
    form = "Q" if journal.incompat & _64BIT else "I"
    count = max(0, used - start) // struct.calcsize(f">{form}")
    return struct.unpack_from(f">{count}{form}", block, start)


def is_sound(journal: Journal, block: bytes) -> bool:
    """Whether the checksum at the end of a descriptor or revoke block is right or absent."""
    if not journal.has_checksums:
        return True
    (checksum,) = _U32.unpack_from(block, journal.used_bytes)
    return bool(checksum == crc32c(journal.seed, block[: journal.used_bytes] + bytes(4)))


def is_commit_sound(journal: Journal, block: bytes, transaction_checksum: int) -> bool:
    """Whether the checksum in a commit block is right or absent."""
    kind, size, checksum = struct.unpack_from(">BB2xI", block, 0x0C)
    if journal.has_checksums:
        return bool(checksum == crc32c(journal.seed, block[:0x10] + bytes(4) + block[0x14:]))
    if journal.has_transaction_checksums:
        return (kind, size, checksum) in {(1, 4, transaction_checksum), (0, 0, 0)}
    return True


def commit_time(block: bytes) -> int:
    """The time of a commit, in seconds since 1970."""
    seconds: int = struct.unpack_from(">Q", block, 0x30)[0]
    return seconds


def is_data_sound(journal: Journal, tag: Tag, sequence: int, data: bytes) -> bool:
    """Whether the checksum in a tag is that of its data block, or is absent."""
    if not journal.has_checksums:
        return True
    checksum = crc32c(crc32c(journal.seed, _U32.pack(sequence)), data)
    return tag.checksum == (checksum if journal.incompat & _CHECKSUM_V3 else checksum & 0xFFFF)


def add_to_checksum(journal: Journal, checksum: int, block: bytes) -> int:
    """Update a transaction's checksum with one more block; the start value has all bits set."""
    return crc32_be(checksum, block) if journal.has_transaction_checksums else checksum


def has_fast_commit(block: bytes, sequence: int) -> bool:
    """Whether a journal's first fast-commit block belongs to the transaction of this sequence."""
    tag, _, _, found = struct.unpack_from("<HHII", block)
    return bool(tag == _FAST_COMMIT_HEAD and found == sequence)
