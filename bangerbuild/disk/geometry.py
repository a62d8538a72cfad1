"""Validate the numbers in a superblock and in group descriptors before libext2fs uses them.

libext2fs allocates memory by some of these numbers and does not check that the others fit: with a wrong first
data block, `ext2fs_read_bitmaps` writes beyond its buffers. A guest can write its own superblock. So the
rules of e2fsck (`check_super_block` in `e2fsck/super.c`) are applied here first, and groups must be at least
as large as those of mke2fs, so that a small disk can't have millions of groups.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LEAST_GROUP_BLOCKS = 256
"""The smallest group that mke2fs makes."""
_FIELDS = {
    "inodes_count": ("<I", 0x00),
    "first_data_block": ("<I", 0x14),
    "log_block_size": ("<I", 0x18),
    "log_cluster_size": ("<I", 0x1C),
    "blocks_per_group": ("<I", 0x20),
    "clusters_per_group": ("<I", 0x24),
    "inodes_per_group": ("<I", 0x28),
    "rev_level": ("<I", 0x4C),
    "first_ino": ("<I", 0x54),
    "inode_size": ("<H", 0x58),
    "feature_incompat": ("<I", 0x60),
    "feature_ro_compat": ("<I", 0x64),
    "reserved_gdt_blocks": ("<H", 0xCE),
    "desc_size": ("<H", 0xFE),
    "want_extra_isize": ("<H", 0x15E),
}
"""The names are those of `struct ext2_super_block` and debugfs."""
_REVISION_0 = {"first_ino": 11, "inode_size": 128}
_64BIT = 0x80
_BIGALLOC = 0x200


def _numbers(superblock: bytes) -> dict[str, int]:
    numbers = {name: struct.unpack_from(form, superblock, at)[0] for name, (form, at) in _FIELDS.items()}
    return numbers if numbers["rev_level"] else numbers | _REVISION_0


def superblock_problem(superblock: bytes) -> str | None:
    """The first invalid number in a superblock, such as `first_data_block 7`; None if all are valid.

    Args:
        superblock: its 1024 bytes.
    """
    numbers = _numbers(superblock)
    wrong = next((name for name, fits in _rules(numbers) if not fits), None)
    return wrong and f"{wrong} {numbers[wrong]}"


def _rules(numbers: Mapping[str, int]) -> Iterator[tuple[str, bool]]:
    """Each rule: a field, and whether it is valid. A rule relies on those before it."""
    yield "log_block_size", numbers["log_block_size"] <= 6
    block_bytes, inode_bytes = 1024 << numbers["log_block_size"], numbers["inode_size"]
    yield "inode_size", 128 <= inode_bytes <= block_bytes and inode_bytes & (inode_bytes - 1) == 0
    log_ratio = numbers["log_cluster_size"] - numbers["log_block_size"]
    if not numbers["feature_ro_compat"] & _BIGALLOC:
        log_ratio = 0
    yield "log_cluster_size", 0 <= log_ratio <= 19
    first = 1 if numbers["log_block_size"] == 0 and log_ratio == 0 else 0
    yield "first_data_block", numbers["first_data_block"] == first
    clusters, blocks = numbers["clusters_per_group"], numbers["blocks_per_group"]
    yield "clusters_per_group", clusters % 8 == 0 and 0 < clusters <= 8 * block_bytes
    yield "blocks_per_group", blocks == clusters << log_ratio and blocks >= LEAST_GROUP_BLOCKS
    inodes = numbers["inodes_per_group"]
    most_inodes = min(8 * block_bytes, block_bytes // inode_bytes * (blocks - 4))
    yield "inodes_per_group", inodes % 8 == 0 and 8 <= inodes <= most_inodes
    yield "first_ino", 11 <= numbers["first_ino"] <= numbers["inodes_count"]
    yield "reserved_gdt_blocks", numbers["reserved_gdt_blocks"] <= block_bytes // 4
    yield "want_extra_isize", numbers["want_extra_isize"] <= inode_bytes - 128


def group_problem(superblock: bytes, descriptors: bytes, blocks: int) -> str | None:
    """The first group whose bitmaps or inode table are at an invalid place; None if there is none.

    Args:
        superblock: its 1024 bytes, without a `superblock_problem`.
        descriptors: of all groups, one after the other.
        blocks: the number of blocks of the filesystem.
    """
    numbers = _numbers(superblock)
    first = numbers["first_data_block"]
    groups = range(-(-(blocks - first) // numbers["blocks_per_group"]))
    table_bytes = numbers["inodes_per_group"] * numbers["inode_size"]
    table_blocks = -(-table_bytes // (1024 << numbers["log_block_size"]))
    for group, places in zip(groups, _places(numbers, descriptors), strict=False):
        for what, place in zip(("block bitmap", "inode bitmap", "inode table"), places, strict=True):
            length = table_blocks if what == "inode table" else 1
            if not first < place <= blocks - length:
                return f"group {group} has its {what} at block {place} of {blocks}"
    return None


def count_problem(superblock: bytes, descriptors: bytes, kind: str, bitmap: bytes, last: int) -> str | None:
    """The first group whose bitmap and descriptor differ in the number of free items; None if there is none.

    The kernel treats this as damage too (`ext4_mb_generate_buddy`): trusting either of them could overwrite
    data that is in use.

    Args:
        superblock: its 1024 bytes, without a `superblock_problem`.
        descriptors: of all groups, without a `group_problem`.
        kind: `block` or `inode`.
        bitmap: the bits of all groups, one group after the other, low bits first.
        last: the number of bits of the last group.
    """
    numbers = _numbers(superblock)
    group_bits = numbers[f"{kind}s_per_group"]
    size = group_bits // 8
    groups = len(bitmap) // size
    for group, counts in zip(range(groups), _free_counts(numbers, descriptors), strict=False):
        bits = int.from_bytes(bitmap[group * size : (group + 1) * size], "little")
        there = last if group == groups - 1 else group_bits
        free = there - (bits & (1 << there) - 1).bit_count()
        if free != counts[kind]:
            return f"group {group} has {free} free {kind}s and says it has {counts[kind]}"
    return None


def _free_counts(numbers: Mapping[str, int], descriptors: bytes) -> Iterator[dict[str, int]]:
    if not numbers["feature_incompat"] & _64BIT:
        for blocks, inodes in struct.iter_unpack("<12x2H16x", descriptors):
            yield {"block": blocks, "inode": inodes}
        return
    form = struct.Struct(f"<12x2H28x2H{numbers['desc_size'] - 48}x")
    for low_blocks, low_inodes, blocks, inodes in form.iter_unpack(descriptors):
        yield {"block": low_blocks | blocks << 16, "inode": low_inodes | inodes << 16}


def _places(numbers: Mapping[str, int], descriptors: bytes) -> Iterator[tuple[int, int, int]]:
    """The blocks of each group's block bitmap, inode bitmap and inode table (`struct ext4_group_desc`)."""
    if not numbers["feature_incompat"] & _64BIT:
        yield from struct.iter_unpack("<3I20x", descriptors)
        return
    form = struct.Struct(f"<3I20x3I{numbers['desc_size'] - 44}x")
    for low_blocks, low_inodes, low_table, blocks, inodes, table in form.iter_unpack(descriptors):
        yield low_blocks | blocks << 32, low_inodes | inodes << 32, low_table | table << 32
