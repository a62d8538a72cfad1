"""Journals that were never replayed, made by hand, and what e2fsck makes of them.

The writer here shares nothing with the reader but the checksums themselves; that e2fsck replays what it
writes shows that it is right.
"""

from __future__ import annotations

import hashlib
import itertools
import shutil
import struct
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.journal import through_journal
from bangerbuild.disk.libext2fs import crc32_be, crc32c
from tests.disk.ext4_tools import debugfs
from tests.need import need

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from bangerbuild.disk.blocks import Blocks

MAGIC = 0xC03B3998
ONES = 0xFFFFFFFF
CHECKSUM_V1, REVOKE, WIDE, ASYNC_COMMIT, V2, V3, FAST_COMMIT = 1, 0x1, 0x2, 0x4, 0x8, 0x10, 0x20


@dataclass(frozen=True)
class Form:
    """How a journal is written."""

    checksums: int = 3
    """0 for none, else the kind."""
    wide: bool = True
    incompat: int = 0
    """Further features."""
    start: int = 1
    sequence: int = 1
    fast_commit_blocks: int = 0

    @property
    def features(self) -> tuple[int, int]:
        """Compat and incompat."""
        kinds = {2: V2, 3: V3}
        wide = WIDE if self.wide else 0
        compat = CHECKSUM_V1 if self.checksums == 1 else 0
        return compat, REVOKE | wide | kinds.get(self.checksums, 0) | self.incompat


@dataclass
class Log:
    """A journal that is written to the disk's own journal file, one transaction after the other."""

    path: Path
    form: Form = field(default_factory=Form)

    def __post_init__(self) -> None:
        self.file_blocks = journal_blocks(self.path)
        self.size = block_bytes_of(self.path)
        raw = block_of(self.path, self.file_blocks[0], self.size)
        (self.blocks,) = struct.unpack_from(">I", raw, 0x10)
        self.uuid = raw[0x30:0x40]
        self.seed = crc32c(ONES, self.uuid)
        self.end = self.blocks - self.form.fast_commit_blocks
        self.at = self.form.start
        self.sequence = self.form.sequence
        self.tail = 4 if self.form.checksums in {2, 3} else 0
        self.checksum = ONES
        self.seconds = 1000
        self.superblock()
        mark(self.path)

    def superblock(self, **changes: int) -> None:
        """Write it, with changes of whole u32 by the offset in their name, as `x18`."""
        raw = bytearray(block_of(self.path, self.file_blocks[0], self.size))
        struct.pack_into(">II", raw, 0x18, self.form.sequence, self.form.start)
        struct.pack_into(">II", raw, 0x24, *self.form.features)
        raw[0x50] = 4 if self.tail else 0
        if self.form.fast_commit_blocks:
            struct.pack_into(">I", raw, 0x54, self.form.fast_commit_blocks)
        for name, value in changes.items():
            struct.pack_into(">I", raw, int(name[1:], 16), value)
        struct.pack_into(">I", raw, 0xFC, 0)
        if self.tail:
            struct.pack_into(">I", raw, 0xFC, crc32c(ONES, bytes(raw[:1024])))
        self.put(0, bytes(raw))

    def put(self, at: int, data: bytes) -> None:
        """Write one block of the journal."""
        with self.path.open("r+b") as file:
            file.seek(self.file_blocks[at] * self.size)
            file.write(data)

    def append(self, data: bytes) -> int:
        """Write the next block of the ring; gives its place."""
        at, self.at = self.at, self.at + 1
        if self.at == self.end:
            self.at = 1
        self.put(at, data)
        return at

    def header(self, kind: int) -> bytes:
        return struct.pack(">III", MAGIC, kind, self.sequence)

    def descriptor(self, copies: Sequence[tuple[int, bytes]]) -> None:
        """A descriptor block for these copies, and the copies behind it."""
        tags, kept = b"", list[bytes]()
        for block, data in copies:
            escaped = data[:4] == struct.pack(">I", MAGIC)
            stored = bytes(4) + data[4:] if escaped else data
            is_last, is_first = len(kept) == len(copies) - 1, not kept
            flags = (1 if escaped else 0) | (0 if is_first else 2) | (8 if is_last else 0)
            tags += self.tag(block, flags, stored) + (self.uuid if is_first else b"")
            kept.append(stored)
        raw = self.sealed((self.header(1) + tags).ljust(self.size, b"\0"))
        for data in (raw, *kept):
            if self.form.checksums == 1:
                self.checksum = crc32_be(self.checksum, data)
            self.append(data)

    def tag(self, block: int, flags: int, data: bytes) -> bytes:
        checksum = crc32c(crc32c(self.seed, struct.pack(">I", self.sequence)), data) if self.tail else 0
        if self.form.checksums == 3:
            return struct.pack(">IIII", block & ONES, flags, block >> 32, checksum)
        tag = struct.pack(">IHH", block & ONES, checksum & 0xFFFF, flags)
        tag += struct.pack(">I", block >> 32) if self.form.wide else b""
        return tag + (bytes(2) if self.form.checksums == 2 else b"")

    def sealed(self, raw: bytes) -> bytes:
        if not self.tail:
            return raw
        bare = raw[:-4] + bytes(4)
        return raw[:-4] + struct.pack(">I", crc32c(self.seed, bare))

    def revoke(self, blocks: Sequence[int], used: int | None = None) -> int:
        """A revoke block; gives its place."""
        numbers = struct.pack(f">{len(blocks)}{'Q' if self.form.wide else 'I'}", *blocks)
        head = self.header(5) + struct.pack(">I", 16 + len(numbers) if used is None else used)
        return self.append(self.sealed((head + numbers).ljust(self.size, b"\0")))

    def commit(self, seconds: int | None = None) -> int:
        """A commit block, a second after the last one; gives its place."""
        self.seconds += 1
        kind, checksum = (0, 0)
        if self.form.checksums == 1:
            kind, checksum = (0x0104, self.checksum)
        raw = self.header(2) + struct.pack(">HHI", kind, 0, checksum)
        raw = raw.ljust(0x30, b"\0") + struct.pack(">Q", self.seconds if seconds is None else seconds)
        raw = raw.ljust(self.size, b"\0")
        if self.tail:
            raw = raw[:0x10] + struct.pack(">I", crc32c(self.seed, raw)) + raw[0x14:]
        self.sequence = (self.sequence + 1) & ONES
        self.checksum = ONES
        return self.append(raw)

    def add(self, copies: Mapping[int, bytes] | None = None, revoked: Sequence[int] = ()) -> int:
        """A whole transaction; gives the place of its commit block."""
        pairs = list((copies or {}).items())
        for i in range(0, len(pairs), 20):
            self.descriptor(pairs[i : i + 20])
        if revoked:
            self.revoke(revoked)
        return self.commit()


def journal_blocks(path: Path) -> list[int]:
    """The blocks of the disk that the journal's file has, in its order, as debugfs finds them."""
    described = debugfs(path, "stat <8>").decode()
    size = int(described.split("Size: ")[1].split()[0])
    requests = "".join(f"bmap <8> {at}\n" for at in range(size // block_bytes_of(path)))
    done = subprocess.run(
        [need("debugfs"), "-f", "/dev/stdin", str(path)],
        input=requests, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [int(line) for line in done.stdout.splitlines() if line.isdigit()]


def blocks_of(path: Path, guest: str) -> list[int]:
    """The blocks of a file in the filesystem, as debugfs finds them."""
    return [int(number) for number in debugfs(path, f"blocks {guest}").split()]


def block_of(path: Path, block: int, size: int) -> bytes:
    """A block of a disk."""
    with path.open("rb") as file:
        file.seek(block * size)
        return file.read(size)


def mark(path: Path) -> None:
    """Have the superblock say that the journal must be replayed, and make sure it is kept so."""
    request = "feature needs_recovery"
    subprocess.run([need("debugfs"), "-w", "-R", request, str(path)], check=True, capture_output=True)


def by_debugfs(path: Path, *requests: str) -> None:
    """Have debugfs write into the journal, whose commands are `jo`, `jw` and `jc`."""
    done = subprocess.run(
        [need("debugfs"), "-w", "-f", "/dev/stdin", str(path)],
        input="\n".join(requests) + "\n", capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "journal" not in done.stderr, done.stderr


def replayed(path: Path, target: Path, *options: str) -> int:
    """Have e2fsck replay the journal in a copy; gives its exit code."""
    shutil.copyfile(path, target)
    command = [need("e2fsck", "e2fsprogs"), *(options or ("-p", "-E", "journal_only")), str(target)]
    return subprocess.run(command, capture_output=True, check=False).returncode


def assert_reads_as_replayed(path: Path, below: Blocks | None = None) -> None:
    """The disk through its journal is what e2fsck makes of a copy, byte for byte; the disk stays as it is.

    Only the two superblocks may differ: e2fsck counts what it writes, and empties the journal. `below` is
    another form of the same disk.
    """
    before = hashlib.sha256(path.read_bytes()).digest()
    copy, checked = path.with_suffix(".replayed"), path.with_suffix(".checked")
    assert replayed(path, copy) == 0
    assert replayed(path, checked, "-fp") in {0, 1}
    with RawFile(path) as raw, RawFile(copy) as judge, RawFile(checked) as all_done:
        view = through_journal(below or raw)
        assert differing(view, judge) <= {1, journal_piece(path)}
        assert content(view) == content(judge) == content(all_done)
        assert states(view) == states(judge)
    assert hashlib.sha256(path.read_bytes()).digest() == before
    copy.unlink()
    checked.unlink()


def journal_piece(path: Path) -> int:
    """Where the journal's superblock lies, in pieces of 1 KiB."""
    return int(debugfs(path, "bmap <8> 0").split()[0]) * block_bytes_of(path) // 1024


def block_bytes_of(path: Path) -> int:
    """The filesystem's block size."""
    (shift,) = struct.unpack_from("<I", block_of(path, 1, 1024), 0x18)
    return 1024 << int(shift)


def differing(one: Blocks, other: Blocks) -> set[int]:
    """The pieces of 1 KiB in which two disks differ."""
    assert one.size_bytes == other.size_bytes
    large = 1 << 16
    found = set()
    for at in range(0, one.size_bytes, large):
        length = min(large, one.size_bytes - at)
        ours, theirs = one.read(at, length), other.read(at, length)
        if ours != theirs:
            pieces = range(0, length, 1024)
            found |= {(at + i) // 1024 for i in pieces if ours[i : i + 1024] != theirs[i : i + 1024]}
    return found


def content(blocks: Blocks) -> list[tuple[object, ...]]:
    """Every name on a disk with all that belongs to it."""
    with Filesystem(blocks, allow_unclean=True) as disk:
        return [
            (
                entry.path,
                entry.type,
                entry.mode,
                entry.uid,
                entry.gid,
                entry.mtime_ns,
                entry.target,
                entry.device,
                entry.size_bytes,
                dict(entry.xattrs),
                hashlib.sha256(entry.content.read()).hexdigest() if entry.content else "",
            )
            for entry in disk.walk()
        ]


def states(blocks: Blocks) -> tuple[int, int, int, bool]:
    """What the superblock says of the filesystem's order."""
    with Filesystem(blocks, allow_unclean=True) as disk:
        found = disk.superblock
        return found.state, found.incompat, found.last_orphan, found.is_clean


def differing_blocks(before: Path, after: Path, block_bytes: int) -> dict[int, bytes]:
    """The blocks in which a disk differs from another, and what it has there."""
    with before.open("rb") as old, after.open("rb") as new:
        pairs = zip(
            iter(lambda: old.read(block_bytes), b""), iter(lambda: new.read(block_bytes), b""), strict=True
        )
        return {
            at: theirs for at, (ours, theirs) in zip(itertools.count(), pairs, strict=False) if ours != theirs
        }
