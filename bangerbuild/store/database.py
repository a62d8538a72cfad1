"""The database of a store, `state.db` (SQLite in WAL mode): its tables, and all SQL of the program.

records   the record of each step's last run, as JSON
files     what each patch wrote into its guest, as JSON; read only when needed. The row `ID~` holds what
          unconfirmed runs of the patch were about to write
stamps    the `stat` of each artifact, and its digest
intents   publications that a session has begun and not yet confirmed, as JSON
digests   digests of host files, each with the `stat` it was computed at
origins   the manifest that declared each VM and network last, by its path from the store
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, cast

from bangerbuild.errors import StoreError
from bangerbuild.model.fingerprint import canonical_json, record_to_json
from bangerbuild.store import rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from bangerbuild.model import Json, Record
    from bangerbuild.store.rows import Intent
    from bangerbuild.store.stamps import Stamp

NAME = "state.db"
LOG = f"{NAME}-wal"
"""Exists while a connection is open, or after one was not closed properly."""
JOURNAL = f"{NAME}-journal"
"""Exists while a new database is switched to WAL. A power cut may bring it back, empty; SQLite then ignores
it, and removes it no more. One that is not empty was used and removed when the database was first read."""
FORMAT = 2
PAGE_BYTES = 16 << 10
"""Of a new database. A row larger than a quarter of a page gets overflow pages (in a table without rowids),
and a row of `files` has some KiB."""
CACHE_KIB = 16 << 10
"""Room for the pages that one batch changes; pages that do not fit are written twice."""
ROWS_PER_STATEMENT = 1000
"""One statement may have 32766 values at most (SQLITE_MAX_VARIABLE_NUMBER)."""
SCHEMA = """
CREATE TABLE records (id TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE files (id TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE stamps (
    path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, inode INTEGER, digest TEXT, guest INTEGER
) WITHOUT ROWID;
CREATE TABLE intents (number INTEGER PRIMARY KEY, session TEXT NOT NULL, body TEXT NOT NULL);
CREATE TABLE digests (key TEXT PRIMARY KEY, stamp TEXT NOT NULL, digest TEXT NOT NULL) WITHOUT ROWID;
"""
ORIGINS = "CREATE TABLE origins (owner TEXT PRIMARY KEY, manifest TEXT NOT NULL) WITHOUT ROWID"
"""Younger than the others: stores of before get it from their next writer."""


def exists(path: Path) -> bool:
    """Whether a store has a database."""
    return (path / NAME).exists()


def connect(path: Path) -> sqlite3.Connection:
    """Open the database of a store for writing; make it if it is missing."""
    database = sqlite3.connect(path / NAME, check_same_thread=False, timeout=60)
    (path / NAME).chmod(0o600)
    database.execute(f"PRAGMA page_size = {PAGE_BYTES}")
    database.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    if is_uninitialized(database):
        database.execute("BEGIN IMMEDIATE")
        if is_uninitialized(
            database
        ):  # once more, under the lock: another process may have written the schema
            for statement in SCHEMA.split(";"):
                database.execute(statement)
            database.execute(f"PRAGMA user_version = {FORMAT}")
        database.commit()
    check_format(database, path)
    if not has_origins(database):
        database.execute("BEGIN IMMEDIATE")
        if not has_origins(database):
            database.execute(ORIGINS)
        database.commit()
    (path / JOURNAL).unlink(missing_ok=True)
    return database


def connect_read_only(path: Path) -> sqlite3.Connection:
    """Open the database for reading. Without a write-ahead log, `immutable` avoids locks and new files."""
    quiet = not (path / LOG).exists()
    return sqlite3.connect(
        f"{(path / NAME).absolute().as_uri()}?mode=ro{'&immutable=1' if quiet else ''}",
        uri=True,
        check_same_thread=False,
    )


def is_uninitialized(database: sqlite3.Connection) -> bool:
    """Whether the schema is not written: its maker is still at work, or was killed."""
    return (
        database.execute("PRAGMA user_version").fetchone() == (0,)
        and not database.execute("SELECT EXISTS (SELECT * FROM sqlite_schema)").fetchone()[0]
    )


def check_format(database: sqlite3.Connection, path: Path) -> None:
    """Refuse a database of another program or format.

    Raises:
        StoreError: the format is not the one that this program reads.
    """
    (found,) = database.execute("PRAGMA user_version").fetchone()
    if found != FORMAT:
        raise StoreError(
            f"the store '{path}' has format {found}, and this program reads format {FORMAT}",
            hint="use the bangerbuild that made it, or another store: --store DIR",
        )


def version(database: sqlite3.Connection) -> int:
    """A number that changes when another connection commits."""
    number: int = database.execute("PRAGMA data_version").fetchone()[0]
    return number


def records(database: sqlite3.Connection) -> Iterator[Record]:
    """All records."""
    for step_id, body in database.execute("SELECT id, body FROM records"):
        yield rows.record(step_id, body)


def stamps(database: sqlite3.Connection) -> Iterator[tuple[str, Stamp]]:
    """All stamps by artifact."""
    for artifact, *stamp in database.execute("SELECT path, size, mtime_ns, inode, digest, guest FROM stamps"):
        yield rows.stamp(artifact, stamp)


def digests(database: sqlite3.Connection) -> Iterator[tuple[str, tuple[str, str]]]:
    """All digests of host files: key, then stamp and digest."""
    for key, stamp, digest in database.execute("SELECT key, stamp, digest FROM digests"):
        yield rows.digest(key, stamp, digest)


def has_origins(database: sqlite3.Connection) -> bool:
    """Whether it has that table, which came later than the others."""
    asked = "SELECT EXISTS (SELECT * FROM sqlite_schema WHERE name = 'origins')"
    return bool(database.execute(asked).fetchone()[0])


def origins(database: sqlite3.Connection) -> Iterator[tuple[str, str]]:
    """The manifest of each VM and network."""
    if has_origins(database):
        for owner, manifest in database.execute("SELECT owner, manifest FROM origins"):
            yield rows.origin(owner, manifest)


def write_origins(database: sqlite3.Connection, found: Mapping[str, str]) -> None:
    """Write the manifests of VMs and networks; they replace the old ones."""
    _put(database, "origins", found.items())


def forget_origins(database: sqlite3.Connection, owners: Iterable[str]) -> None:
    """Delete the rows of VMs and networks."""
    database.executemany("DELETE FROM origins WHERE owner = ?", [(owner,) for owner in owners])


def files(database: sqlite3.Connection, step_id: str) -> dict[str, str]:
    """What a patch wrote into its guest, by guest path; empty if the patch has no row."""
    row = database.execute("SELECT body FROM files WHERE id = ?", (step_id,)).fetchone()
    return rows.ledger(step_id, row[0]) if row else {}


def unconfirmed(database: sqlite3.Connection, step_id: str) -> dict[str, list[str]]:
    """What unconfirmed runs of a patch were about to write, by guest path."""
    row = database.execute("SELECT body FROM files WHERE id = ?", (f"{step_id}~",)).fetchone()
    return rows.unconfirmed(step_id, row[0]) if row else {}


def all_files(database: sqlite3.Connection, step_ids: Sequence[str]) -> Iterator[tuple[str, str]]:
    """The rows of patches, as JSON; that of `ID~` too, for each id."""
    keys = [key for step_id in step_ids for key in (step_id, f"{step_id}~")]
    for at in range(0, len(keys), ROWS_PER_STATEMENT):
        here = keys[at : at + ROWS_PER_STATEMENT]
        places = ", ".join("?" * len(here))
        yield from database.execute(f"SELECT id, body FROM files WHERE id IN ({places})", here)  # noqa: S608


def write_unconfirmed(database: sqlite3.Connection, step_id: str, files: Mapping[str, str]) -> None:
    """Add what a patch is about to write; entries of earlier runs stay until a run is confirmed."""
    body = unconfirmed(database, step_id)
    for path, line in files.items():
        body[path] = sorted({*body.get(path, ()), line})
    database.execute(
        "INSERT OR REPLACE INTO files VALUES (?, ?)", (f"{step_id}~", canonical_json(cast("Json", body)))
    )


def write_records(database: sqlite3.Connection, bodies: Mapping[str, str]) -> None:
    """Write records by step, each as `body_of` gives it; they replace the old ones."""
    _put(database, "records", bodies.items())


def write_files(database: sqlite3.Connection, bodies: Mapping[str, str]) -> None:
    """Write what patches wrote, by step, as canonical JSON.

    The unconfirmed entries of the steps are deleted.
    """
    _put(database, "files", bodies.items())
    database.executemany("DELETE FROM files WHERE id = ?", [(f"{step_id}~",) for step_id in bodies])


def write_stamps(database: sqlite3.Connection, stamps: Mapping[str, Stamp]) -> None:
    """Write stamps by artifact; they replace the old ones."""
    _put(database, "stamps", [(path, *cast("list[int]", stamp.to_json())) for path, stamp in stamps.items()])


def body_of(record: Record) -> str:
    """A record as the table keeps it."""
    return canonical_json(record_to_json(record))


def _put(database: sqlite3.Connection, table: str, values: Iterable[tuple[str | int, ...]]) -> None:
    """Write many rows with one statement.

    One statement per row would wait for the interpreter lock each time.
    """
    whole = list(values)
    for at in range(0, len(whole), ROWS_PER_STATEMENT):
        here = whole[at : at + ROWS_PER_STATEMENT]
        places = f"({', '.join('?' * len(here[0]))})"
        flat = [value for row in here for value in row]
        statement = f"INSERT OR REPLACE INTO {table} VALUES {', '.join([places] * len(here))}"  # noqa: S608
        database.execute(statement, flat)


def write_digests(database: sqlite3.Connection, digests: Iterable[tuple[str, tuple[str, str]]]) -> None:
    """Write digests of host files; they replace the old ones."""
    _put(database, "digests", [(key, *value) for key, value in digests])


def forget(database: sqlite3.Connection, step_ids: Iterable[str], artifacts: Iterable[str]) -> None:
    """Delete all rows of these steps and artifacts."""
    ids = [(step_id,) for step_id in step_ids]
    database.executemany("DELETE FROM records WHERE id = ?", ids)
    database.executemany("DELETE FROM files WHERE id = ? OR id = ? || '~'", [(*row, *row) for row in ids])
    database.executemany("DELETE FROM stamps WHERE path = ?", [(artifact,) for artifact in artifacts])


def move(database: sqlite3.Connection, old: str, new: str, records: Mapping[str, Record]) -> None:
    """Give all rows of a VM its new name; `records` are its records under that."""
    write_records(database, {key: body_of(one) for key, one in records.items()})
    _forget_below(database, f"vm.{old}")
    for table, column, (before, after) in (
        ("files", "id", (f"vm.{old}.", f"vm.{new}.")),
        ("stamps", "path", (f"vms/{old}/", f"vms/{new}/")),
    ):
        database.execute(
            f"UPDATE OR REPLACE {table} SET {column} = ? || substr({column}, ?) "  # noqa: S608  # names of ours
            f"WHERE {column} >= ? AND {column} < ?",
            (after, len(before) + 1, before, _end_of(before)),
        )
    database.execute("UPDATE OR REPLACE origins SET owner = ? WHERE owner = ?", (f"vm.{new}", f"vm.{old}"))


def _forget_below(database: sqlite3.Connection, owner: str) -> None:
    start = f"{owner}."
    database.execute("DELETE FROM records WHERE id >= ? AND id < ?", (start, _end_of(start)))


def _end_of(prefix: str) -> str:
    """What comes after all texts with that prefix."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


def intents(database: sqlite3.Connection) -> list[tuple[str, Intent]]:
    """All intents with the names of their sessions, the oldest first."""
    found = database.execute("SELECT session, body FROM intents ORDER BY number")
    return [rows.intent(session, body) for session, body in found]


def write_intents(database: sqlite3.Connection, session: str, bodies: Iterable[str]) -> None:
    """Write what a session is about to publish, as canonical JSON."""
    (last,) = database.execute("SELECT ifnull(max(number), 0) FROM intents").fetchone()
    _put(database, "intents", [(number, session, body) for number, body in enumerate(bodies, last + 1)])


def drop_intents(database: sqlite3.Connection, session: str) -> None:
    """Delete the intents of a session."""
    database.execute("DELETE FROM intents WHERE session = ?", (session,))
