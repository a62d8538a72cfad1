"""The store: artifacts, what is remembered of them, and how they change without ever being half-made.

    state.db     records, stamps, intents and the digests of host files (SQLite, WAL)
    .staging/    one directory per running job, swept when the next writer comes
    .locks/      flock(2) files: a lock dies with its holder

An artifact is made in staging, then published: its intent is committed, it is renamed into place, the record
is committed and the intent withdrawn. A reader that meets an intent looks at the artifact: if its inode (or,
in a copied store, its digest) is the one the intent speaks of, the rename took place and the intent's record
holds; else the old record does. So there is no instant at which a kill leaves an artifact that no record
describes, not even if a guest has written to it since.

A stamp is what `stat` says of an artifact as it was published. Its mtime is set to whole milliseconds, which
the kernel's clock never gives by itself, so that a write in the same tick still shows.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import sqlite3
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from bangerbuild import locks
from bangerbuild.disk import clone, durable
from bangerbuild.errors import StoreError
from bangerbuild.fingerprint import canonical_json, record_from_json, record_to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from bangerbuild.model import Json, Record

FORMAT = 1
SCHEMA = """
CREATE TABLE records (id TEXT PRIMARY KEY, body TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE stamps (
    path TEXT PRIMARY KEY, size INTEGER, mtime_ns INTEGER, inode INTEGER, digest TEXT, guest INTEGER
) WITHOUT ROWID;
CREATE TABLE intents (number INTEGER PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE digests (key TEXT PRIMARY KEY, stamp TEXT NOT NULL, digest TEXT NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Stamp:
    """An artifact as it was published."""

    size: int
    mtime_ns: int
    inode: int
    digest: str
    guest: bool = False
    """Whether it holds what a guest has written: then it stays the guest's, whatever we change in it."""

    def fits(self, status: os.stat_result) -> bool:
        """Whether `stat` still says the same, so that the digest need not be asked."""
        return (self.size, self.mtime_ns, self.inode) == (status.st_size, status.st_mtime_ns, status.st_ino)


@dataclass(frozen=True)
class Staged:
    """A finished job: the records that will hold, and its files in staging under the artifacts' names."""

    records: tuple[Record, ...]
    files: Mapping[str, Path]
    guests: frozenset[str] = frozenset()
    """Those of the files that hold what a guest has written."""


class Store:
    """The store as one reader or writer sees it. Records and stamps are read once, when it is opened."""

    def __init__(self, path: Path, database: sqlite3.Connection | None) -> None:
        self.path = path
        self._database = database
        self.records: dict[str, Record] = {}
        self.stamps: dict[str, Stamp] = {}
        self._digests: dict[str, tuple[str, str]] = {}
        self._new_digests: dict[str, tuple[str, str]] = {}

    @classmethod
    def loaded(cls, path: Path, database: sqlite3.Connection, *, writable: bool) -> Store:
        """The store with what its database remembers."""
        store = cls(path, database if writable else None)
        for step_id, body in database.execute("SELECT id, body FROM records"):
            store.records[step_id] = record_from_json(step_id, json.loads(body))
        for artifact, *stamp in database.execute("SELECT * FROM stamps"):
            store.stamps[artifact] = Stamp(*stamp)
        for key, stamp, digest in database.execute("SELECT key, stamp, digest FROM digests"):
            store._digests[key] = (stamp, digest)
        for (body,) in database.execute("SELECT body FROM intents ORDER BY number"):
            store._settle(json.loads(body))
        return store

    def _settle(self, intent: dict[str, dict[str, Json]]) -> None:
        """Take an interrupted publication for done if its renames took place.

        A rename keeps the inode, so that it tells even where a guest has used the disk in the meantime.
        """
        stamps = {path: Stamp(*cast("list[int]", stamp)) for path, stamp in intent["stamps"].items()}  # type: ignore[arg-type] # the digest is text; JSON keeps the order
        if all(self._is_inode(path, stamp) or self._is(path, stamp) for path, stamp in stamps.items()):
            self.stamps |= stamps
            for step_id, body in intent["records"].items():
                self.records[step_id] = record_from_json(step_id, cast("dict[str, Json]", body))

    def _is_inode(self, artifact: str, stamp: Stamp) -> bool:
        try:
            return (self.path / artifact).stat().st_ino == stamp.inode
        except FileNotFoundError:
            return False

    def _is(self, artifact: str, stamp: Stamp) -> bool:
        try:
            status = (self.path / artifact).stat()
        except FileNotFoundError:
            return False
        return stamp.fits(status) or (
            stamp.size == status.st_size and clone.digest(self.path / artifact) == stamp.digest
        )

    def record(self, step_id: str, fingerprint: str) -> Record | None:
        """What is remembered of a step's run with this fingerprint if it is kept apart, else of its last run.

        Artifacts that carry their fingerprint in their path stay when the recipe changes, and hold again
        when it changes back.
        """
        return self.records.get(f"{step_id}@{fingerprint}") or self.records.get(step_id)

    def exists(self, artifact: str) -> bool:
        """Whether there is an artifact of that name."""
        try:
            return (self.path / artifact).is_file()
        except OSError as err:
            raise _store_error(err, self.path / artifact) from err

    def size(self, artifact: str) -> int | None:
        """How many bytes an artifact has; None if it is not there."""
        try:
            return (self.path / artifact).stat().st_size
        except FileNotFoundError:
            return None
        except OSError as err:
            raise _store_error(err, self.path / artifact) from err

    def modified(self, artifact: str, *, may_read: bool = True) -> bool:
        """Whether a guest, or anyone else, has changed an artifact since we last made it ourselves.

        A `stat` that differs proves nothing, so the digest decides, but for a file that may not be read.

        Raises:
            StoreError: it can't be read.
        """
        stamp = self.stamps.get(artifact)
        try:
            if stamp is None or stamp.guest:
                return True
            if may_read:
                return not self._is(artifact, stamp)
            return not stamp.fits((self.path / artifact).stat())
        except OSError as err:
            raise _store_error(err, self.path / artifact) from err

    def get(self, key: str, stamp: str) -> str | None:
        """The digest of a host file whose `stat` still says what `stamp` says."""
        known = self._digests.get(key)
        return known[1] if known and known[0] == stamp else None

    def put(self, key: str, stamp: str, digest: str) -> None:
        """Remember the digest of a host file; written by `publish` and `flush`, if this is a writer."""
        self._new_digests[key] = self._digests[key] = (stamp, digest)

    def flush(self) -> None:
        """Write the digests that were put since the last publication."""
        try:
            with self._writer() as database:
                self._write_digests(database)
        except sqlite3.Error as err:
            raise _store_error(err, self.path) from err

    def stage(self) -> Path:
        """A new private directory on the store's filesystem; the caller removes it."""
        try:
            return Path(tempfile.mkdtemp(dir=self.path / ".staging"))
        except OSError as err:
            raise _store_error(err, self.path) from err

    def publish(
        self, batch: Sequence[Staged], *, may_take: Callable[[str], bool] = lambda _: True
    ) -> list[Staged]:
        """Put the files of finished jobs in their places and remember them, all together.

        Args:
            batch: the jobs.
            may_take: asked of each artifact right before its place is taken, so that nothing can happen
                between the answer and the rename. A job is published whole or not at all.

        Returns:
            The jobs that were not published because a place might not be taken.

        Raises:
            StoreError: nothing is published that no record or intent describes.
        """
        try:
            stamped = [(job, _stamps(job)) for job in batch]
            durable.sync([file for job in batch for file in job.files.values()], self.path)
            self._write_intents(stamped)
            refused = self._rename(batch, may_take)
            self._confirm([(job, stamps) for job, stamps in stamped if job not in refused])
        except (OSError, sqlite3.Error) as err:
            raise _store_error(err, self.path) from err
        return refused

    def _write_intents(self, stamped: Sequence[tuple[Staged, dict[str, Stamp]]]) -> None:
        with self._writer() as database:
            database.executemany(
                "INSERT INTO intents (body) VALUES (?)",
                [
                    (
                        canonical_json(
                            {
                                "records": {record.id: record_to_json(record) for record in job.records},
                                "stamps": {path: _stamp_to_json(stamp) for path, stamp in stamps.items()},
                            }
                        ),
                    )
                    for job, stamps in stamped
                ],
            )

    def _rename(self, batch: Sequence[Staged], may_take: Callable[[str], bool]) -> list[Staged]:
        changed = {(self.path / artifact).parent for job in batch for artifact in job.files}
        for parent in sorted(changed):
            changed |= _made(parent)
        refused = []
        for job in batch:
            if not all(map(may_take, job.files)):
                refused.append(job)
                continue
            for artifact, staged in job.files.items():
                staged.rename(self.path / artifact)
        durable.sync(changed, self.path)
        return refused

    def _confirm(self, stamped: Sequence[tuple[Staged, dict[str, Stamp]]]) -> None:
        with self._writer() as database:
            database.execute("DELETE FROM intents")
            for job, stamps in stamped:
                self.stamps |= stamps
                self.records |= {record.id: record for record in job.records}
                _write_records(database, job.records)
                _write_stamps(database, stamps)
            self._write_digests(database)

    def _write_digests(self, database: sqlite3.Connection) -> None:
        """Jobs may put further ones meanwhile, so each is taken out as it is written."""
        taken = [self._new_digests.popitem() for _ in range(len(self._new_digests))]
        database.executemany(
            "INSERT OR REPLACE INTO digests VALUES (?, ?, ?)", [(key, *value) for key, value in taken]
        )

    @contextlib.contextmanager
    def _writer(self) -> Iterator[sqlite3.Connection]:
        if self._database is None:
            raise StoreError(f"the store '{self.path}' was opened to be read")
        with self._database:
            yield self._database


def read(path: Path) -> Store:
    """The store as it stands; nothing needs to be there, and nothing is made or written.

    Raises:
        StoreError: there is something that can't be read or is no store.
    """
    database_path = path / "state.db"
    try:
        if not database_path.exists():
            return Store(path, None)
        with contextlib.closing(_connect_read_only(database_path)) as database:
            if _is_unborn(database):
                return Store(path, None)
            _check_format(database, path)
            return Store.loaded(path, database, writable=False)
    except (OSError, sqlite3.Error) as err:
        raise _store_error(err, path) from err


def _connect_read_only(path: Path) -> sqlite3.Connection:
    """Without a write-ahead log there is nobody to wait for, and `immutable` leaves no file behind."""
    quiet = not path.with_name("state.db-wal").exists()
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=ro{'&immutable=1' if quiet else ''}",
        uri=True,
        check_same_thread=False,
    )


@contextlib.contextmanager
def writing(path: Path, *, timeout_seconds: float) -> Iterator[Store]:
    """The store, made if need be, for one writer at a time; swept of what a killed one left.

    Raises:
        BusyError: another writer was not done in time.
        StoreError: the store can't be made, written or understood.
    """
    with contextlib.ExitStack() as stack:
        try:
            store = _open(path, timeout_seconds, stack)
        except (OSError, sqlite3.Error) as err:
            raise _store_error(err, path) from err
        yield store
        with contextlib.suppress(StoreError):  # what is lost is hashed again; the work itself is done
            store.flush()


def _open(path: Path, timeout_seconds: float, stack: contextlib.ExitStack) -> Store:
    for directory in (path, path / ".staging", path / ".locks"):
        directory.mkdir(mode=0o700, parents=directory == path, exist_ok=True)
    stack.enter_context(locks.held(path / ".locks" / "store", timeout_seconds))
    is_ours = (path / "state.db").exists()
    database = stack.enter_context(contextlib.closing(_connect(path)))
    store = Store.loaded(path, database, writable=True)
    _persist_settled(database, store)
    if is_ours:  # what another program keeps under that name stays
        _sweep(path / ".staging")
    return store


def _connect(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path / "state.db", check_same_thread=False)
    (path / "state.db").chmod(0o600)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    if _is_unborn(database):
        database.executescript(f"BEGIN; {SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT;")
    _check_format(database, path)
    return database


def _is_unborn(database: sqlite3.Connection) -> bool:
    """Whether its maker has not come to writing the schema yet, or never will."""
    return (
        database.execute("PRAGMA user_version").fetchone() == (0,)
        and not database.execute("SELECT EXISTS (SELECT * FROM sqlite_schema)").fetchone()[0]
    )


def _check_format(database: sqlite3.Connection, path: Path) -> None:
    (found,) = database.execute("PRAGMA user_version").fetchone()
    if found != FORMAT:
        raise StoreError(
            f"the store '{path}' has format {found}, and this program reads format {FORMAT}",
            hint="use the bangerbuild that made it, or another store: --store DIR",
        )


def _persist_settled(database: sqlite3.Connection, store: Store) -> None:
    if not database.execute("SELECT EXISTS (SELECT * FROM intents)").fetchone()[0]:
        return
    with database:
        _write_records(database, store.records.values())
        _write_stamps(database, store.stamps)
        database.execute("DELETE FROM intents")


def _write_records(database: sqlite3.Connection, records: Iterable[Record]) -> None:
    database.executemany(
        "INSERT OR REPLACE INTO records VALUES (?, ?)",
        [(record.id, canonical_json(record_to_json(record))) for record in records],
    )


def _write_stamps(database: sqlite3.Connection, stamps: Mapping[str, Stamp]) -> None:
    database.executemany(
        "INSERT OR REPLACE INTO stamps VALUES (?, ?, ?, ?, ?, ?)",
        [(path, *cast("list[int]", _stamp_to_json(stamp))) for path, stamp in stamps.items()],
    )


def _sweep(staging: Path) -> None:
    """Only the holder of the store's lock stages, so whatever lies here was left by one that died."""
    for path in staging.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _stamps(job: Staged) -> dict[str, Stamp]:
    return {path: _stamp(file, guest=path in job.guests) for path, file in job.files.items()}


def _stamp(file: Path, *, guest: bool) -> Stamp:
    """Stamp a staged file; see the module's docstring for the mtime."""
    digest = clone.digest(file)
    milliseconds = time.time_ns() // 1_000_000
    os.utime(file, ns=(milliseconds * 1_000_000, milliseconds * 1_000_000))
    status = file.stat()
    return Stamp(status.st_size, status.st_mtime_ns, status.st_ino, digest, guest)


def _made(directory: Path) -> set[Path]:
    """Make a directory and those above it that are missing; the directories that got a new name in them."""
    missing = [path for path in (directory, *directory.parents) if not path.exists()]
    directory.mkdir(parents=True, exist_ok=True)
    return {path.parent for path in missing}


def _stamp_to_json(stamp: Stamp) -> list[Json]:
    return [stamp.size, stamp.mtime_ns, stamp.inode, stamp.digest, stamp.guest]


def _store_error(err: OSError | sqlite3.Error, path: Path) -> StoreError:
    if isinstance(err, sqlite3.Error):
        return StoreError(
            f"the store '{path}' can't be used: state.db: {err}",
            hint="check that it can be written and has room; restore state.db from a backup if it is damaged",
        )
    place = err.filename or path
    hints = {
        errno.EACCES: "choose another place: --store DIR, or `path` under [store]",
        errno.EROFS: "choose another place: --store DIR, or `path` under [store]",
        errno.ENOSPC: "free some space there, or choose another place: --store DIR",
        errno.EDQUOT: "free some space there, or choose another place: --store DIR",
    }
    return StoreError(f"'{place}': {(err.strerror or str(err)).lower()}", hint=hints.get(err.errno or 0))
