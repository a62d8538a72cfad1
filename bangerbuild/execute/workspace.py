"""The `Workspace` of one job: finds artifacts in the job's staging directory first, then in the store."""

from __future__ import annotations

import errno
import shutil
import threading
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar, cast

from typing_extensions import override

from bangerbuild.disk import clone, in_use, interrupted
from bangerbuild.errors import StoreError
from bangerbuild.execute import job_template
from bangerbuild.model import ArtifactPath, Record, Workspace, unheard, unseen
from bangerbuild.store.stamps import stamped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from bangerbuild.epoch import Epoch
    from bangerbuild.execute.job_template import JobOutput, JobTemplate
    from bangerbuild.formats.survey import Survey
    from bangerbuild.model import Action, Host, Json, Pin, Progress, Revealed, Said, Secret, Source, Verb
    from bangerbuild.model.image_cache import Fetched
    from bangerbuild.store import Stamp, Store


T = TypeVar("T")
MOST_IDLE = 8
"""How many of the things that are shared only while they are in use are kept for the next who asks."""
NO_ACCESS = {errno.EACCES, errno.EPERM, errno.EROFS}


@dataclass
class _Held:
    """A thing that is shared while it is in use."""

    thing: object
    close: ExitStack
    users: int = 0


class Shared:
    """What the jobs of one run share, each thing made once, in whatever thread asks first."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._made: dict[object, object] = {}
        self._stack = ExitStack()
        self._held: dict[object, _Held] = {}
        """The one that was asked for last is the last."""

    def get(self, key: object, make: Callable[[], AbstractContextManager[T]]) -> T:
        """What the key stands for, which is open until the run ends."""
        with self._lock:
            if key not in self._made:
                self._made[key] = self._stack.enter_context(make())
            return cast("T", self._made[key])

    @contextmanager
    def using(self, key: object, make: Callable[[], AbstractContextManager[T]]) -> Iterator[T]:
        """What the key stands for; of those that nobody uses only the last few stay open."""
        with self._lock:
            held = self._held.pop(key, None) or self._open(make)
            self._held[key] = held
            held.users += 1
        try:
            yield cast("T", held.thing)
        finally:
            with self._lock:
                held.users -= 1
                self._close_idle(MOST_IDLE)

    def _open(self, make: Callable[[], AbstractContextManager[object]]) -> _Held:
        close = ExitStack()
        return _Held(close.enter_context(make()), close)

    def _close_idle(self, most: int) -> None:
        idle = [key for key, held in self._held.items() if not held.users]
        for key in idle[: max(0, len(idle) - most)]:
            self._held.pop(key).close.close()

    def close(self) -> None:
        """Close everything, once no job runs any more."""
        while self._held:  # what one uses is idle only when that one is closed
            self._close_idle(0)
        self._stack.close()


class JobWorkspace(Workspace):
    """The `Workspace` of the steps of one job, which share the staged files.

    Args:
        actions: of the whole plan, by id.
        store: only read, but for what is staged.
        epoch: the time for all that we make ourselves.
        shared: what the jobs of the run share.
        host: gives host trees and secrets as they were planned, see View.
    """

    offline: bool = False

    def __init__(
        self,
        actions: Mapping[str, Action],
        store: Store,
        epoch: Epoch,
        shared: Shared,
        host: Host,
    ) -> None:
        self._host = host
        self._shared = shared
        self._epoch = epoch
        self._staging: Path | None = None
        self.staged: dict[str, Path] = {}
        self.guests: set[str] = set()
        self.new: set[str] = set()
        self.changed: dict[str, Stamp] = {}
        self.stamps: dict[str, Stamp] = {}
        self._digests: dict[str, str] = {}
        self.files: dict[str, Mapping[str, str]] = {}
        self.warnings: list[tuple[str, str]] = []
        self.tell: Progress = unseen
        """Is told of `progress`."""
        self.tell_line: Said = unheard
        """Is told of what programs print."""
        self.fetched: Mapping[str, Fetched] = {}
        """What was brought here instead of being built, by step."""
        self._store = store
        self._actions = actions
        self._facts: dict[str, Mapping[str, Json]] = {}
        self._current: Action | None = None

    @property
    def _action(self) -> Action:
        if self._current is None:
            raise RuntimeError("no step is running in this workspace")
        return self._current

    @property
    @override
    def epoch(self) -> Epoch:
        return self._epoch

    @property
    @override
    def fingerprint(self) -> str:
        return self._action.fingerprint

    @property
    @override
    def verb(self) -> Verb:
        return self._action.verb

    @property
    @override
    def pin(self) -> Pin | None:
        return self._action.pin

    @property
    @override
    def remakes_disk(self) -> bool:
        """Asked of the store once more: a VM may have run since the plan was made."""
        return self._action.remakes_disk and not any(
            artifact in self.staged or (self._store.exists(artifact) and self._store.modified(artifact))
            for artifact in self._action.artifacts
        )

    @property
    @override
    def staging(self) -> Path:
        """Made when it is first asked for."""
        if self._staging is None:
            self._staging = self._store.stage()
        return self._staging

    def stamp(self) -> None:
        """Stamp what was staged, which is finished: in this job's thread, so that others need not wait."""
        self.stamps = {
            artifact: stamped(path, guest=artifact in self.guests, digest=self._digests.get(artifact))
            for artifact, path in self.staged.items()
        }

    def discard(self, *, published: bool = False) -> None:
        """Remove what was staged and not published."""
        for path in () if published else self.staged.values():
            path.unlink(missing_ok=True)
        if self._staging is not None:
            shutil.rmtree(self._staging, ignore_errors=True)

    def run(self, action: Action) -> list[Record]:
        """Run one step, or take what was fetched for it; what the store shall remember of it."""
        self._current = action
        fetched = self.fetched.get(action.id)
        return self._done(action, action.step.run(self) if fetched is None else self._taken(action, fetched))

    def _taken(self, action: Action, fetched: Fetched) -> Mapping[str, Json]:
        for artifact in action.artifacts:
            name = ArtifactPath(artifact).file
            fetched.files[name].rename(self.create(artifact))
            self.has_digest(artifact, fetched.digests[name])
        return fetched.facts

    def template(self, actions: Sequence[Action]) -> JobTemplate | None:
        """What another job left that makes the same disk, or where this one may leave it."""
        key = job_template.deduplication_key(actions)
        return None if key is None else self.shared(("template", key), job_template.template)

    def offer(self, template: JobTemplate, actions: Sequence[Action]) -> None:
        """Leave what this job made to others that make the same."""
        (artifact,) = self.staged
        facts = [self._facts[action.id] for action in actions]
        files = [self.files.get(action.id, {}) for action in actions]
        template.offer(self.staged[artifact], guests=artifact in self.guests, facts=facts, files=files)

    def instantiate(self, actions: Sequence[Action], output: JobOutput) -> list[list[Record]]:
        """Make what another job made; what the store shall remember of each step."""
        (artifact,) = actions[0].artifacts
        output.file.instantiate(self.create(artifact, guests=output.guests))
        self.files = {action.id: files for action, files in zip(actions, output.files, strict=True) if files}
        return [self._done(action, facts) for action, facts in zip(actions, output.facts, strict=True)]

    def _done(self, action: Action, facts: Mapping[str, Json]) -> list[Record]:
        self._facts[action.id] = facts
        record = Record(action.id, action.recipe, action.fingerprint, action.artifacts, facts)
        is_beside = record.step_id != record.id
        if not is_beside and any("{fingerprint}" in output for output in action.step.outputs):
            return [record, replace(record, id=f"{action.id}@{action.fingerprint}")]
        return [record]

    @override
    def artifact(self, step_id: str) -> str:
        return self.artifacts(step_id)[0]

    @override
    def artifacts(self, step_id: str) -> tuple[str, ...]:
        stand_in = self._action.stand_ins.get(step_id)
        return stand_in.artifacts if stand_in else self._actions[step_id].artifacts

    @override
    def is_kept(self, step_id: str) -> bool:
        return step_id in self._action.stand_ins or not self._actions[step_id].pending

    @override
    def path(self, artifact: str) -> Path:
        return self.staged.get(artifact, self._store.path / artifact)

    @override
    def facts(self, step_id: str) -> Mapping[str, Json]:
        if step_id in self._facts:
            return self._facts[step_id]
        if stand_in := self._action.stand_ins.get(step_id):
            known = self._store.records.get(stand_in.id)
            return (known if known and known.fingerprint == stand_in.fingerprint else stand_in).facts
        record = self._store.record(step_id, self._actions[step_id].fingerprint)
        if record is None:
            raise StoreError(
                f"nothing is known of '{step_id}'",
                hint="`bangerbuild recover` makes records of what lies in the store",
            )
        return record.facts

    @override
    def ledger(self, step_id: str) -> Mapping[str, str]:
        return self._store.ledger(step_id)

    @override
    def intended_ledger(self, step_id: str) -> Mapping[str, Sequence[str]]:
        return self._store.intended_ledger(step_id)

    @override
    def intend(self, files: Mapping[str, str]) -> None:
        self._store.intend(self._action.id, files)

    @override
    def wrote(self, files: Mapping[str, str]) -> None:
        self.files[self._action.id] = files

    @override
    def is_new(self, artifact: str) -> bool:
        return artifact in self.new

    @override
    def is_staged(self, artifact: str) -> bool:
        return artifact in self.staged

    @override
    def create(self, artifact: str, *, guests: bool = False) -> Path:
        path = self.staged.get(artifact)
        if path is None:
            path = self.staged[artifact] = self._store.staged(artifact)
        else:
            path.unlink(missing_ok=True)
        self._digests.pop(artifact, None)
        self.guests.discard(artifact)
        if guests:
            self.guests.add(artifact)
        self.new.add(artifact)
        return path

    @override
    def has_digest(self, artifact: str, digest: str) -> None:
        self._digests[artifact] = digest

    @override
    def copy(self, artifact: str, *, sharing: bool) -> Path | None:
        with self.in_place(artifact) as published:
            guests = self._store.modified(artifact)
            path = self.create(artifact, guests=guests)
            self.new.discard(artifact)
            if clone.reflink(published, path):
                return path
            if not sharing:
                clone.sparse_copy(published, path)
                return path
            del self.staged[artifact]
            return None

    @contextmanager
    @override
    def in_place(self, artifact: str) -> Iterator[Path]:
        if artifact in self.staged:
            yield self.staged[artifact]
            return
        path = self._store.own_path(artifact)
        try:
            with in_use.held(path, artifact):
                guests = self._store.modified(artifact)
                interrupted.mend(path, artifact)
                yield path
                self.changed[artifact] = stamped(path, guest=guests)
        except OSError as err:
            if err.errno not in NO_ACCESS:
                raise
            raise StoreError(f"'{path}' can't be changed: {(err.strerror or str(err)).lower()}") from err

    @override
    def warn(self, message: str) -> None:
        self.warnings.append((self._action.id, message))

    @override
    def survey(self, source: Source) -> Survey:
        return self._host.survey(source)

    @override
    def revealed(self, secret: Secret) -> Revealed:
        return self._host.revealed(secret)

    @override
    def is_as_left(self, artifact: str) -> bool:
        return artifact not in self.staged and self._store.is_as_left(artifact)

    @override
    def shared(self, key: object, make: Callable[[], AbstractContextManager[T]]) -> T:
        return self._shared.get(key, make)

    @override
    def using(self, key: object, make: Callable[[], AbstractContextManager[T]]) -> AbstractContextManager[T]:
        return self._shared.using(key, make)

    @override
    def progress(self, what: str, done_bytes: int, total_bytes: int | None) -> None:
        self.tell(what, done_bytes, total_bytes)

    @override
    def advanced(self, done_bytes: int, total_bytes: int | None) -> None:
        self.tell(self._action.id, done_bytes, total_bytes)

    @override
    def say(self, what: str, line: str) -> None:
        self.tell_line(what, line)
