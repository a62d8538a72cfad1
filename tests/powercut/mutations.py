"""Syncs that are left out, each in one place of the program, to see that the drill finds it.

A place is where in the program a sync is asked for, as `starter.place` names it, or what SQLite syncs.

Some places are not here, as no state is broken without them. Each says why it is there all the same:
`growing._resize`, as resize2fs has synced the disk before; `growing._forget`, as a run that goes on syncs the
directory again; `Cache.publish`, as a blob is compared with its name before it is used; and the two of
`secrets_key`, as a lost key costs no more than another update of the files that hold secrets.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.powercut.history import Operation


@dataclass(frozen=True)
class Place:
    """A sync of the program."""

    what: str
    """What it is for."""
    scene: str
    """The scene in which it counts."""
    place: str = ""
    """A pattern of where in the program it is asked for."""
    path: str = ""
    """A pattern of what is synced."""
    kind: str = "f(data)?sync|syncfs"

    def is_left_out(self, one: Operation) -> bool:
        """Whether an operation is this sync."""
        if one.synced:
            return self.kind == "write" and bool(re.search(self.path, one.path))
        return (
            one.is_sync
            and bool(re.fullmatch(self.kind, one.kind))
            and bool(re.search(self.place, one.record.text))
            and bool(re.search(self.path, one.path))
        )


# A run that publishes many files at once syncs the whole filesystem, and with it what other syncs are for.
# How many there are at once depends on how busy the host is, but in a small store there are few.
PLACES = (
    Place("new files, before their intent", "build", r"^contents\.Store\.publish > durable\.sync\b"),
    Place("directories, after the renames", "replace", r"^contents\.Store\._rename > durable\.sync\b"),
    Place("the directory of a new store", "cache", r"durable\.make_directory > "),
    Place("a redo log", "patch", r"^redo_log\.LogWriter\.seal$"),
    Place("room in a disk, before its redo log", "qcow2", r"^transaction\.Transaction\.flush > blocks"),
    Place("the name of a redo log", "patch", r"^redo_log\.LogWriter\.seal > durable\.sync_one"),
    Place("a patched disk", "patch", r"^transaction\.Transaction\._write_or_restore > blocks"),
    Place("the removal of a redo log", "patch", r"^redo_log\.remove > "),
    Place("the note of a growth", "grow", r"^growing\._write_note$"),
    Place("the names of that note and of an undo file", "grow", r"^growing\._make_undo > "),
    Place("the writes of an undo file", "grow", path=r"\.undo$", kind="write"),
    Place("a larger exception store", "grow-only", r"^snapshot\.Snapshot\.grow > "),
    Place("what SQLite commits", "patch", path=r"state\.db-wal$", place="^$"),
    Place("the names of SQLite's files", "cache", path=r"^build$", place="^$"),
    Place("the database, before its log is dropped", "patch", path=r"state\.db$", place="^$"),
    Place("the new names of moved VMs", "move", r"^contents\.Store\.move > durable\.sync_one"),
    Place("the removal of artifacts", "destroy", r"^contents\.Store\.forget > "),
    Place("the names of recovered records", "recover", r"^store\.recovering > "),
    Place("a lock file", "lock", r"^lockfile\._replace$"),
    Place("the name of a lock file", "lock", r"^lockfile\._replace > "),
)
