"""Damage done to an ext4 where it hurts: what lies where e2fsprogs say, and bytes that were never there."""

from __future__ import annotations

import re
import struct
import subprocess
from typing import TYPE_CHECKING, NamedTuple

from tests.disk.ext4_tools import assert_clean, debugfs, make_ext4
from tests.hostile.roots import debugfs_write, make_tree
from tests.need import need

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence
    from pathlib import Path

SUPERBLOCK = 1024
NAMES = 150
PUNCHED = (1, 3, 5, 7, 9, 11, 13)
"""Blocks taken out of a file, so that its extents need a tree."""


class Region(NamedTuple):
    """A part of a disk, in bytes."""

    offset: int
    length: int


def make_target(path: Path, *options: str, size: str = "16M") -> Path:
    """A small Debian in which all that can be damaged is there, and in the way of a patch.

    /etc is a directory with an index, /etc/hosts has a tree of extents, or a block map, and /etc/hostname
    attributes in a block of their own.
    """
    tree = path.with_suffix(".tree")
    make_tree(tree)
    for number in range(NAMES):
        (tree / "etc" / f"{'n' * 40}{number}").touch()
    (tree / "etc/hosts").write_bytes(bytes(range(1, 256)) * 240)
    make_ext4(path, "-d", str(tree), *options, size=size)
    subprocess.run([need("rm", "coreutils"), "-rf", tree], check=True)
    debugfs_write(
        path,
        f"ea_set /etc/hostname user.long {'v' * 600}",
        "ea_set /etc/hostname user.short v",
        *(f"punch /etc/hosts {block} {block}" for block in PUNCHED),
    )
    subprocess.run([need("e2fsck"), "-fyD", path], check=False, capture_output=True)
    assert_clean(path)
    return path


def block_bytes(path: Path) -> int:
    """A filesystem's block size."""
    with path.open("rb") as file:
        file.seek(SUPERBLOCK + 0x18)
        return 1024 << int.from_bytes(file.read(4), "little")


def regions(path: Path) -> dict[str, Region]:
    """Where the parts of a target lie."""
    size = block_bytes(path)
    said = subprocess.run([need("dumpe2fs"), path], capture_output=True, text=True, check=True).stdout

    def group(what: str) -> int:
        return int(_found(rf"{what} at (\d+)", said)) * size

    hosts, hostname = debugfs(path, "stat /etc/hosts").decode(), debugfs(path, "stat /etc/hostname").decode()
    etc = debugfs(path, "blocks /etc").decode().split()
    found = {
        "superblock": Region(SUPERBLOCK, 0x180),
        "descriptors": Region(group("Group descriptors"), 64),
        "block bitmap": Region(group("Block bitmap"), 256),
        "inode bitmap": Region(group("Inode bitmap"), 64),
        "inode of a directory": _inode(path, "/etc"),
        "inode of a file": _inode(path, "/etc/hosts"),
        "index of a directory": Region(int(etc[0]) * size, 128),
        "names of a directory": Region(int(etc[-1]) * size, size),
        "attributes": Region(int(_found(r"File ACL: (\d+)", hostname)) * size, size),
    }
    mapped = re.search(r"\((?:ETB0|IND)\):(\d+)", hosts)
    if mapped:
        found["map of a file"] = Region(int(mapped[1]) * size, 256)
    if journal := debugfs(path, "blocks <8>").split():
        found["journal"] = Region(int(journal[0]) * size, 128)
    return found


def _inode(path: Path, name: str) -> Region:
    said = debugfs(path, f"imap {name}").decode()
    size = block_bytes(path)
    block, offset = (
        int(_found(r"located at block (\d+)", said)),
        int(_found(r"offset 0x([0-9a-f]+)", said), 16),
    )
    return Region(block * size + offset, 128)


def _found(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    assert found is not None, f"no {pattern} in {text}"
    return found[1]


HOWS = ("zeros", "ones", "flipped", "numbers", "mixed up")


def damaged(old: bytes, how: str, chance: random.Random) -> bytes:
    """These bytes after something bad."""
    if how == "zeros":
        return bytes(len(old))
    if how == "ones":
        return b"\xff" * len(old)
    new = bytearray(old)
    for _ in range(chance.choice((1, 2, 4, 12))):
        _change(new, how, chance)
    return bytes(new)


def _change(data: bytearray, how: str, chance: random.Random) -> None:
    if how == "flipped":
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    elif how == "numbers":
        form, numbers = chance.choice(_NUMBERS)
        size = struct.calcsize(form)
        struct.pack_into(form, data, chance.randrange(len(data) // size) * size, chance.choice(numbers))
    else:
        length = chance.choice((4, 8, 12, 16, 32))
        here, there = (chance.randrange(len(data) - length) & ~3 for _ in range(2))
        data[here : here + length] = data[there : there + length]


_NUMBERS: Sequence[tuple[str, Sequence[int]]] = (
    ("<H", (0, 1, 2, 7, 8, 12, 255, 0x7FFF, 0x8000, 0xFFFF)),
    ("<I", (0, 1, 2, 3, 11, 100, 2047, 2048, 4095, 4096, 16384, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)),
)
