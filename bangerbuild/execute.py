"""Plan to artifacts: jobs in topological order, several at once, each published whole or not at all.

A job is a disk's step together with the steps that change that disk in place: a disk never appears without
its patch. Jobs run in threads and touch nothing but their staging directory; the calling thread alone
publishes, all jobs that are ready at a time in one batch, and talks to the reporter.
"""

from __future__ import annotations

import errno
import heapq
import time
from collections import defaultdict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from bangerbuild import process
from bangerbuild.errors import BangerError, BusyError, SourceError, StoreError
from bangerbuild.model import Outcome, Result
from bangerbuild.store import Staged
from bangerbuild.workspace import JobWorkspace, Shared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import TypeAlias

    from bangerbuild.model import Action, Host, Plan, Record, Reporter
    from bangerbuild.store import Store

    _Look: TypeAlias = tuple[int, int, int]
    Publish: TypeAlias = Callable[[Sequence[Staged], Callable[[str], bool]], list[Staged]]


BATCH_JOBS = 256
"""Finished jobs are published together, because a sync costs about the same for one as for many."""
FULL = {errno.ENOSPC, errno.EDQUOT}
HOLD_SECONDS = 0.1
"""How long a finished job waits for company while others run."""


@dataclass(frozen=True)
class Limits:
    """How a plan is executed."""

    jobs: int
    keep_going: bool
    """Whether jobs that don't depend on a failed one are still started."""
    epoch: int
    offline: bool = False
    """Whether steps do without the network."""


def execute(  # noqa: PLR0913  # what is done, where, and how, each by its name
    plan: Plan,
    store: Store,
    host: Host,
    reporter: Reporter,
    limits: Limits,
    *,
    publish: Publish | None = None,
) -> tuple[Result, ...]:
    """Do what the plan says; a result for every action, in the plan's order.

    `publish` takes the place of the store's own, for one who only compares.

    Raises:
        KeyboardInterrupt: running programs were ended; what was published stays.
        StoreError: publishing failed; nothing more is started.
    """
    run = _Run(plan, store, host, reporter, limits)
    run.publish = publish or run.publish
    pool = ThreadPoolExecutor(limits.jobs, thread_name_prefix="job")
    try:
        run.drive(pool)
    except KeyboardInterrupt:
        process.end_all()
        pool.shutdown(wait=False, cancel_futures=True)  # threads may still use what is shared: it stays open
        raise
    except BaseException:
        process.end_all()
        pool.shutdown(cancel_futures=True)
        run.shared.close()
        raise
    pool.shutdown()
    run.shared.close()
    return tuple(run.results.get(action.id, Result(action.id, Outcome.SKIPPED)) for action in plan.actions)


@dataclass(order=True)
class _Job:
    """A disk and its patches, or one step alone."""

    index: int
    """Its place in the plan."""
    actions: list[Action] = field(compare=False)
    needs: set[str] = field(default_factory=set, compare=False)
    """Ids of steps of other jobs that did not end yet."""
    is_vain: bool = field(default=False, compare=False)
    """Whether one of those did not succeed."""
    was_started: bool = field(default=False, compare=False)
    """As far as anybody was told."""


@dataclass
class _Finished:
    """What a job's thread leaves behind."""

    workspace: JobWorkspace
    seconds: dict[str, float] = field(default_factory=dict)
    done: list[tuple[Action, list[Record]]] = field(default_factory=list)
    """The steps that hold, whatever came after them, and what is to be remembered of each."""
    failed: Action | None = None
    error: BangerError | None = None
    staged: Staged | None = None
    """What is to be published of it."""

    def fail(self, action: Action, error: BangerError) -> None:
        """What was done to a disk where it lies holds, though a later step fails; what is staged does not."""
        steps = [done for done, _ in self.done]
        holds = 0 if self.workspace.staged else steps.index(action) if action in steps else len(steps)
        self.failed, self.error = action, error
        del self.done[holds:]
        self.workspace.discard()  # the disk may be full: others need the room

    def settle(self) -> None:
        """Say what is to be published of it."""
        if not self.done:
            return
        workspace = self.workspace
        changed = workspace.changed
        if self.failed:  # what was found wrong on the disk may still be
            changed = {artifact: stamp.outdated() for artifact, stamp in changed.items()}
        records = tuple(record for _, records in self.done for record in records)
        guests = frozenset(workspace.guests)
        self.staged = Staged(records, workspace.staged, guests, changed, workspace.files, workspace.stamps)


class _Run:
    def __init__(self, plan: Plan, store: Store, host: Host, reporter: Reporter, limits: Limits) -> None:
        self.store = store
        self.host = host
        self.reporter = reporter
        self.limits = limits
        self.plan = plan
        self.results: dict[str, Result] = {}
        self.ready: list[_Job] = []
        """Jobs that nothing keeps from being started, as a heap: the plan's first ones first."""
        self.dependents: dict[str, list[_Job]] = defaultdict(list)
        self.running: dict[Future[_Finished | None], _Job] = {}
        """Those that wait for a thread included, the first ones first."""
        self.ended: SimpleQueue[Future[_Finished | None]] = SimpleQueue()
        """Those of them that were not looked at yet."""
        self.held: list[tuple[_Job, _Finished]] = []
        self.said: set[str] = set()
        self.shared = Shared()
        self.sources = _Sources(host)
        self.actions = {action.id: action for action in plan.actions}
        self.disks = _disks(plan, store)
        self.publish: Publish = lambda batch, may_take: store.publish(batch, may_take=may_take)
        self.has_failed = False
        """Whether a thread had a failure."""
        self.stopped = False
        """Whether nothing more is to be started, as such a failure was noticed."""
        for job in _jobs(plan):
            for step_id in job.needs:
                self.dependents[step_id].append(job)
            if not job.needs:
                heapq.heappush(self.ready, job)

    def drive(self, pool: ThreadPoolExecutor) -> None:
        """Start jobs as they become ready and publish them as they finish, until none is left."""
        while True:
            self._start(pool)
            if not self.running and not self.held:
                return
            is_idle = not self.running or not self._wait()
            if is_idle or len(self.held) >= BATCH_JOBS:
                self._start(pool)
                self._publish()

    def _wait(self) -> bool:
        """Whether jobs finished; not if they take long and others are held to be published."""
        try:
            self._hold(self.ended.get(timeout=HOLD_SECONDS if self.held else None))
        except Empty:
            return False
        while not self.ended.empty():
            self._hold(self.ended.get())
        return True

    def _hold(self, ended: Future[_Finished | None]) -> None:
        job, finished = self.running.pop(ended), ended.result()
        if finished:
            self.held.append((job, finished))
            self.stopped |= finished.failed is not None and not self.limits.keep_going

    def _start(self, pool: ThreadPoolExecutor) -> None:
        """Keep the threads busy, those included that wait for a batch to be published."""
        while self.ready and len(self.running) < self.limits.jobs + BATCH_JOBS and not self.stopped:
            job = heapq.heappop(self.ready)
            if job.is_vain:
                self._skip(job.actions)
                continue
            workspace = JobWorkspace(self.actions, self.store, self.limits.epoch, self.shared)
            workspace.offline, workspace.progress = self.limits.offline, self.reporter.progressed
            if len(self.running) < self.limits.jobs:
                self._tell_started(job)
            future = pool.submit(self._run, job, workspace)
            self.running[future] = job
            future.add_done_callback(self.ended.put)
        if not self.stopped:
            for job in islice(self.running.values(), self.limits.jobs):
                self._tell_started(job)

    def _tell_started(self, job: _Job) -> None:
        if not job.was_started:
            job.was_started = True
            for action in job.actions:
                self.reporter.started(action)

    def _run(self, job: _Job, workspace: JobWorkspace) -> _Finished | None:
        """Runs in a thread; None if another job failed before this one was started."""
        if self.has_failed and not job.was_started and not self.limits.keep_going:
            return None
        finished = _run_job(job, workspace)
        self.has_failed |= finished.failed is not None
        return finished

    def _publish(self) -> None:
        finished, self.held = self.held, []
        is_published = False
        try:
            self._check_sources(finished)
            if ready := [end.staged for _, end in finished if end.staged]:
                self._note_changes(ready)
                self._refuse(self.publish(ready, self._may_take), finished)
            is_published = True
            for job, end in finished:
                self._report(job, end)
        except StoreError:  # it ends the run, and what failed before would never be heard of
            for _, end in finished:
                self._report_failure(end)
            raise
        finally:
            for _, end in finished:
                end.workspace.discard(published=is_published and not end.failed)

    def _check_sources(self, finished: Sequence[tuple[_Job, _Finished]]) -> None:
        """A recipe's digests were taken when it was planned; what was read since must be the same."""
        self.sources.look_again()
        for job, end in finished:
            for action in job.actions[: len(end.done)]:
                try:
                    self.sources.check(action)
                except SourceError as err:
                    end.fail(action, err)
                    self.stopped |= not self.limits.keep_going
                    break
            end.settle()

    def _note_changes(self, ready: Sequence[Staged]) -> None:
        """What we changed ourselves in place is no sign of somebody else."""
        for staged in ready:
            for artifact, stamp in staged.changed.items():
                look = stamp.inode, stamp.size, stamp.mtime_ns
                self.disks[artifact] = _Disk(look, untouched=False)

    def _refuse(self, refused: Sequence[Staged], finished: Sequence[tuple[_Job, _Finished]]) -> None:
        """A disk that somebody has used since it was planned for stays as it is: the job was in vain."""
        for job, end in finished:
            if end.staged is not None and any(end.staged is one for one in refused):
                errors = (self._disk_error(artifact) for artifact in end.staged.files)
                end.error = next((error for error in errors if error), None) or BusyError(
                    f"a disk of {job.actions[0].id} was in use for a moment", hint="run it again"
                )
                end.failed, end.done = job.actions[0], []
                self.stopped |= not self.limits.keep_going

    def _may_take(self, artifact: str) -> bool:
        return self._disk_error(artifact) is None

    def _disk_error(self, artifact: str) -> BusyError | None:
        """Why a disk may not be replaced or changed any more, although the plan was to."""
        disk = self.disks.get(artifact)
        if disk is None:
            return None
        path = self.store.path / artifact
        was_ours = disk.look is not None and disk.untouched
        if _look(path) != disk.look or (was_ours and self.store.modified(artifact)):
            return BusyError(f"'{artifact}' was changed by someone else meanwhile", hint="run it again")
        holder = self.host.holder(path) if disk.look else None
        if holder:
            return BusyError(f"'{artifact}' is in use by {holder} now", hint="shut the VM down first")
        return None

    def _report(self, job: _Job, end: _Finished) -> None:
        for step_id, message in end.workspace.warnings:
            if message not in self.said:  # what holds for every disk is said for the first
                self.reporter.warned(step_id, message)
            self.said.add(message)
        for action in job.actions:
            if action is end.failed:
                self._report_failure(end)
            elif any(action is done for done, _ in end.done):
                seconds = end.seconds.get(action.id, 0.0)
                self._result(action, Result(action.id, Outcome.DONE, seconds))
            else:
                self._skip([action])

    def _report_failure(self, end: _Finished) -> None:
        if action := end.failed:
            seconds = end.seconds.get(action.id, 0.0)
            self._result(action, Result(action.id, Outcome.FAILED, seconds, end.error))

    def _skip(self, actions: Sequence[Action]) -> None:
        for action in actions:
            self._result(action, Result(action.id, Outcome.SKIPPED))

    def _result(self, action: Action, result: Result) -> None:
        self.results[action.id] = result
        self.reporter.finished(action, result)
        for job in self.dependents.pop(action.id, ()):
            job.needs.discard(action.id)
            job.is_vain |= result.outcome is not Outcome.DONE
            if not job.needs:
                heapq.heappush(self.ready, job)


def _jobs(plan: Plan) -> list[_Job]:
    actions = {action.id: action for action in plan.actions}
    jobs: dict[str, _Job] = {}
    for action in plan.actions:
        if not action.pending:
            continue
        disk = action.step.changes
        job = jobs[disk] if disk in jobs else _Job(len(jobs), [])
        job.actions.append(action)
        jobs[action.id] = job
    unique = list({id(job): job for job in jobs.values()}.values())
    for job in unique:
        own = {action.id for action in job.actions}
        job.needs = {step_id for action in job.actions for step_id in _pending_inputs(action, actions)} - own
    return unique


def _pending_inputs(action: Action, actions: Mapping[str, Action]) -> Iterator[str]:
    """The inputs that this plan runs, those included that a kept input stands on and that are made again."""
    for step_id in action.step.inputs:
        source = actions[step_id]
        if source.pending:
            yield step_id
        else:
            yield from (
                below
                for below in _pending_inputs(source, actions)
                if source.recipe.inputs.get(below) == actions[below].fingerprint
            )


@dataclass(frozen=True)
class _Disk:
    """A disk that guests may write and that this plan replaces or changes, as it was when planned."""

    look: _Look | None
    untouched: bool


def _disks(plan: Plan, store: Store) -> dict[str, _Disk]:
    disks: dict[str, _Disk] = {}
    for action in plan.actions:
        if action.pending and action.step.exclusive:
            for artifact in action.artifacts:
                relied = artifact in disks and disks[artifact].untouched
                disks[artifact] = _Disk(_look(store.path / artifact), relied or action.untouched)
    return disks


def _look(path: Path) -> _Look | None:
    """What tells that nobody has written to a file; None if it isn't there."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _run_job(job: _Job, workspace: JobWorkspace) -> _Finished:
    """Runs in a thread; an error on purpose is the job's result, anything else a bug that comes out."""
    finished = _Finished(workspace)
    template = workspace.template(job.actions)
    begun = time.monotonic()
    current = job.actions[0]
    try:
        if template and template.outcome:
            made = workspace.copy_outcome(job.actions, template.outcome)
            finished.done = list(zip(job.actions, made, strict=True))
            finished.seconds[current.id] = time.monotonic() - begun
        else:
            for current in job.actions:
                begun = time.monotonic()
                finished.done.append((current, workspace.run(current)))
                finished.seconds[current.id] = time.monotonic() - begun
            if template:
                workspace.offer(template, job.actions)
        workspace.stamp()
    except (BangerError, OSError) as err:
        finished.seconds[current.id] = time.monotonic() - begun
        finished.fail(current, err if isinstance(err, BangerError) else _from_os_error(err, workspace))
    return finished


class _Sources:
    """What the jobs of a run read; each source is looked at once for all that ask at a time."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._digests: dict[object, str] = {}
        self._changed: set[object] = set()
        """What had changed once is not to be trusted again: what was read of it may be shared."""

    def look_again(self) -> None:
        """Forget what was seen."""
        self._digests.clear()

    def check(self, action: Action) -> None:
        """Refuse what a step made of something else than was planned."""
        for source in action.step.sources:
            what = source.path, source.rules, source.pin
            if what not in self._digests:
                self._digests[what] = self._host.digest(source)
            if what in self._changed or self._digests[what] != action.recipe.sources[source.role]:
                self._changed.add(what)
                raise SourceError(f"'{source.written}' changed while it was read", hint="run it again")


def _from_os_error(err: OSError, workspace: JobWorkspace) -> StoreError:
    """An error without a name comes of a disk that is written: they all lie in the store."""
    place = err.filename or workspace.path("")
    hint = "free some space there, or choose another place: --store DIR" if err.errno in FULL else None
    error = StoreError(f"'{place}': {(err.strerror or str(err)).lower()}", hint=hint)
    error.__cause__ = err
    return error
