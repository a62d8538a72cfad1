"""What a power cut may leave on each filesystem of what was not synced, and what a sync promises there.

All of them make a rename, a link, an unlink, a mkdir, or a change of a size whole or not at all. Data is
written back page by page in any order and at any time, in the state that the page had at that moment; a disk
that loses its power has written any of the 512-byte sectors of a page. Beyond that:

ext4       One journal holds the metadata of all files. So what is there after a cut is all metadata up to
           some moment, and nothing of later. fsync(2) commits at least what was done to that file or
           directory, and so all that was done before it. Blocks are given out when data is written back
           (`delalloc`): a file may have its name and a size of 0, or holes, but never data without its name.
           A write that makes a file longer within its last block changes the size at once, and the data may
           be missing: zeros. (Documentation/filesystems/ext4/journal.rst and
           Documentation/admin-guide/ext4.rst, `data=ordered` and `auto_da_alloc`, on which nothing relies
           here; fs/ext4/fsync.c; ext4_da_write_end in fs/ext4/inode.c.)
ext4-writeback
           The same with `data=writeback`: blocks may belong to a file before its data is in them, and hold
           what was in them before. (ext4.rst: "data ordering is not preserved, data may be written into the
           main file system after its metadata has been committed to the journal".) Blocks that fallocate(2)
           gave read as zeros until their data is there: an extent says whether it is written.
           (Documentation/filesystems/ext4/ifork.rst, "uninitialized extents".)
xfs        Metadata is in order in one log, as on ext4; fsync(2) writes the log up to the last change of that
           inode. A size is changed when the data is there, so there are holes, but neither stale blocks nor
           zeros at the end. (Documentation/filesystems/xfs/xfs-delayed-logging-design.rst; fs/xfs/xfs_file.c,
           xfs_setfilesize in fs/xfs/xfs_aops.c.)
btrfs      What is there is a whole transaction of some moment, and in addition each file or directory that
           was synced since, from the log tree: of a file its data and names, of a directory its entries and
           no more than the names of what is in it. So what was synced may be there though all that was done
           before it is not. With `nodatacow`, which disks of VMs often have, data is overwritten where it
           lies; that is more than what may happen without, so it is what is simulated. (fs/btrfs/tree-log.c,
           btrfs_log_inode_parent and log_new_dir_dentries; "Finding Crash-Consistency Bugs with Bounded
           Black-Box Crash Testing", OSDI 2018.)
unordered  No filesystem is so bad: any part of the metadata, in any order, but that a name needs its
           directory and a later operation on one name, or one file, the earlier one. fsync(2) of a file
           keeps its data and not its name, that of a directory what is in it and not its own name. It is the
           default model of "All File Systems Are Not Created Equal", OSDI 2014, but that data is divided
           finer. What survives this depends on no promise that POSIX does not give.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.powercut.history import Entry, History, Operation

SIZES = frozenset(("truncate", "punch", "allocate"))
"""What fdatasync(2) keeps too."""


@dataclass(frozen=True)
class Filesystem:
    """What tells a filesystem from others; see above."""

    name: str
    in_order: bool = True
    """Whether a sync keeps the metadata of all files of before."""
    moments: bool = True
    """Whether what is there is that of some moment, but for what was synced since."""
    names: bool = True
    """Whether fsync of a file keeps its names too, and that of a directory the directory's own."""
    zero_tails: bool = False
    stale: bool = False


FILESYSTEMS = (
    Filesystem("ext4", zero_tails=True),
    Filesystem("ext4-writeback", zero_tails=True, stale=True),
    Filesystem("xfs"),
    Filesystem("btrfs", in_order=False),
    Filesystem("unordered", in_order=False, moments=False, names=False, stale=True),
)


@dataclass
class Kept:
    """What must be there after a cut, whatever else is."""

    journal: int = 0
    """All metadata up to this operation."""
    everything: int = 0
    """All data up to this operation, after syncfs(2)."""
    data: dict[int, int] = field(default_factory=dict)
    """All data of a file, by its number, up to this operation."""
    writes: set[int] = field(default_factory=set)
    """Single writes that waited for the disk."""
    metadata: set[int] = field(default_factory=set)
    """Single operations beyond `journal`."""

    def data_of(self, number: int) -> int:
        """Up to which operation all data of a file is kept."""
        return max(self.everything, self.data.get(number, 0))


class Needs:
    """Which operations on metadata can't be there without which others."""

    def __init__(self, history: History) -> None:
        self.operations = history.metadata
        self.direct: dict[int, set[int]] = {}
        """For each operation the last ones before it on the same file and the same names."""
        self.above: dict[int, set[int]] = {}
        """For each operation those that made its directories."""
        self.of_node: dict[int, list[Operation]] = defaultdict(list)
        self.in_directory: dict[int, list[Operation]] = defaultdict(list)
        last: dict[tuple[str, object], int] = {}
        made: dict[int, int] = {}
        for one in self.operations:
            keys: list[tuple[str, object]] = [("node", one.node)]
            keys += [("entry", entry) for entry in _entries(one)]
            self.direct[one.index] = {last[key] for key in keys if key in last}
            self.above[one.index] = {made[number] for number in one.directories if number in made}
            last.update(dict.fromkeys(keys, one.index))
            if one.kind == "mkdir":
                made[one.node] = one.index
            self.of_node[one.node].append(one)
            for number in one.directories:
                self.in_directory[number].append(one)

    def closed(self, wanted: Iterable[int], *, above: bool) -> set[int]:
        """These operations with all that they need; if asked for, what made their directories too."""
        found: set[int] = set()
        pending = list(wanted)
        while pending:
            index = pending.pop()
            if index not in found:
                found.add(index)
                pending.extend(self.direct[index] | (self.above[index] if above else set()))
        return found

    def without(self, dropped: Callable[[int], bool], kept: set[int], cut: int) -> set[int]:
        """All operations up to the cut but for some, and for those that need them."""
        there: set[int] = set()
        for one in self.operations:
            if one.index > cut:
                break
            needed = self.direct[one.index] | self.above[one.index]
            if one.index in kept or (needed <= there and not dropped(one.index)):
                there.add(one.index)
        return there


def _entries(one: Operation) -> tuple[Entry, ...]:
    return tuple(entry for entry in (one.at, one.source) if entry)


def kept(
    history: History,
    needs: Needs,
    filesystem: Filesystem,
    cut: int,
    is_left_out: Callable[[Operation], bool] = lambda _: False,
) -> Kept:
    """What the syncs up to a cut promise on a filesystem.

    Args:
        history: all operations.
        needs: which need which.
        filesystem: which one.
        cut: the last operation before the power fails.
        is_left_out: the syncs that are taken for not made.
    """
    found = Kept()
    for one in history.operations[:cut]:
        if not (one.is_sync or one.synced) or is_left_out(one):
            continue
        if one.kind == "syncfs":
            found.journal = found.everything = one.index
            continue
        if one.kind == "write":
            found.writes.add(one.index)
        else:
            found.data[one.node] = one.index
        _keep_metadata(found, history, needs, filesystem, one)
    return found


def _keep_metadata(
    found: Kept, history: History, needs: Needs, filesystem: Filesystem, sync: Operation
) -> None:
    if filesystem.in_order:
        found.journal = max(found.journal, _last_change(history, needs, sync))
        return
    own = [
        one
        for one in needs.of_node[sync.node]
        if one.kind in SIZES
        or (
            one.is_naming
            and filesystem.names
            and (sync.kind == "fsync" or history.nodes[sync.node].is_directory)
        )
        or (not one.is_naming and sync.kind == "fsync")
    ]
    wanted = [one.index for one in (*own, *needs.in_directory[sync.node]) if one.index < sync.index]
    found.metadata |= needs.closed(wanted, above=filesystem.names)


def _last_change(history: History, needs: Needs, sync: Operation) -> int:
    """The last change of a file's metadata that fsync finds to be written, or fdatasync."""
    whole = sync.kind == "fsync" or history.nodes[sync.node].is_directory
    own = [one.index for one in needs.of_node[sync.node] if whole or one.kind in SIZES]
    own += [one.index for one in history.nodes[sync.node].operations if one.allocates]
    own += [one.index for one in needs.in_directory[sync.node]]
    return max((index for index in own if index <= sync.index), default=0)
