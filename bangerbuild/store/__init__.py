"""The store: artifacts, what is remembered of them, and how they change without ever being half-made.

    state.db     records, stamps, intents and the digests of host files
    .staging/    a directory for each session that makes something
    .locks/      flock(2) files: a lock dies with its holder

`contents` is the store as one reader or writer sees it, `publishing` what a finished job leaves to be put in
its place, `sessions` what tells writers apart, `database` the only SQL, `stamps` what tells that an artifact
was changed, `faults` how the system's errors are told.
"""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING

from bangerbuild.errors import StoreError
from bangerbuild.store import database as db
from bangerbuild.store.contents import Store
from bangerbuild.store.faults import store_error
from bangerbuild.store.publishing import Staged
from bangerbuild.store.sessions import LOCKS, STAGING, Session, make_staging
from bangerbuild.store.stamps import Stamp

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Staged", "Stamp", "Store", "read", "writing"]


def read(path: Path) -> Store:
    """The store as it stands; nothing needs to be there, and nothing is made or written.

    Raises:
        StoreError: there is something that can't be read or is no store.
    """
    try:
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
    """The store, made if need be, for one writer among others; swept of what killed ones left.

    Args:
        path: where it lies.
        timeout_seconds: how long to wait for a lock.
        exclusive: whether nobody else may write meanwhile.

    Raises:
        BusyError: another writer was not done in time.
        StoreError: the store can't be made, written or understood.
    """
    with contextlib.ExitStack() as stack:
        try:
            store = _begun(path, timeout_seconds, exclusive=exclusive, stack=stack)
        except (OSError, sqlite3.Error) as err:
            raise store_error(err, path) from err
        yield store
        with contextlib.suppress(StoreError):  # what is lost is hashed again; the work itself is done
            store.flush()


def _begun(path: Path, timeout_seconds: float, *, exclusive: bool, stack: contextlib.ExitStack) -> Store:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    (path / LOCKS).mkdir(mode=0o700, exist_ok=True)
    make_staging(path)
    is_ours = db.exists(path)
    session = Session(path, timeout_seconds, exclusive=exclusive)
    stack.callback(session.close)
    with session.start_lock():  # SQLite does not wait where two switch a new database to WAL
        database = stack.enter_context(contextlib.closing(db.connect(path)))
    store = Store(path, database, session)
    stack.callback(store.close)
    if is_ours:  # what another program keeps under that name stays
        session.sweep(store.settle_intents)
        for name in {name for name, _ in db.intents(database)}:
            if not (path / STAGING / name).exists():  # in a copied store
                store.settle_intents(name)
    return store
