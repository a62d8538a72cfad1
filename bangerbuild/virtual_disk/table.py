"""The partition table of a virtual disk: GPT, or MBR with its logical partitions, as partx reads it.

partx reads a file. Of a disk that is none, it gets a sparse file of the disk's size with the sectors that a
table can be in (UEFI specification 2.10, chapter 5; for MBR, the chain of extended boot records):

    sector 0            MBR
    sector 1 and on     GPT header and entries, 128 of 128 bytes in most
    elsewhere           entries, where the header says so; extended boot records
    the last sectors    the second copy of the GPT, which counts if the first is damaged
"""

from __future__ import annotations

import os
import re
import struct
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from bangerbuild.disk.superblock import PUT_BACK
from bangerbuild.errors import FilesystemError, SourceError
from bangerbuild.host.process import run
from bangerbuild.virtual_disk import tools
from bangerbuild.virtual_disk.disks import SECTOR_BYTES, new_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bangerbuild.disk.blocks import Blocks

SECTOR_SIZES = (512, 4096)
"""Of a table's numbers."""
EDGE_BYTES = 256 << 10
"""How much of a disk's beginning and end can hold a table; 128 entries and a header take 132 KiB at most."""
MOST_ENTRIES_BYTES = 1 << 20
MOST_PARTITIONS = 256
MOST_LOGICAL = 128
GPT_MAGIC = b"EFI PART"
EXTENDED = frozenset({0x05, 0x0F, 0x85})
PROTECTIVE = 0xEE
_BOOT_SECTORS = ((54, b"FAT"), (82, b"FAT32"), (3, b"NTFS"), (3, b"EXFAT"))
_ENTRY = 446
_PAIR = re.compile(r'([A-Z]+)="([^"]*)"')
_ESCAPE = re.compile(r"\\x([0-9a-f]{2})")
_NUMBER = re.compile(r"[0-9]{1,18}")


@dataclass(frozen=True)
class Partition:
    """One partition; for a disk without a table, all of it."""

    number: int
    """As the kernel counts; 0: the whole disk."""
    start: int
    """In bytes."""
    size_bytes: int
    type: str = ""
    """GPT: a UUID in lower case; MBR: `0x83`."""
    uuid: str = ""
    """What PARTUUID= calls it, in lower case."""
    name: str = ""
    """What PARTLABEL= calls it."""

    @property
    def end(self) -> int:
        """The byte after it."""
        return self.start + self.size_bytes

    @property
    def is_container(self) -> bool:
        """Whether it holds only further partitions."""
        return self.type.startswith("0x") and int(self.type, 16) in EXTENDED


def partitions(disk: Blocks, room: Path) -> tuple[Partition, ...]:
    """The partitions of a disk, by number; without a table the whole disk alone.

    Args:
        disk: to be read.
        room: a private directory.

    Raises:
        SourceError: its table is damaged, or says what can't be.
        FilesystemError: the disk can't be read.
        ToolError: partx is missing, or took too long.
    """
    sector_bytes = _sector_bytes(disk)
    if sector_bytes is None:
        return (Partition(0, 0, disk.size_bytes),)
    skeleton = room / "table"
    with new_file(skeleton, disk.size_bytes) as fd:
        for at, data in _table_sectors(disk, sector_bytes):
            os.pwrite(fd, data, at)
        said = run(tools.partitions(room, skeleton.name, sector_bytes))
    skeleton.unlink()
    found = _parsed(said.output) if said.code == 0 else ()
    if not found:
        raise SourceError(
            f"the partition table of '{disk.name}' is damaged or empty",
            hint="`sfdisk --list` and `sgdisk --verify` on a raw copy of the disk say more",
        )
    return _checked(found, disk)


def has_table(head: bytes) -> bool:
    """Whether a raw disk that begins so has a partition table, as far as its first bytes tell."""
    return any(head.startswith(GPT_MAGIC, size) for size in SECTOR_SIZES) or bool(_mbr_types(head))


def _mbr_types(head: bytes) -> tuple[int, ...]:
    """The types in an MBR; none if it is none: the boot sector of a FAT has the same last two bytes."""
    is_filesystem = any(head.startswith(magic, at) for at, magic in _BOOT_SECTORS)
    if head[510:512] != b"\x55\xaa" or is_filesystem:
        return ()
    entries = [head[at : at + 16] for at in range(_ENTRY, 510, 16)]
    if any(entry[0] not in {0, 0x80} for entry in entries):
        return ()
    return tuple(entry[4] for entry in entries if entry[4] and entry[12:16] != bytes(4))


def _sector_bytes(disk: Blocks) -> int | None:
    """The size of the sectors that a table counts in; None: there is no table.

    An MBR does not say it. What lies where its first partition begins does, if that is a filesystem.
    """
    head = _read(disk, 0, EDGE_BYTES)
    for size in SECTOR_SIZES:
        if head.startswith(GPT_MAGIC, size):
            return size
    types = _mbr_types(head)
    if PROTECTIVE in types:
        tails = {size: _read(disk, disk.size_bytes - size, 8) for size in SECTOR_SIZES}
        return next((size for size, tail in tails.items() if tail == GPT_MAGIC), SECTOR_BYTES)
    return _mbr_sector_bytes(disk, head) if types else None


def _mbr_sector_bytes(disk: Blocks, head: bytes) -> int:
    """4096 where that alone puts all partitions of an MBR on ext4 filesystems or inside of each other."""
    entries = [(head[at + 4], *struct.unpack_from("<I", head, at + 8)) for at in range(_ENTRY, 510, 16)]
    hits = {
        size: sum(_begins(disk, start * size, kind) for kind, start in entries if kind)
        for size in SECTOR_SIZES
    }
    return 4096 if hits[4096] > hits[512] else SECTOR_BYTES


def _begins(disk: Blocks, start: int, kind: int) -> bool:
    """Whether what a partition of this type begins with is there: a record of an extended one, or an ext4."""
    if kind in EXTENDED:
        return _read(disk, start + 510, 2) == b"\x55\xaa"
    return _read(disk, start + 1080, 2) == b"\x53\xef"


def _read(disk: Blocks, offset: int, length: int) -> bytes:
    """As much of a range as the disk has."""
    length = min(length, disk.size_bytes - offset)
    return disk.read(offset, length) if offset >= 0 and length > 0 else b""


def _table_sectors(disk: Blocks, sector_bytes: int) -> Iterator[tuple[int, bytes]]:
    head = _read(disk, 0, EDGE_BYTES)
    yield 0, head
    tail = max(0, disk.size_bytes - EDGE_BYTES)
    yield tail, _read(disk, tail, EDGE_BYTES)
    if head.startswith(GPT_MAGIC, sector_bytes):
        first, count, size = struct.unpack_from("<QII", head, sector_bytes + 72)
        at = first * sector_bytes
        if entries := _read(disk, at, min(count * size, MOST_ENTRIES_BYTES)):
            yield at, entries
    else:
        yield from _extended_records(disk, head, sector_bytes)


def _extended_records(disk: Blocks, head: bytes, sector_bytes: int) -> Iterator[tuple[int, bytes]]:
    """The chain of records, each with one logical partition and the place of the next."""
    for entry in range(_ENTRY, 510, 16):
        if head[entry + 4] not in EXTENDED:
            continue
        (first,) = struct.unpack_from("<I", head, entry + 8)
        at = first
        for _ in range(MOST_LOGICAL):
            record = _read(disk, at * sector_bytes, SECTOR_BYTES)
            if record[510:512] != b"\x55\xaa":
                break
            yield at * sector_bytes, record
            (following,) = struct.unpack_from("<I", record, _ENTRY + 16 + 8)
            if record[_ENTRY + 16 + 4] not in EXTENDED or not following:
                break
            at = first + following


def _parsed(output: str) -> tuple[Partition, ...]:
    lines = output.splitlines()[:MOST_PARTITIONS]
    found = (_partition(dict(_PAIR.findall(line))) for line in lines)
    return tuple(sorted((one for one in found if one), key=lambda one: one.number))


def _partition(fields: dict[str, str]) -> Partition | None:
    numbers = [fields.get(key, "") for key in ("NR", "START", "SECTORS")]
    if not all(map(_NUMBER.fullmatch, numbers)):
        return None
    number, start, sectors = map(int, numbers)
    return Partition(
        number,
        start * SECTOR_BYTES,
        sectors * SECTOR_BYTES,
        fields.get("TYPE", "").lower(),
        fields.get("UUID", "").lower(),
        _name(fields.get("NAME", "")),
    )


def _name(escaped: str) -> str:
    text = _ESCAPE.sub(lambda code: chr(int(code[1], 16)), escaped)
    with suppress(UnicodeError):
        return text.encode("latin-1").decode()
    return text


def _checked(found: tuple[Partition, ...], disk: Blocks) -> tuple[Partition, ...]:
    """The partitions, if none lies over another or beyond the disk's end."""
    plain = sorted((one for one in found if not one.is_container), key=lambda one: one.start)
    for one, other in pairwise(plain):
        if other.start < one.end:
            raise SourceError(
                f"the partition table of '{disk.name}' is damaged: partitions {one.number} and "
                f"{other.number} overlap"
            )
    return found


def check_end(partition: Partition, disk: Blocks) -> None:
    """Refuse a partition that reaches beyond the end of its disk.

    Raises:
        FilesystemError: it does.
    """
    if partition.end > disk.size_bytes:
        raise FilesystemError(
            f"'{disk.name}' is cut short: partition {partition.number} ends at byte {partition.end}, "
            f"the disk at {disk.size_bytes}",
            hint=PUT_BACK,
        )
