"""The store: the directory that holds all artifacts, and a database that says how each one was made.

An artifact is either complete or absent: it is made in a staging directory and renamed to its path.

    state.db      records, stamps, intents and the digests of host files (SQLite)
    .secrets-key  the key of digests of secrets, once there are any
    .staging/     one directory per session that makes something
    .locks/       files for flock(2), which the kernel unlocks when their holder ends

`contents` is the store as one reader or writer sees it. `publishing` renames the files of finished jobs.
`sessions` keeps writers apart. `database` has all SQL, `rows` checks what it reads. `directories` sees to it
that nothing leads out of the store. `stamps` detects that an artifact was changed. `faults` translates errors
of the system and of SQLite.
"""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bangerbuild.disk import durable
from bangerbuild.errors import StoreError
from bangerbuild.store import database as db
from bangerbuild.store import directories, salvage
from bangerbuild.store.contents import Store
from bangerbuild.store.directories import LOCKS, STAGING
from bangerbuild.store.faults import store_error
from bangerbuild.store.publishing import Staged
from bangerbuild.store.sessions import Session, make_staging
from bangerbuild.store.stamps import Stamp

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.store.salvage import Salvaged

__all__ = ["Recovering", "Staged", "Stamp", "Store", "read", "recovering", "writing"]


def read(path: Path) -> Store:
    """Open a store for reading. It may be missing or empty; nothing is made or written.

    Raises:
        StoreError: the path can't be read, or is no store.
    """
    try:
        directories.check(path)
        if not db.exists(path):
            return Store(path)
        with contextlib.closing(db.connect_read_only(path)) as database:
            if db.is_uninitialized(database):
                return Store(path)
            db.check_format(database, path)
            return Store(path, database)
    except (OSError, sqlite3.Error) as err:
        raise store_error(err, path) from err


@contextlib.contextmanager
def writing(path: Path, *, timeout_seconds: float, exclusive: bool = False) -> Iterator[Store]:
    """Open a store for writing, and make it if it is missing. What killed sessions left is removed first.

    Args:
        path: the store's directory.
        timeout_seconds: how long to wait for a lock.
        exclusive: whether all other writers are kept out.

    Raises:
        BusyError: another writer did not end in time.
        StoreError: the store can't be made, written or understood.
    """
    with contextlib.ExitStack() as stack:
        try:
            store = _begun(path, timeout_seconds, exclusive=exclusive, stack=stack)
        except (OSError, sqlite3.Error) as err:
            raise store_error(err, path) from err
        store.check_records()
        yield store
        with contextlib.suppress(
            StoreError
        ):  # digests that are lost are computed again; the work itself is done
            store.flush()


@contextlib.contextmanager
def recovering(path: Path, *, timeout_seconds: float) -> Iterator[Recovering]:
    """Open a store whose database may be lost or damaged, alone, to rebuild its records.

    A sound database is used as it is. Else a new one is made in staging, which takes its place at the clean
    end of the block; the damaged one is renamed then, see `salvage`.

    Raises:
        BusyError: another writer did not end in time.
        StoreError: the store is not there, or can't be written, or is of another version.
    """
    with contextlib.ExitStack() as stack:
        try:
            directories.check_places(path)
            (path / LOCKS).mkdir(mode=0o700, exist_ok=True)
            make_staging(path)
            session = Session(path, timeout_seconds, exclusive=True)
            stack.callback(session.close)
            salvaged = salvage.read(path)
            place = path if salvaged.is_intact else Path(tempfile.mkdtemp(dir=session.directory()))
            database = stack.enter_context(contextlib.closing(db.connect(place)))
            opened = Store(path, database, session)
            if salvaged.is_intact:
                for name in {name for name, _ in db.intents(database)}:
                    opened.settle_intents(name)
        except (OSError, sqlite3.Error) as err:
            raise store_error(err, path) from err
        found = Recovering(opened, salvaged)
        if not salvaged.is_intact:
            opened.keep_origins(salvaged.origins)
        yield found
        if opened.records:  # a `.staging` of another program is left alone
            session.sweep(opened.settle_intents)
        if place != path:
            try:
                database.close()
                found.set_aside = salvage.set_aside(path)
                (place / db.NAME).rename(path / db.NAME)
                durable.sync([path], path)
            except OSError as err:
                raise store_error(err, path) from err


@dataclass
class Recovering:
    """A store that is open to rebuild its records."""

    store: Store
    salvaged: Salvaged
    set_aside: Path | None = None
    """What a damaged database is called since the end of the block."""


def _begun(path: Path, timeout_seconds: float, *, exclusive: bool, stack: contextlib.ExitStack) -> Store:
    durable.make_directory(path, 0o700)
    directories.check(path)
    (path / LOCKS).mkdir(mode=0o700, exist_ok=True)
    make_staging(path)
    is_ours = db.exists(path)
    session = Session(path, timeout_seconds, exclusive=exclusive)
    stack.callback(session.close)
    with session.start_lock():  # SQLite does not wait when two connections switch a new database to WAL
        database = stack.enter_context(contextlib.closing(db.connect(path)))
    store = Store(path, database, session)
    stack.callback(store.close)
    if is_ours:  # a `.staging` of another program is left alone
        session.sweep(store.settle_intents)
        for name in {name for name, _ in db.intents(database)}:
            if not (path / STAGING / name).exists():  # the store was copied without its staging directory
                store.settle_intents(name)
    return store
