"""How an inode's blocks are found: as e2fsprogs find them, and in no time where a guest has tied a knot."""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.inode import EXTENTS_FL, INLINE_DATA_FL, Inode
from bangerbuild.disk.mapping import TREE, Run, runs_of
from bangerbuild.disk.superblock import Superblock, read_superblock
from bangerbuild.errors import FilesystemError
from tests.disk.ext4_tools import debugfs
from tests.disk.memory import Memory
from tests.hostile.damage import make_target

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SIZE = 1024
BLOCKS = 4096
ROOM = SIZE // 12 - 1
DISK = Superblock(
    blocks=BLOCKS,
    block_bytes=SIZE,
    inode_bytes=256,
    state=1,
    compat=0,
    incompat=0x40,
    ro_compat=0,
    last_orphan=0,
    free_blocks=0,
    free_inodes=0,
    inodes=0,
    first_data_block=1,
    label="",
    uuid="11111111-2222-3333-4444-555555555555",
)

Leaf = tuple[int, int, int]
"""Logical block, count, first block."""
Index = tuple[int, int]
"""Logical block, block of the node below."""


def leaf(*entries: Leaf, room: int = ROOM) -> bytes:
    """A node of extents, from the format's description alone."""
    head = struct.pack("<4HI", 0xF30A, len(entries), room, 0, 0)
    return head + b"".join(struct.pack("<IHHI", at, count, 0, first) for at, count, first in entries)


def index(depth: int, *entries: Index, room: int = ROOM) -> bytes:
    """A node of nodes."""
    head = struct.pack("<4HI", 0xF30A, len(entries), room, depth, 0)
    return head + b"".join(struct.pack("<2IHH", at, below, 0, 0) for at, below in entries)


def runs(root: bytes, blocks: dict[int, bytes] | None = None, flags: int = EXTENTS_FL) -> list[Run]:
    """What an inode with this block area maps, on a disk with these blocks."""
    memory = Memory(bytes(BLOCKS * SIZE))
    for number, data in (blocks or {}).items():
        memory.write(number * SIZE, data)
    inode = Inode(bytearray(256))
    inode.flags, inode.block_area = flags, root
    found = list(runs_of(memory, DISK, inode))
    assert memory.reads <= BLOCKS
    return found


def test_extents_in_the_inode_are_its_runs() -> None:
    root = leaf((0, 3, 100), (5, 2, 200), (9, 32768 + 4, 300), room=4)
    assert runs(root) == [Run(0, 100, 3), Run(5, 200, 2), Run(9, 300, 4, is_written=False)]


def test_extents_in_a_tree_come_with_the_blocks_of_the_tree() -> None:
    root = index(2, (0, 50), room=4)
    found = runs(root, {50: index(1, (0, 51), (7, 52)), 51: leaf((0, 3, 100)), 52: leaf((8, 1, 90))})
    assert found == [
        *(Run(TREE, 50, 1), Run(TREE, 51, 1), Run(0, 100, 3)),
        *(Run(TREE, 52, 1), Run(8, 90, 1)),
    ]


def test_an_inode_that_holds_its_data_maps_nothing() -> None:
    assert runs(b"text", flags=INLINE_DATA_FL | EXTENTS_FL) == []


KNOTS: dict[str, tuple[bytes, dict[int, bytes]]] = {
    "no magic": (bytes(60), {}),
    "more entries than room": (leaf(*[(i, 1, 100 + i) for i in range(4)], room=3), {}),
    "more room than there is": (leaf((0, 1, 100), room=5), {}),
    "too deep": (index(6, (0, 50), room=4), {}),
    "extents that go back": (leaf((5, 2, 100), (0, 2, 200), room=4), {}),
    "extents that overlap": (leaf((0, 3, 100), (2, 3, 200), room=4), {}),
    "an extent of nothing": (leaf((0, 0, 100), room=4), {}),
    "an extent before the disk": (leaf((0, 1, 0), room=4), {}),
    "an extent beyond the disk": (leaf((0, 2, BLOCKS - 1), room=4), {}),
    "an extent beyond all files": (leaf(((1 << 32) - 1, 2, 100), room=4), {}),
    "more blocks than the disk has": (leaf((0, 3000, 100), (3000, 3000, 100), room=4), {}),
    "a node beyond the disk": (index(1, (0, BLOCKS), room=4), {}),
    "a node that is itself": (index(1, (0, 50), room=4), {50: index(1, (0, 50))}),
    "a node of the wrong depth": (index(2, (0, 50), room=4), {50: leaf((0, 1, 100))}),
    "an empty node": (index(1, (0, 50), room=4), {50: leaf()}),
    "a node twice": (index(1, (0, 50), (1, 50), room=4), {50: leaf((0, 1, 100))}),
    "nodes that go back": (index(1, (9, 50), (0, 51), room=4), {50: leaf((9, 1, 9)), 51: leaf((0, 1, 8))}),
    "an extent in the next node's place": (
        index(1, (0, 50), (2, 51), room=4),
        {50: leaf((0, 4, 100)), 51: leaf((2, 1, 90))},
    ),
    "a node that is all nodes below it": (
        index(5, *[(i, 50) for i in range(4)], room=4),
        {50: index(4, *[(i, 50) for i in range(ROOM)])},
    ),
    "one leaf below a million nodes": (
        index(5, *[(i << 20, 50) for i in range(4)], room=4),
        {
            50: index(4, *[(i, 51) for i in range(ROOM)]),
            51: index(3, *[(i, 52) for i in range(ROOM)]),
            52: index(2, *[(i, 53) for i in range(ROOM)]),
            53: index(1, *[(i, 54) for i in range(ROOM)]),
            54: leaf((0, 1, 100)),
        },
    ),
}


@pytest.mark.parametrize("knot", KNOTS)
def test_a_tree_that_leads_where_it_cannot_is_damage(knot: str) -> None:
    with pytest.raises(FilesystemError, match="'disk' is damaged: an extent tree leads where it can't"):
        runs(*KNOTS[knot])


def block_map(numbers: Sequence[int]) -> bytes:
    return struct.pack("<15I", *numbers, *[0] * (15 - len(numbers)))


def pointers(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}I", *numbers)


def test_a_block_map_gives_its_runs_with_the_blocks_of_the_map() -> None:
    root = block_map([100, 101, 0, 103, *[0] * 8, 50, 60])
    below = {50: pointers(200, 201, 0, 210), 60: pointers(0, 61), 61: pointers(0, 300)}
    assert runs(root, below, flags=0) == [
        *(Run(0, 100, 2), Run(3, 103, 1)),
        *(Run(TREE, 50, 1), Run(12, 200, 2), Run(15, 210, 1)),
        *(Run(TREE, 60, 1), Run(TREE, 61, 1), Run(12 + 256 + 256 + 1, 300, 1)),
    ]


MAP_KNOTS: dict[str, tuple[bytes, dict[int, bytes]]] = {
    "a block beyond the disk": (block_map([BLOCKS]), {}),
    "an indirect block beyond the disk": (block_map([0] * 12 + [BLOCKS]), {}),
    "a block of blocks that is itself": (block_map([0] * 14 + [50]), {50: pointers(*[50] * 256)}),
    "a block of blocks twice": (
        block_map([0] * 13 + [50]),
        {50: pointers(51, 51), 51: pointers(100)},
    ),
    "more blocks than the disk has": (
        block_map([0] * 13 + [50]),
        {50: pointers(*range(1000, 1256)), **{1000 + i: pointers(*[100] * 256) for i in range(256)}},
    ),
}


@pytest.mark.parametrize("knot", MAP_KNOTS)
def test_a_map_that_leads_where_it_cannot_is_damage(knot: str) -> None:
    with pytest.raises(FilesystemError, match="'disk' is damaged: a block map leads where it can't"):
        runs(*MAP_KNOTS[knot], flags=0)


@pytest.mark.parametrize("options", [(), ("-t", "ext2", "-b", "1024"), ("-O", "bigalloc", "-C", "16384")])
@pytest.mark.parametrize("path", ["/etc/hosts", "/etc", "/lost+found"])
def test_the_blocks_are_those_that_debugfs_finds(options: tuple[str, ...], path: str, tmp_path: Path) -> None:
    disk = make_target(tmp_path / "target.ext4", *options)
    told = debugfs(disk, f"blocks {path}").decode().split()
    number = int(re.findall(r"Inode: (\d+)", debugfs(disk, f"stat {path}").decode())[0])
    with RawFile(disk) as blocks:
        superblock = read_superblock(blocks, writable=False)
        raw = re.findall(r"[0-9a-f]{2}", inode_dump(disk, number))
        inode = Inode(bytearray(int(byte, 16) for byte in raw))
        found = [run.first + i for run in runs_of(blocks, superblock, inode) for i in range(run.blocks)]
    assert sorted(found) == sorted(map(int, told))


def inode_dump(disk: Path, number: int) -> str:
    """An inode's bytes in hex, as debugfs prints them."""
    lines = debugfs(disk, f"inode_dump <{number}>").decode().splitlines()
    return " ".join(" ".join(line.split()[1:9]) for line in lines)
