"""What can still be read of a database that is damaged, and where the damaged files are put.

A database is damaged if SQLite can't read it whole, or if one of its rows is not what this program writes.
Every row that can be read is kept. The files themselves are renamed, and never written to:

    state.db.damaged, state.db.damaged-wal, …; then state.db.damaged.2, and so on
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bangerbuild.errors import StoreError
from bangerbuild.store import database as db
from bangerbuild.store import directories, rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from bangerbuild.model import Record
    from bangerbuild.store.stamps import Stamp

DAMAGED = f"{db.NAME}.damaged"


@dataclass
class Salvaged:
    """What was found of a database."""

    is_intact: bool = False
    """Whether it can be used as it is."""
    is_missing: bool = False
    records: dict[str, Record] = field(default_factory=dict)
    stamps: dict[str, Stamp] = field(default_factory=dict)
    written: dict[str, dict[str, str]] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    """What could not be read."""


def read(path: Path) -> Salvaged:
    """Read what there is of the database of a store; nothing is changed.

    Raises:
        StoreError: it is sound, and of another version; or what lies beside it is not SQLite's.
    """
    if not os.path.lexists(path / db.NAME):
        return Salvaged(is_missing=True)
    if (path / db.NAME).is_symlink() or not (path / db.NAME).is_file():
        return Salvaged(faults=[f"'{path / db.NAME}' is no regular file"])
    directories.check_database(path)
    found = Salvaged()
    try:
        with contextlib.closing(db.connect_read_only(path)) as database:
            if db.is_uninitialized(database):
                return Salvaged(is_missing=True, is_intact=True)
            _refuse_other_version(database, path)
            _read_tables(database, found)
    except (sqlite3.Error, StoreError) as err:
        if isinstance(err, StoreError) and "has format" in err.brief:
            raise
        found.faults.append(str(err))
    found.is_intact = not found.faults
    return found


def _refuse_other_version(database: sqlite3.Connection, path: Path) -> None:
    """One without a version is no database of ours, and is set aside."""
    if database.execute("PRAGMA user_version").fetchone() != (0,):
        db.check_format(database, path)
        return
    raise sqlite3.DatabaseError("it is a database of another program")


def _read_tables(database: sqlite3.Connection, found: Salvaged) -> None:
    for said in database.execute("PRAGMA quick_check(1)"):
        if said != ("ok",):
            found.faults.append(str(said[0]))
    for row in _rows(database, "SELECT id, body FROM records", found):
        _kept(found, lambda row=row: _keep_record(found, *row))  # type: ignore[misc]
    stamps = "SELECT path, size, mtime_ns, inode, digest, guest FROM stamps"
    for row in _rows(database, stamps, found):
        _kept(found, lambda row=row: found.stamps.update([rows.stamp(row[0], list(row[1:]))]))  # type: ignore[misc]
    for row in _rows(database, "SELECT id, body FROM files WHERE id NOT LIKE '%~'", found):
        _kept(found, lambda row=row: found.written.update({row[0]: rows.ledger(*row)}))  # type: ignore[misc]
    for row in _rows(database, "SELECT session, body FROM intents", found):
        _kept(found, lambda row=row: rows.intent(*row))  # type: ignore[misc]
    for row in _rows(database, "SELECT key, stamp, digest FROM digests", found):
        _kept(found, lambda row=row: rows.digest(*row))  # type: ignore[misc]
    if db.has_origins(database):
        for row in _rows(database, "SELECT owner, manifest FROM origins", found):
            _kept(found, lambda row=row: found.origins.update([rows.origin(*row)]))  # type: ignore[misc]


def _keep_record(found: Salvaged, step_id: object, body: object) -> None:
    record = rows.record(step_id, body)
    found.records[record.id] = record


def _rows(database: sqlite3.Connection, query: str, found: Salvaged) -> Iterator[tuple[object, ...]]:
    """The rows of a table, as far as they can be read."""
    try:
        yield from database.execute(query)
    except sqlite3.Error as err:
        found.faults.append(str(err))


def _kept(found: Salvaged, keep: Callable[[], object]) -> None:
    try:
        keep()
    except rows.DamagedRowError as err:
        found.faults.append(str(err))


def set_aside(path: Path) -> Path | None:
    """Rename the files of a store's database; the new name of the database, None if there was none."""
    if not os.path.lexists(path / db.NAME):
        return None
    number = 1
    while os.path.lexists(path / _name(number)):
        number += 1
    for suffix in ("-wal", "-shm", "-journal", ""):
        with contextlib.suppress(FileNotFoundError):
            (path / f"{db.NAME}{suffix}").rename(path / f"{_name(number)}{suffix}")
    return path / _name(number)


def _name(number: int) -> str:
    return DAMAGED if number == 1 else f"{DAMAGED}.{number}"
