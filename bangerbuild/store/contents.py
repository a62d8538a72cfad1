"""The store as one reader or writer sees it: records, stamps, and how artifacts are published.

Publishing has four steps: an intent is committed to the database, the artifact is renamed from staging to its
path, the record is committed, the intent is deleted. A reader that finds an intent looks at the artifact. If
the artifact has the inode that the intent names (in a copied store: the digest), the rename took place and
the record in the intent is valid; otherwise the old record is. So whenever the program is killed, every
artifact has a record that describes it, even if a guest has written to the artifact since.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import tempfile
import threading
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, cast

from bangerbuild.disk import clone, durable
from bangerbuild.errors import NoRoomError, StoreError
from bangerbuild.model.fingerprint import canonical_json, record_from_json
from bangerbuild.model.ids import StepId
from bangerbuild.model.recipe import DESTROYED
from bangerbuild.store import database as db
from bangerbuild.store import lost, moving, replacing, secrets_key
from bangerbuild.store import stamps as stamping
from bangerbuild.store.directory import StoreDirectory
from bangerbuild.store.faults import is_out_of_space, store_error
from bangerbuild.store.publishing import Publication, put_in_place
from bangerbuild.store.rows import MOVED
from bangerbuild.store.stamps import Stamp

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from bangerbuild.model import Json, Record
    from bangerbuild.store.publishing import Staged
    from bangerbuild.store.rows import Intent
    from bangerbuild.store.sessions import Session

T = TypeVar("T")
AT_ONCE = 128
"""How many artifacts are held open at once, to be removed all together or not at all."""
_NO_PUBLICATION: dict[str, Json] = {"records": {}, "stamps": {}, "written": {}}


class Store(StoreDirectory):
    """The store as one reader or writer sees it. Records and stamps are read once, and again by `refresh`.

    Args:
        path: the store's directory.
        database: an open connection; a reader needs it only here. None: there is no database yet.
        session: the writer's session; None: the store is only read.
    """

    def __init__(
        self, path: Path, database: sqlite3.Connection | None = None, session: Session | None = None
    ) -> None:
        super().__init__(path)
        self._database = database
        self._session = session
        self._mutex = threading.RLock()
        """Threads of jobs use the store, even while an interrupted run closes it."""
        self._version = 0
        self._new_stamps: dict[str, Stamp] = {}
        self._new_digests: dict[str, tuple[str, str]] = {}
        self._load()

    def _load(self) -> None:
        self.records: dict[str, Record] = {}
        self.stamps: dict[str, Stamp] = {}
        self._written: dict[str, Mapping[str, str]] = {}
        self._digests: dict[str, tuple[str, str]] = {}
        self.origins: dict[str, str] = {}
        self._supposed = {}
        self._unsettled: dict[str, str] = {}
        """VMs that were moved, and of which the database does not know that yet."""
        if self._database is None:
            return
        self._version = db.version(self._database)
        self.records = {record.id: record for record in db.records(self._database)}
        self.stamps = dict(db.stamps(self._database))
        self.origins = dict(db.origins(self._database))
        self._digests = dict(db.digests(self._database)) | self._new_digests
        for _, intent in db.intents(self._database):
            self._apply_if_renamed(intent)

    def check_records(self) -> None:
        """Refuse to judge a store whose records are lost.

        Raises:
            StoreError: it has artifacts, and no records.
        """
        if not self.records and lost.has_artifacts(self.path):
            raise lost.lost_error(self.path)

    def learn(self, jobs: Sequence[Staged]) -> None:
        """Take records and stamps that were recovered for what is known; `save` writes them."""
        for job in jobs:
            self.records |= {record.id: record for record in job.records}
            self.stamps |= job.changed
            self._written |= job.written

    def save(self, jobs: Sequence[Staged]) -> None:
        """Write what was recovered, and what was found of it since.

        Raises:
            StoreError: the store can't be written.
        """
        found = dict(self._new_stamps)
        try:
            if jobs:
                self._confirm([Publication.of(job) for job in jobs])
        except (OSError, sqlite3.Error) as err:
            raise store_error(err, self.path) from err
        self._new_stamps |= found
        self.flush()

    @property
    def is_writable(self) -> bool:
        """Whether this is a writer."""
        return self._session is not None

    def refresh(self) -> bool:
        """Read the database again if another connection has changed it; whether one had."""
        with self._mutex:
            if self._database is None or db.version(self._database) == self._version:
                return False
            self._load()
            return True

    def _apply_if_renamed(self, intent: Intent) -> bool:
        """Use the records and stamps of an intent if its renames took place; whether they did.

        A rename keeps the inode, so the inode is proof even if a guest has used the disk since. In a copied
        store, size and mtime are proof (only this program sets an mtime to whole milliseconds), or the
        digest.
        """
        if any(not self._apply_if_moved(old, str(new)) for old, new in intent[MOVED].items()):
            return False
        stamps = {path: Stamp.from_json(stamp) for path, stamp in intent["stamps"].items()}
        if not all(self._was_renamed(path, stamp) for path, stamp in stamps.items()):
            return False
        self.stamps |= stamps
        for step_id, body in intent["records"].items():
            self.records[step_id] = record_from_json(step_id, cast("dict[str, Json]", body))
        self._written |= cast("dict[str, dict[str, str]]", intent["written"])
        return True

    def _apply_if_moved(self, old: str, new: str) -> bool:
        """Show a VM under its new name if its directory has that already; whether it has."""
        before, after = (self.path / moving.directory(name) for name in (old, new))
        if os.path.lexists(before) or not os.path.lexists(after):
            return False
        self._show_as({old: new})
        self._unsettled[new] = old
        return True

    def _show_as(self, names: Mapping[str, str]) -> None:
        self.records = moving.records(self.records, names)
        self.stamps = moving.paths(self.stamps, names)
        owners = {f"vm.{old}": f"vm.{new}" for old, new in names.items()}
        self.origins = {owners.get(owner, owner): origin for owner, origin in self.origins.items()}
        self._written.clear()

    def suppose_moved(self, moves: Mapping[str, str]) -> None:
        """Show VMs under the names that they are to have, for a plan; `move` gives them these.

        Args:
            moves: the old names by the new ones.
        """
        if moves:
            self._show_as({old: new for new, old in moves.items()})
            self._supposed |= moves

    def forget_supposed(self) -> None:
        """Show what there is again, before another plan is made."""
        if self._supposed:
            self._new_stamps.clear()  # they may be of what was only supposed
            self._load()

    def move(self, moves: Mapping[str, str]) -> None:
        """Give VMs their new names: rename their directories, then all that the database has of them.

        Whatever is interrupted: the intent says what was to be renamed, the directories whether they were.

        Args:
            moves: the old names by the new ones, each of a VM that is locked by this session.

        Raises:
            StoreError: a directory can't be renamed, or the store can't be written.
        """
        try:
            by_old = {old: new for new, old in moves.items()}
            bodies = [canonical_json({**_NO_PUBLICATION, MOVED: {old: new}}) for old, new in by_old.items()]
            with self._writer() as database:
                db.write_intents(database, self._writing().name, bodies)
            for old, new in by_old.items():
                self._move_directory(old, new)
            durable.sync_one(self.path / "vms")
            with self._writer() as database:
                for old, new in by_old.items():
                    own = moving.of_vm(self.records, old)
                    db.move(database, old, new, moving.records(own, {old: new}))
                db.drop_intents(database, self._writing().name)
            self._load()
        except (OSError, sqlite3.Error) as err:
            raise store_error(err, self.path) from err

    def _move_directory(self, old: str, new: str) -> None:
        """A directory that is away, with the drive that it lies on, has nothing to be renamed."""
        with contextlib.suppress(FileNotFoundError):
            (self.path / moving.directory(old)).rename(self.path / moving.directory(new))

    @property
    def vms(self) -> frozenset[str]:
        """The names of the VMs that there are records of, but for those that were removed on purpose."""
        kept = (key for key, one in self.records.items() if not one.facts.get(DESTROYED))
        return frozenset(filter(None, map(moving.vm_of, kept)))

    def _was_renamed(self, artifact: str, stamp: Stamp) -> bool:
        status = self.status(artifact)
        return status is not None and (
            status.st_ino == stamp.inode
            or (status.st_size, status.st_mtime_ns) == (stamp.size, stamp.mtime_ns)
            or self._matches(artifact, stamp, status)
        )

    def _is_unchanged(self, artifact: str, stamp: Stamp) -> bool:
        try:
            status = os.stat(self.place(artifact))
        except FileNotFoundError:
            return False
        return self._matches(artifact, stamp, status)

    def _matches(self, artifact: str, stamp: Stamp, status: os.stat_result) -> bool:
        """Whether an artifact, which has this `stat`, has the content that was stamped."""
        if stamp.fits(status):
            return True
        if stamp.size != status.st_size or clone.digest(Path(self.place(artifact))) != stamp.digest:
            return False
        self._keep_stamp(artifact, stamping.of(status, stamp.digest, guest=stamp.guest), status)
        return True

    def record(self, step_id: str, fingerprint: str) -> Record | None:
        """The record of a step's run with this fingerprint if there is one of its own, else of its last run.

        An artifact with its fingerprint in its path stays when the recipe changes, and is current again when
        the recipe changes back; so each of its runs has a record under `ID@FINGERPRINT`.
        """
        return self.records.get(f"{step_id}@{fingerprint}") or self.records.get(step_id)

    def ledger(self, step_id: str) -> Mapping[str, str]:
        """What the last confirmed run of a patch wrote into its guest, by guest path."""
        if step_id not in self._written:
            try:
                self._written[step_id] = self._read(db.files, self._recorded(step_id))
            except sqlite3.Error as err:
                raise store_error(err, self.path) from err
        return self._written[step_id]

    def intended_ledger(self, step_id: str) -> Mapping[str, Sequence[str]]:
        """What later runs of a patch were about to write, which were never confirmed, by guest path."""
        try:
            return self._read(db.unconfirmed, self._recorded(step_id))
        except sqlite3.Error as err:
            raise store_error(err, self.path) from err

    def settled_ledgers(self, step_ids: Sequence[str]) -> dict[str, str]:
        """The ledgers of patches as JSON, by their ids; of one whose last run was never confirmed, none.

        Raises:
            StoreError: the store can't be read.
        """
        try:
            with contextlib.closing(db.connect_read_only(self.path)) as database:
                found = dict(db.all_files(database, step_ids))
        except sqlite3.Error as err:
            raise store_error(err, self.path) from err
        return {key: found[key] for key in step_ids if key in found and f"{key}~" not in found}

    def _recorded(self, step_id: str) -> str:
        """The id under which the database has a step's rows."""
        return moving.step_id(moving.step_id(step_id, self._supposed), self._unsettled)

    def intend(self, step_id: str, files: Mapping[str, str]) -> None:
        """Remember what a patch is about to write into its guest. Threads of jobs may call it.

        Raises:
            StoreError: the store can't be written.
        """
        try:
            with self._writer() as database:
                db.write_unconfirmed(database, step_id, files)
        except sqlite3.Error as err:
            raise store_error(err, self.path) from err

    def _read(self, what: Callable[[sqlite3.Connection, str], dict[str, T]], step_id: str) -> dict[str, T]:
        """Query the database: through the writer's connection, or through one that is opened for it."""
        with self._mutex:
            if self._session is not None and self._database is not None:
                return what(self._database, step_id)
        if not self.records:
            return {}
        with contextlib.closing(db.connect_read_only(self.path)) as database:
            return what(database, step_id)

    def modified(self, artifact: str, *, may_read: bool = True) -> bool:
        """Whether an artifact was changed by a guest, or by another program, since this program made it.

        A different `stat` proves nothing, so the digest decides; only `stat` is used if `may_read` is false.

        Raises:
            StoreError: it can't be read.
        """
        stamp = self.stamps.get(artifact)
        try:
            if stamp is None or stamp.guest:
                return True
            if may_read:
                return not self._is_unchanged(artifact, stamp)
            return not stamp.fits(os.stat(self.place(artifact)))
        except OSError as err:
            raise store_error(err, self.path / artifact) from err

    def is_as_left(self, artifact: str) -> bool:
        """Whether nobody has touched an artifact since it was published, changed or looked into last."""
        stamp, status = self.stamps.get(artifact), self.status(artifact)
        return stamp is not None and status is not None and stamp.fits(status)

    def record_inspected(self, artifact: str, status: os.stat_result) -> None:
        """Remember that an artifact belongs to its guest, and that it was found to be as declared."""
        self._keep_stamp(artifact, stamping.of(status, "", guest=True), status)

    def _keep_stamp(self, artifact: str, stamp: Stamp, status: os.stat_result) -> None:
        """Have `flush` write a stamp, unless the file is so new that its mtime may miss the next change."""
        if stamping.is_settled(status):
            self._new_stamps[artifact] = stamp

    def get(self, key: str, stamp: str) -> str | None:
        """The digest of a host file that was stored with this stamp; None if there is none."""
        known = self._digests.get(key)
        return known[1] if known and known[0] == stamp else None

    def put(self, key: str, stamp: str, digest: str) -> None:
        """Remember the digest of a host file. A writer's `publish` and `flush` write it to the database."""
        self._new_digests[key] = self._digests[key] = (stamp, digest)

    def flush(self) -> None:
        """Write digests and stamps that were collected since the last publication."""
        if not self._new_digests and not self._new_stamps:
            return
        try:
            with self._writer() as database:
                self._write_digests(database)
                if db.version(database) == self._version:  # otherwise another writer may have a newer stamp
                    db.write_stamps(database, self._new_stamps)
        except sqlite3.Error as err:
            raise store_error(err, self.path) from err

    def flush_and_close(self) -> bool:
        """Flush, then close the database; the last call of a writer.

        Returns:
            Whether the database holds exactly what this object knows, and no other session can change it
            before this one ends.

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
        """Lock what belongs to these VMs and images (`vm.web`) for this session.

        Returns:
            Whether the store may have changed since it was read: it did, or another session held a lock.

        Raises:
            BusyError: another session holds one of the locks, and did not end in time.
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

    def alone(self, owner: str) -> AbstractContextManager[object]:
        """Nobody else of ours works on that VM or image meanwhile; of a store that is only read, nobody can.

        Threads may call it, each for others than `lock` has locked.

        Raises:
            BusyError: another session holds it, and did not end in time.
            StoreError: the store can't be written.
        """
        if self._session is None:
            return contextlib.nullcontext()
        try:
            return self._session.alone(owner)
        except OSError as err:
            raise store_error(err, self.path) from err

    @property
    def locked(self) -> frozenset[str]:
        """The names that `lock` has locked."""
        return self._writing().owners.names

    def stage(self) -> Path:
        """Make a private directory on the store's filesystem; the caller removes it."""
        try:
            return Path(tempfile.mkdtemp(dir=self._writing().directory()))
        except OSError as err:
            raise store_error(err, self.path) from err

    def staged(self, artifact: str) -> Path:
        """The path where an artifact is made before it is published.

        The caller removes what is not published.
        """
        try:
            return self._writing().file_directory() / artifact.replace("/", "%")
        except OSError as err:
            raise store_error(err, self.path) from err

    def publish(
        self, batch: Sequence[Staged], *, may_take: Callable[[str], bool] = lambda _: True
    ) -> list[Staged]:
        """Rename the files of finished jobs to their paths and commit their records, as one batch.

        Args:
            batch: the jobs. Each is published completely or not at all.
            may_take: called with each artifact directly before the rename; False keeps the old artifact.

        Returns:
            The jobs that were not published because `may_take` refused one of their artifacts.

        Raises:
            NoRoomError: the disk is full. Nothing was published; a smaller batch may fit.
            StoreError: publishing failed. Every artifact still has a record or an intent that describes it.
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
            self._new_stamps.pop(artifact, None)  # the stamp was that of the artifact before
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
        """Write the collected digests. Threads may add more during this, so each one is taken out singly."""
        db.write_digests(database, [self._new_digests.popitem() for _ in range(len(self._new_digests))])

    def settle_intents(self, session: str) -> None:
        """Commit what an interrupted session had renamed already, and delete its intents."""
        with self._writer() as database:
            for name, intent in db.intents(database):
                if name == session and intent[MOVED]:
                    self._settle_moves(database, intent[MOVED])
                elif name == session and self._apply_if_renamed(intent):
                    db.write_records(database, _texts(intent["records"]))
                    db.write_files(database, _texts(intent["written"]))
                    db.write_stamps(database, {path: self.stamps[path] for path in intent["stamps"]})
            db.drop_intents(database, session)

    def _settle_moves(self, database: sqlite3.Connection, moved: Mapping[str, Json]) -> None:
        """Write what `_load` found of moves that were interrupted."""
        for old, new in moved.items():
            if self._unsettled.pop(str(new), None):
                db.move(database, old, str(new), moving.of_vm(self.records, str(new)))

    def forget(self, step_ids: Sequence[str], artifacts: Sequence[str]) -> None:
        """Remove artifacts, and all that the database holds about them and about these steps.

        Files are removed first: a record without its artifact is planned as missing, but a file without a
        record would count as one that this program did not make. The redo log or undo file of a half-changed
        disk goes with the disk.

        Raises:
            BusyError: a VM has one of the disks open; none of `AT_ONCE` artifacts was removed.
            StoreError: the store can't be written, or what would be removed lies outside of it.
        """
        try:
            for at in range(0, len(artifacts), AT_ONCE):
                replacing.remove(self.path, artifacts[at : at + AT_ONCE], self.staged)
            parents = {(self.path / artifact).parent for artifact in artifacts}
            durable.sync([parent for parent in parents if parent.is_dir()], self.path)
            with self._writer() as database:
                db.forget(database, step_ids, artifacts)
                db.forget_origins(database, self._without_records(step_ids))
        except (OSError, sqlite3.Error) as err:
            raise store_error(err, self.path) from err
        for step_id in step_ids:
            self.records.pop(step_id, None)
            self._written.pop(step_id, None)
        for artifact in artifacts:
            self.stamps.pop(artifact, None)

    def _without_records(self, step_ids: Sequence[str]) -> list[str]:
        """The VMs and networks of which no record is left without those of these steps."""
        left = {StepId(step_id).owner for step_id in self.records.keys() - set(step_ids)}
        return sorted({StepId(step_id).owner for step_id in step_ids} - left)

    def keep_origins(self, found: Mapping[str, str]) -> None:
        """Remember which manifest declares which VMs and networks.

        Raises:
            StoreError: the store can't be written.
        """
        new = {owner: manifest for owner, manifest in found.items() if self.origins.get(owner) != manifest}
        if not new:
            return
        try:
            with self._writer() as database:
                db.write_origins(database, new)
        except (OSError, sqlite3.Error) as err:
            raise store_error(err, self.path) from err
        self.origins |= new

    def secrets_key(self, new: bytes) -> bytes:
        """The key for digests of secrets; made of `new` if there is none.

        Raises:
            StoreError: it can't be read or written.
        """
        try:
            return secrets_key.keep(self.path, self._writing().directory(), new)
        except OSError as err:
            raise store_error(err, self.path) from err

    def mark(self, step_ids: Iterable[str], *, destroyed: bool) -> None:
        """Remember that the artifacts of these steps are to be removed, or that they are not after all.

        Raises:
            StoreError: the store can't be written.
        """
        marked = []
        for step_id in step_ids:
            record = self.records.get(step_id)
            if record is not None and bool(record.facts.get(DESTROYED)) != destroyed:
                others = {key: value for key, value in record.facts.items() if key != DESTROYED}
                facts = {**others, DESTROYED: True} if destroyed else others
                marked.append(replace(record, facts=facts))
        if not marked:
            return
        try:
            with self._writer() as database:
                db.write_records(database, {record.id: db.body_of(record) for record in marked})
        except (OSError, sqlite3.Error) as err:
            raise store_error(err, self.path) from err
        self.records |= {record.id: record for record in marked}

    def make_current(self, kept: Iterable[tuple[str, str]]) -> None:
        """Make the records of earlier runs, whose fingerprints are current again, the records of their steps.

        Args:
            kept: ids of steps, each with its current fingerprint.

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
        """Close the database; later writes raise a StoreError."""
        with self._mutex:
            if self._database is not None:
                self._database.close()
            self._database = None


def _texts(bodies: Mapping[str, Json]) -> dict[str, str]:
    return {key: canonical_json(body) for key, body in bodies.items()}
