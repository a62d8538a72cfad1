"""Find what a replay of the journal would change, in one pass over its log, by the kernel's rules.

A transaction counts if its commit block is present and right; the first one without ends the log. Copies of a
revoked block are dropped when the revoking transaction is committed, so only the last copy of each block is
kept. The ring is read at most once, so work and memory are bounded by the journal's size.

Source: `fs/jbd2/recovery.c`, which e2fsck shares. If a commit block has a wrong checksum, the kernel gives
up, but e2fsck uses the transactions before it and marks the filesystem as having errors; this module does the
same. With asynchronous commits, a commit block may reach the disk before the blocks that it commits. A wrong
one is then just the end of the log, unless a later valid transaction shows that it is damaged.
"""

from __future__ import annotations

import bisect
import itertools
import stat
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from bangerbuild.disk import jbd2
from bangerbuild.disk.inode import ENCRYPT_FL, INLINE_DATA_FL, Inode
from bangerbuild.disk.mapping import TREE, runs_of
from bangerbuild.disk.superblock import OFFSET, SIZE, parse_superblock
from bangerbuild.errors import FilesystemError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.disk.blocks import Blocks
    from bangerbuild.disk.libext2fs import Handle
    from bangerbuild.disk.mapping import Run

MOST_RUNS = 1 << 16


class Log:
    """The journal's file: its superblock, and its blocks by number.

    Args:
        blocks: the disk, which the caller closes.
        handle: the filesystem on it, open as long as this object is used.
        ino: the journal's inode.

    Raises:
        FilesystemError: the inode holds no journal, or a damaged one.
    """

    def __init__(self, blocks: Blocks, handle: Handle, ino: int) -> None:
        self.name = blocks.name
        self._blocks = blocks
        self._handle = handle
        self.disk_blocks = blocks.size_bytes // handle.block_size
        try:
            self._inode = Inode(handle.read_inode(ino))
        except FilesystemError as err:
            raise jbd2.damaged(self.name, f"inode {ino}: {err.brief}") from err
        if not stat.S_ISREG(self._inode.full_mode) or self._inode.flags & (ENCRYPT_FL | INLINE_DATA_FL):
            raise jbd2.damaged(self.name, f"inode {ino} holds no journal")
        self._runs = tuple(self._mapped())
        self.journal = jbd2.parse_superblock(self.read(0), self.name)
        if self.journal.block_bytes != handle.block_size:
            raise jbd2.damaged(self.name, f"it has blocks of {self.journal.block_bytes} bytes")
        if self.journal.blocks > min(self._inode.size_bytes // handle.block_size, self.disk_blocks):
            raise jbd2.damaged(self.name, f"it ends before its {self.journal.blocks} blocks do")

    def _mapped(self) -> Iterator[Run]:
        """The runs of the journal's file; more than MOST_RUNS are refused, a guest could make millions."""
        superblock = parse_superblock(self._blocks.read(OFFSET, SIZE))
        try:
            runs = runs_of(self._blocks, superblock, self._inode) if superblock else iter(())
            for run in itertools.islice(runs, MOST_RUNS):
                if run.logical != TREE:
                    yield run
        except FilesystemError as err:
            raise jbd2.damaged(self.name, "its inode leads where no disk is") from err

    def place(self, at: int) -> int:
        """The disk's block for a block of the journal."""
        index = bisect.bisect_right(self._runs, at, key=lambda run: run.logical) - 1
        within = at - self._runs[index].logical if index >= 0 else 0
        if index < 0 or within >= self._runs[index].blocks:
            raise jbd2.damaged(self.name, f"block {at} is nowhere on the disk")
        return self._runs[index].first + within

    def read(self, at: int) -> bytes:
        """One block of the journal."""
        return self._blocks.read(self.place(at) * self._handle.block_size, self._handle.block_size)

    def ring(self) -> Iterator[int]:
        """The blocks of the ring, once around from the log's start."""
        journal = self.journal
        if not journal.start:
            return iter(())
        return itertools.chain(range(journal.start, journal.end), range(journal.first, journal.start))


class _Copy(NamedTuple):
    """A copy of a filesystem block in a transaction."""

    tag: jbd2.Tag
    at: int
    """The journal's block with the copy."""
    sequence: int


@dataclass
class _ReplayedTransaction:
    """The content of a transaction."""

    copies: list[_Copy] = field(default_factory=list)
    revokes: list[int] = field(default_factory=list)
    """The journal's blocks that are revoke blocks; their content may be large, so it is read later."""
    is_sound: bool = True
    checksum: int = 0xFFFFFFFF
    commit_time: int = 0
    is_commit_sound: bool = False


@dataclass(frozen=True)
class Replay:
    """The changes that a replay would make."""

    places: dict[int, int]
    """Block of the filesystem -> block of the disk with its new content."""
    escaped: frozenset[int]
    """Blocks of the filesystem that begin with the journal's magic; their copies have zeros there."""
    has_errors: bool
    """Whether the replay would mark the filesystem as having errors."""


def replay(log: Log) -> Replay:
    """Find the committed, unrevoked copies, and verify each.

    Raises:
        FilesystemError: the log is damaged, or has fast commits.
    """
    journal, ring = log.journal, log.ring()
    copies: dict[int, _Copy] = {}
    end, last_time, has_errors = journal.sequence, 0, bool(journal.error)
    for sequence in _numbers(journal.sequence):
        transaction = _read_transaction(log, ring, sequence)
        if transaction is None or not _counts(log, transaction, last_time):
            break
        last_time = transaction.commit_time
        if end != sequence:  # the transaction before had a wrong commit block
            has_errors |= journal.has_transaction_checksums
        elif transaction.is_commit_sound:
            _apply(log, transaction, copies)
            end = jbd2.following(sequence)
        elif not journal.has_async_commit:
            has_errors = True
            break
    _refuse_fast_commits(log, end)
    places = {block: _checked_place(log, copy) for block, copy in copies.items()}
    escaped = frozenset(block for block, copy in copies.items() if copy.tag.is_escaped)
    return Replay(places, escaped, has_errors)


def _numbers(sequence: int) -> Iterator[int]:
    """The numbers of the transactions from this one on."""
    while True:
        yield sequence
        sequence = jbd2.following(sequence)


def _apply(log: Log, transaction: _ReplayedTransaction, copies: dict[int, _Copy]) -> None:
    copies.update((copy.tag.block, copy) for copy in transaction.copies)
    for at in transaction.revokes:
        for block in jbd2.parse_revoked(log.journal, log.read(at), log.name):
            copies.pop(block, None)


def _read_transaction(log: Log, ring: Iterator[int], sequence: int) -> _ReplayedTransaction | None:
    """The next transaction; None if it has no commit block."""
    found = _ReplayedTransaction()
    for at in ring:
        block = log.read(at)
        kind = jbd2.kind_of(block, sequence)
        if kind == jbd2.DESCRIPTOR:
            found.is_sound &= jbd2.is_sound(log.journal, block)
            _add_copies(log, ring, sequence, block, found)
        elif kind == jbd2.REVOKE:
            found.is_sound &= jbd2.is_sound(log.journal, block)
            found.revokes.append(at)
        elif kind == jbd2.COMMIT:
            found.commit_time = jbd2.commit_time(block)
            found.is_commit_sound = jbd2.is_commit_sound(log.journal, block, found.checksum)
            return found
        else:
            break
    return None


def _add_copies(
    log: Log, ring: Iterator[int], sequence: int, descriptor: bytes, found: _ReplayedTransaction
) -> None:
    """Read the data blocks that follow a descriptor."""
    found.checksum = jbd2.add_to_checksum(log.journal, found.checksum, descriptor)
    for tag, at in zip(jbd2.parse_tags(log.journal, descriptor), ring, strict=False):
        found.copies.append(_Copy(tag, at, sequence))
        if log.journal.has_transaction_checksums:
            found.checksum = jbd2.add_to_checksum(log.journal, found.checksum, log.read(at))


def _counts(log: Log, transaction: _ReplayedTransaction, last_time: int) -> bool:
    """Whether a transaction belongs to this log; an invalid one that is older than the last is a leftover.

    Raises:
        FilesystemError: it belongs to the log and is damaged.
    """
    if transaction.is_sound and transaction.is_commit_sound:
        return True
    if transaction.commit_time < last_time:
        return False
    if not transaction.is_sound:
        raise jbd2.damaged(log.name, "the checksum of a transaction is wrong")
    return True


def _refuse_fast_commits(log: Log, sequence: int) -> None:
    at = log.journal.fast_commits
    if log.journal.start and at is not None and jbd2.has_fast_commit(log.read(at), sequence):
        raise FilesystemError(
            f"the journal of '{log.name}' has fast commits, which have to be replayed first",
            hint=f"e2fsck -p '{log.name}'",
        )


def _checked_place(log: Log, copy: _Copy) -> int:
    """The disk's block with a copy.

    Raises:
        FilesystemError: the copy is of no block of the filesystem, or its checksum is wrong.
    """
    if copy.tag.block >= log.disk_blocks:
        raise jbd2.damaged(log.name, f"it has a copy of block {copy.tag.block}, which is not on the disk")
    if log.journal.has_checksums:
        data = log.read(copy.at)
        if not jbd2.is_data_sound(log.journal, copy.tag, copy.sequence, data):
            raise jbd2.damaged(log.name, f"the checksum of its copy of block {copy.tag.block} is wrong")
    return log.place(copy.at)
