"""Writing a tree into a fresh ext4 of its own: how large it is made, and how it is filled."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from bangerbuild.disk import making, tools
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.populate import populate
from bangerbuild.disk.superblock import read_superblock
from bangerbuild.errors import FULL, FULL_HINT, FilesystemError, SourceError, StoreError, readable_size
from bangerbuild.formats.totals import allocated_bytes, measure
from bangerbuild.host.process import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bangerbuild.formats.totals import Totals
    from bangerbuild.model import Workspace
    from bangerbuild.sources.source import EntryTree
    from bangerbuild.tree import Entry

MIB = 1 << 20
JOURNAL_BYTES = 64 * MIB
"""The most that mke2fs takes for the journal of a filesystem of the sizes in question."""
LEAST_BYTES = MIB
"""Below, mke2fs has no room for its own tables."""
HEADROOM_BYTES = 64 * MIB
SIZE_STEP_BYTES = 16 * MIB
BYTES_PER_INODE = 256
TOLD_BYTES = 4 * MIB
"""So much is written between two words on how far it is."""
SIZE_HINT = "make `size` larger, or leave it out"


def fill(tree: EntryTree, target: Path, workspace: Workspace, *, label: str = "") -> None:
    """Write a tree into a fresh ext4 at `target`, which does not exist."""
    geometry, total_bytes = _measured(tree)
    try:
        making.make_empty(target, replace(geometry, label=label), workspace)
        large_bytes = _filled(tree, target, workspace, total_bytes)
    except (FilesystemError, OSError) as err:
        if not _is_out_of_room(err):
            raise
        reason = f"no space left on device while the image of '{tree.written}' is written"
        raise StoreError(f"'{workspace.path('')}': {reason}", hint=FULL_HINT) from err
    if large_bytes:
        _index(target, large_bytes, tree, workspace)


def _filled(tree: EntryTree, target: Path, workspace: Workspace, total_bytes: int | None) -> int:
    with tree.entries() as entries, RawFile(target, writable=True, durable=False) as blocks:
        blocks.name = f"image of {tree.written}"  # its place in staging says nothing to a user
        with Filesystem(blocks, writable=True, now=workspace.epoch) as filesystem:
            return _populate(filesystem, _told(entries, workspace, total_bytes), tree)


def _told(entries: Iterator[Entry], workspace: Workspace, total_bytes: int | None) -> Iterator[Entry]:
    """The entries; how far they are is told each time that enough of them is through."""
    done_bytes = told_bytes = 0
    for entry in entries:
        yield entry
        done_bytes += allocated_bytes(entry)
        if done_bytes - told_bytes >= TOLD_BYTES:
            workspace.advanced(done_bytes, total_bytes)
            told_bytes = done_bytes


def needed(totals: Totals) -> tools.Geometry:
    """The size that content needs, plus a quarter and 64 MiB, in steps of 16 MiB; and its inodes likewise."""
    inodes = totals.inodes + totals.inodes // 4 + 1024
    content = totals.bytes + inodes * BYTES_PER_INODE
    wanted = content + content // 4 + JOURNAL_BYTES + HEADROOM_BYTES
    size = -(-wanted // SIZE_STEP_BYTES) * SIZE_STEP_BYTES
    return tools.Geometry(size, inodes=max(inodes, size // 16384))


def _populate(filesystem: Filesystem, entries: Iterator[Entry], tree: EntryTree) -> int:
    try:
        return populate(filesystem, entries)
    except FilesystemError as err:
        if tree.size_bytes is None or _is_out_of_room(err):
            raise
        hint = err.hint or SIZE_HINT
        raise FilesystemError(err.brief, details=err.details, hint=hint, code=err.code) from err


def _is_out_of_room(err: FilesystemError | OSError) -> bool:
    """Whether it is the store that is full, and not the filesystem."""
    if isinstance(err, OSError):
        return err.errno in FULL
    return err.code in FULL and isinstance(err.__cause__, OSError)


def _index(target: Path, large_bytes: int, tree: EntryTree, workspace: Workspace) -> None:
    """Give large directories an index, unless e2fsck has no room: then it leaves errors behind (1.47.0)."""
    with RawFile(target) as blocks:
        superblock = read_superblock(blocks, writable=False)
    if superblock.free_blocks * superblock.block_bytes < large_bytes:
        workspace.warn(
            f"'{tree.written}' has directories of many names and no room for an index: {SIZE_HINT}"
        )
        return
    run(tools.e2fsck_index(target, epoch=workspace.epoch))


def _measured(tree: EntryTree) -> tuple[tools.Geometry, int | None]:
    """How large the filesystem is made, and how much there is to write; None where nobody has counted."""
    if tree.size_bytes is not None:
        if tree.size_bytes < LEAST_BYTES:
            raise SourceError(
                f"'{tree.written}' does not fit in {readable_size(tree.size_bytes)}",
                hint=SIZE_HINT,
            )
        size_bytes = tree.size_bytes // tools.BLOCK_BYTES * tools.BLOCK_BYTES
        return tools.Geometry(size_bytes, tree.inodes), None
    with tree.entries() as entries:
        totals = measure(entries)
    return needed(totals), totals.data_bytes
