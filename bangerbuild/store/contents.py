"""The store as one reader or writer sees it: records, stamps, and how artifacts are published.

An artifact is made in staging, then published: its intent is committed, it is renamed into place, the record
is committed and the intent withdrawn. A reader that meets an intent looks at the artifact: if its inode (or,
in a copied store, its digest) is the one the intent speaks of, the rename took place and the intent's record
holds; else the old record does. So there is no instant at which a kill leaves an artifact that no record
describes, not even if a guest has written to it since.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import stat
import tempfile
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from bangerbuild.disk import clone, durable, interrupted
from bangerbuild.errors import FilesystemError, NoRoomError, StoreError
from bangerbuild.fingerprint import canonical_json, record_from_json
from bangerbuild.store import database as db
from bangerbuild.store import stamps as stamping
from bangerbuild.store.faults import is_out_of_space, store_error
from bangerbuild.store.publishing import Publication, put_in_place
from bangerbuild.store.stamps import Stamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from bangerbuild.model import Json, Record
    from bangerbuild.store.database import Intent
    from bangerbuild.store.publishing import Staged
    from bangerbuild.store.sessions import Session

T = TypeVar("T")
NOWHERE = {errno.ENOENT, errno.ENOTDIR, errno.ELOOP}
"""What `stat` says of a path that leads to nothing."""


class Store:
    """The store as one reader or writer sees it. Records and stamps are read once, and by `refresh` again.

    Args:
        path: where it lies.
        database: open, for a reader until it is loaded; None: there is none, and nothing is remembered.
        session: of the writer; None: it is only read.
    """

    def __init__(
        self, path: Path, database: sqlite3.Connection | None = None, session: Session | None = None
    ) -> None:
        self.path = path
        self._database = database
        self._session = session
        self._mutex = threading.RLock()
        """Jobs ask in their threads, and may still do so when an interrupted run closes the store."""
        self._version = 0
        self._new_stamps: dict[str, Stamp] = {}
        self._new_digests: dict[str, tuple[str, str]] = {}
        self._load()

    def _load(self) -> None:
        self.records: dict[str, Record] = {}
        self.stamps: dict[str, Stamp] = {}
        self._written: dict[str, Mapping[str, str]] = {}
        self._digests: dict[str, tuple[str, str]] = {}
        if self._database is None:
            return
        self._version = db.version(self._database)
        self.records = {record.id: record for record in db.records(self._database)}
        self.stamps = dict(db.stamps(self._database))
        self._digests = dict(db.digests(self._database)) | self._new_digests
        for _, intent in db.intents(self._database):
            self._apply_if_renamed(intent)

    @property
    def is_writable(self) -> bool:
        """Whether this is a writer."""
        return self._session is not None

    def refresh(self) -> bool:
        """Read again what another has changed; whether anything had been changed since."""
        with self._mutex:
            if self._database is None or db.version(self._database) == self._version:
                return False
            self._load()
            return True

    def _apply_if_renamed(self, intent: Intent) -> bool:
        """Take an interrupted publication for done if its renames took place.

        A rename keeps the inode, so that it tells even where a guest has used the disk in the meantime. In a
        copied store size and mtime tell, which nobody else sets to a whole millisecond, or else the digest.
        """
        stamps = {path: Stamp.from_json(stamp) for path, stamp in intent["stamps"].items()}
        if not all(self._was_renamed(path, stamp) for path, stamp in stamps.items()):
            return False
        self.stamps |= stamps
        for step_id, body in intent["records"].items():
            self.records[step_id] = record_from_json(step_id, cast("dict[str, Json]", body))
        self._written |= cast("dict[str, dict[str, str]]", intent["written"])
        return True

    def _was_renamed(self, artifact: str, stamp: Stamp) -> bool:
        status = self.status(artifact)
        return status is not None and (
            status.st_ino == stamp.inode
            or (status.st_size, status.st_mtime_ns) == (stamp.size, stamp.mtime_ns)
            or self._matches(artifact, stamp, status)
        )

    def _is_unchanged(self, artifact: str, stamp: Stamp) -> bool:
        try:
            status = os.stat(f"{self.path}/{artifact}")
        except FileNotFoundError:
            return False
        return self._matches(artifact, stamp, status)

    def _matches(self, artifact: str, stamp: Stamp, status: os.stat_result) -> bool:
        """Whether an artifact of which `stat` says this is the one that was stamped."""
        if stamp.fits(status):
            return True
        if stamp.size != status.st_size or clone.digest(self.path / artifact) != stamp.digest:
            return False
        self._keep_stamp(artifact, stamping.of(status, stamp.digest, guest=stamp.guest), status)
        return True

    def record(self, step_id: str, fingerprint: str) -> Record | None:
        """What is remembered of a step's run with this fingerprint if it is kept apart, else of its last run.

        Artifacts that carry their fingerprint in their path stay when the recipe changes, and hold again
        when it changes back.
        """
        return self.records.get(f"{step_id}@{fingerprint}") or self.records.get(step_id)

    def ledger(self, step_id: str) -> Mapping[str, str]:
        """What a patch wrote into its guest, by guest path."""
        if step_id not in self._written:
            try:
                self._written[step_id] = self._read(db.files, step_id)
            except sqlite3.Error as err:
                raise store_error(err, self.path) from err
        return self._written[step_id]

    def intended_ledger(self, step_id: str) -> Mapping[str, Sequence[str]]:
        """What a patch was about to write since, in runs that were never confirmed."""
        try:
            return self._read(db.unconfirmed, step_id)
        except sqlite3.Error as err:
            raise store_error(err, self.path) from err

    def intend(self, step_id: str, files: Mapping[str, str]) -> None:
        """Remember what a patch is about to write into its guest; jobs may say so, each in its thread.

        Raises:
            StoreError: the store can't be written.
        """
        try:
            with self._writer() as database:
                db.write_unconfirmed(database, step_id, files)
        except sqlite3.Error as err:
            raise store_error(err, self.path) from err

    def _read(self, what: Callable[[sqlite3.Connection, str], dict[str, T]], step_id: str) -> dict[str, T]:
        """A reader has no connection open."""
        with self._mutex:
            if self._session is not None and self._database is not None:
                return what(self._database, step_id)
        if not self.records:
            return {}
        with contextlib.closing(db.connect_read_only(self.path)) as database:
            return what(database, step_id)

    def exists(self, artifact: str) -> bool:
        """Whether there is an artifact of that name."""
        status = self.status(artifact)
        return status is not None and stat.S_ISREG(status.st_mode)

    def obstacle(self, artifact: str) -> str | None:
        """What lies in the place of an artifact that is not there, as text for a message; None: nothing.

        A symlink that leads nowhere is one as well: a disk may be behind it on a drive that is not there now.
        """
        place = self.path / artifact
        if not os.path.lexists(place) or place.is_file():
            return None
        if place.is_symlink():
            leads = "which is no file" if place.exists() else "which is not there"
            return f"'{place}' is a symlink to '{place.readlink()}', {leads}"
        return f"'{place}' is {'a directory' if place.is_dir() else 'no regular file'}"

    def size(self, artifact: str) -> int | None:
        """How many bytes an artifact has, or had before an interrupted growth; None: it is not there.

        Where the note of that growth is damaged, what it has: whoever changes the disk is told.
        """
        status = self.status(artifact)
        if status is None:
            return None
        try:
            return interrupted.size_before(self.path / artifact) or status.st_size
        except FilesystemError:
            return status.st_size

    def allocated(self, artifact: str) -> int | None:
        """How many bytes an artifact takes up; None: it is not there."""
        status = self.status(artifact)
        return None if status is None else status.st_blocks * 512

    def status(self, artifact: str) -> os.stat_result | None:
        """What `stat` says of an artifact; None if it is not there."""
        try:
            return os.stat(f"{self.path}/{artifact}")
        except OSError as err:
            if err.errno in NOWHERE:
                return None
            raise store_error(err, self.path / artifact) from err

    def is_half_patched(self, artifact: str) -> bool:
        """Whether a patch of a disk was interrupted."""
        return interrupted.is_half_patched(f"{self.path}/{artifact}")

    def is_half_grown(self, artifact: str) -> bool:
        """Whether the growth of a disk was interrupted."""
        return interrupted.is_half_grown(f"{self.path}/{artifact}")

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
                return not self._is_unchanged(artifact, stamp)
            return not stamp.fits((self.path / artifact).stat())
        except OSError as err:
            raise store_error(err, self.path / artifact) from err

    def record_inspected(self, artifact: str, status: os.stat_result) -> None:
        """Remember that an artifact was touched, so is a guest's, and was found to be as declared."""
        self._keep_stamp(artifact, stamping.of(status, "", guest=True), status)

    def _keep_stamp(self, artifact: str, stamp: Stamp, status: os.stat_result) -> None:
        """Kept by `flush` of a writer; not if the file is so young that its mtime would not show a change."""
        if stamping.is_settled(status):
            self._new_stamps[artifact] = stamp

    def get(self, key: str, stamp: str) -> str | None:
        """The digest of a host file whose `stat` still says what `stamp` says."""
        known = self._digests.get(key)
        return known[1] if known and known[0] == stamp else None

    def put(self, key: str, stamp: str, digest: str) -> None:
        """Remember the digest of a host file; written by `publish` and `flush`, if this is a writer."""
        self._new_digests[key] = self._digests[key] = (stamp, digest)

    def flush(self) -> None:
        """Write the digests that were put and the artifacts that were seen since the last publication."""
        if not self._new_digests and not self._new_stamps:
            return
        try:
            with self._writer() as database:
                self._write_digests(database)
                if db.version(database) == self._version:  # else another may know better
                    db.write_stamps(database, self._new_stamps)
        except sqlite3.Error as err:
            raise store_error(err, self.path) from err

    def flush_and_close(self) -> bool:
        """Write what is left to be written and let go of the database, as the last thing that is done.

        Returns:
            Whether the database says what this store knows, and will until the session ends.

        Raises:
            StoreError: it can't be written.
        """
        self.flush()
        self.stamps |= self._new_stamps
        try:
            with self._mutex:
                knows_all = self._database is not None and (
                    self._writing().lock_exclusively() and db.version(self._database) == self._version
                )
                self.close()
        except (OSError, sqlite3.Error) as err:
            raise store_error(err, self.path) from err
        return knows_all

    def lock(self, owners: Iterable[str]) -> bool:
        """Have what belongs to these VMs and images (`vm.web`) to oneself.

        Returns:
            Whether anything may have changed before: the store did, or somebody was at work on one of them.

        Raises:
            BusyError: somebody else works on one of them, and did not end in time.
            StoreError: the store can't be written.
        """
        try:
            held = self._writing().owners
            if held.names.issuperset(owners):
                return False
            waited = held.take(owners)
            return self.refresh() or waited
        except (OSError, sqlite3.Error) as err:
            raise store_error(err, self.path) from err

    @property
    def locked(self) -> frozenset[str]:
        """What `lock` holds."""
        return self._writing().owners.names

    def stage(self) -> Path:
        """A new private directory on the store's filesystem; the caller removes it."""
        try:
            return Path(tempfile.mkdtemp(dir=self._writing().directory()))
        except OSError as err:
            raise store_error(err, self.path) from err

    def staged(self, artifact: str) -> Path:
        """Where an artifact is made before it is published; the caller removes what is not."""
        try:
            return self._writing().file_directory() / artifact.replace("/", "%")
        except OSError as err:
            raise store_error(err, self.path) from err

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
            NoRoomError: the disk is full; nothing was published, and a part of the batch might be.
            StoreError: nothing is published that no record or intent describes.
        """
        try:
            publications = [Publication.of(job) for job in batch]
            durable.sync([file for job in batch for file in job.files.values()], self.path)
            self._write_intents(publications)
        except (OSError, sqlite3.Error) as err:
            error = store_error(err, self.path)
            if is_out_of_space(err, self.path):
                error = NoRoomError(error.brief, hint=error.hint)
            raise error from err
        try:
            refused = self._rename(batch, may_take)
            left_out = set(map(id, refused))
            self._confirm([one for one in publications if id(one.job) not in left_out])
        except (OSError, sqlite3.Error) as err:
            raise store_error(err, self.path) from err
        return refused

    def _write_intents(self, publications: Sequence[Publication]) -> None:
        bodies = [publication.intent() for publication in publications]
        with self._writer() as database:
            db.write_intents(database, self._writing().name, bodies)

    def _rename(self, batch: Sequence[Staged], may_take: Callable[[str], bool]) -> list[Staged]:
        refused, changed = put_in_place(self.path, batch, may_take)
        durable.sync(changed, self.path)
        return refused

    def _confirm(self, publications: Sequence[Publication]) -> None:
        stamps = {path: stamp for one in publications for path, stamp in one.stamps.items()}
        self.stamps |= stamps
        for artifact in stamps:
            self._new_stamps.pop(artifact, None)  # it is another now than the one that was looked at
        for publication in publications:
            self.records |= {record.id: record for record in publication.job.records}
            self._written |= publication.job.written
        with self._writer() as database:
            db.drop_intents(database, self._writing().name)
            db.write_records(
                database, {key: body for one in publications for key, body in one.records.items()}
            )
            db.write_files(database, {key: body for one in publications for key, body in one.written.items()})
            db.write_stamps(database, stamps)
            self._write_digests(database)

    def _write_digests(self, database: sqlite3.Connection) -> None:
        """Jobs may put further ones meanwhile, so each is taken out as it is written."""
        db.write_digests(database, [self._new_digests.popitem() for _ in range(len(self._new_digests))])

    def settle_intents(self, session: str) -> None:
        """Remember for good what a dead session came to publish, and withdraw its intents."""
        with self._writer() as database:
            for name, intent in db.intents(database):
                if name == session and self._apply_if_renamed(intent):
                    db.write_records(database, _texts(intent["records"]))
                    db.write_files(database, _texts(intent["written"]))
                    db.write_stamps(database, {path: self.stamps[path] for path in intent["stamps"]})
            db.drop_intents(database, session)

    def forget(self, step_ids: Sequence[str], artifacts: Sequence[str]) -> None:
        """Remove artifacts, and all that is remembered of them and of these steps.

        The files go first: a record without its artifact is planned as missing, a file without a record would
        be taken for somebody's own. Of a disk that was changed by half what would mend it goes last.

        Raises:
            StoreError: the store can't be written.
        """
        try:
            for artifact in artifacts:
                path = self.path / artifact
                for file in (path, *interrupted.leftovers(path)):
                    file.unlink(missing_ok=True)
            parents = {(self.path / artifact).parent for artifact in artifacts}
            durable.sync([parent for parent in parents if parent.is_dir()], self.path)
            with self._writer() as database:
                db.forget(database, step_ids, artifacts)
        except (OSError, sqlite3.Error) as err:
            raise store_error(err, self.path) from err
        for step_id in step_ids:
            self.records.pop(step_id, None)
            self._written.pop(step_id, None)
        for artifact in artifacts:
            self.stamps.pop(artifact, None)

    def make_current(self, kept: Iterable[tuple[str, str]]) -> None:
        """Remember runs that are kept apart, and hold again, as the last ones of their steps.

        Args:
            kept: ids of steps, and the fingerprints that hold.

        Raises:
            StoreError: the store can't be written.
        """
        again = [
            replace(apart, id=step_id)
            for step_id, fingerprint in kept
            if (apart := self.records.get(f"{step_id}@{fingerprint}"))
            and (last := self.records.get(step_id))
            and last.fingerprint != fingerprint
        ]
        if not again:
            return
        try:
            with self._writer() as database:
                db.write_records(database, {record.id: db.body_of(record) for record in again})
        except (OSError, sqlite3.Error) as err:
            raise store_error(err, self.path) from err
        self.records |= {record.id: record for record in again}

    def _writing(self) -> Session:
        if self._session is None:
            raise StoreError(f"the store '{self.path}' was opened to be read")
        return self._session

    @contextlib.contextmanager
    def _writer(self) -> Iterator[sqlite3.Connection]:
        self._writing()
        with self._mutex:
            if self._database is None:
                raise StoreError(f"the store '{self.path}' was closed")
            with self._database:
                self._database.execute("BEGIN IMMEDIATE")
                yield self._database

    def close(self) -> None:
        """Let go of the database; whoever still asks is told nothing more."""
        with self._mutex:
            if self._database is not None:
                self._database.close()
            self._database = None


def _texts(bodies: Mapping[str, Json]) -> dict[str, str]:
    return {key: canonical_json(body) for key, body in bodies.items()}
