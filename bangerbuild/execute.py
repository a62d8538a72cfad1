"""Plan to artifacts: jobs in topological order, several at once, each published whole or not at all.

A job is a disk's step together with the steps that change that disk in place: a disk never appears without
its patch. Jobs run in threads and touch nothing but their staging directory; the calling thread alone
publishes, all jobs that are ready at a time in one batch, and talks to the reporter.
"""

from __future__ import annotations

import shutil
import time
from collections import deque
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from bangerbuild import process
from bangerbuild.disk import clone
from bangerbuild.errors import BangerError, SourceError, StoreError
from bangerbuild.model import Outcome, Record, Result
from bangerbuild.store import Staged

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from bangerbuild.model import Action, Host, Json, Plan, Reporter
    from bangerbuild.store import Store


BATCH_JOBS = 64
"""Finished jobs are published together, because a sync costs about the same for one as for many."""
HOLD_SECONDS = 0.1
"""How long a finished job waits for company while others run."""


@dataclass(frozen=True)
class Limits:
    """How a plan is executed."""

    jobs: int
    keep_going: bool
    """Whether jobs that don't depend on a failed one are still started."""
    epoch: int


def execute(plan: Plan, store: Store, host: Host, reporter: Reporter, limits: Limits) -> tuple[Result, ...]:
    """Do what the plan says; a result for every action, in the plan's order.

    Raises:
        KeyboardInterrupt: running programs were ended; what was published stays.
        StoreError: publishing failed; nothing more is started.
    """
    run = _Run(plan, store, host, reporter, limits)
    with ThreadPoolExecutor(limits.jobs, thread_name_prefix="job") as pool:
        try:
            run.drive(pool)
        except BaseException:
            process.end_all()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return tuple(run.results.get(action.id, Result(action.id, Outcome.SKIPPED)) for action in plan.actions)


@dataclass
class _Job:
    """A disk and its patches, or one step alone."""

    actions: list[Action]
    needs: set[str] = field(default_factory=set)
    """Ids of steps of other jobs."""


@dataclass
class _Finished:
    """What a job's thread leaves behind."""

    staging: Path
    staged: Staged | None
    seconds: dict[str, float]
    warnings: list[tuple[str, str]]
    failed: Action | None = None
    error: BangerError | None = None


class _Run:
    def __init__(self, plan: Plan, store: Store, host: Host, reporter: Reporter, limits: Limits) -> None:
        self.store = store
        self.host = host
        self.reporter = reporter
        self.limits = limits
        self.plan = plan
        self.results: dict[str, Result] = {}
        self.waiting = deque(_jobs(plan))
        self.running: dict[Future[_Finished], _Job] = {}
        self.held: list[tuple[_Job, _Finished]] = []
        self.actions = {action.id: action for action in plan.actions}
        self.stopped = False

    def drive(self, pool: ThreadPoolExecutor) -> None:
        """Start jobs as they become ready and publish them as they finish, until none is left."""
        while True:
            self._start(pool)
            if not self.running and not self.held:
                return
            done = self._wait()
            if not done or not self.running or len(self.held) >= BATCH_JOBS:
                self._publish()

    def _wait(self) -> set[Future[_Finished]]:
        """The jobs that finished; none if they take long and others are held to be published."""
        done, _ = wait(self.running, HOLD_SECONDS if self.held else None, FIRST_COMPLETED)
        self.held += [(self.running.pop(future), future.result()) for future in done]
        return done

    def _start(self, pool: ThreadPoolExecutor) -> None:
        blocked: list[_Job] = []
        while self.waiting and len(self.running) < self.limits.jobs and not self.stopped:
            job = self.waiting.popleft()
            if not self.results.keys() >= job.needs:
                blocked.append(job)
                continue
            if all(self._succeeded(step_id) for step_id in job.needs):
                for action in job.actions:
                    self.reporter.started(action)
                workspace = _JobWorkspace(self.actions, self.store, self.limits.epoch)
                self.running[pool.submit(_run_job, job, workspace, self.host)] = job
            else:
                self._skip(job.actions)
        self.waiting.extendleft(reversed(blocked))

    def _succeeded(self, step_id: str) -> bool:
        return self.results[step_id].outcome is Outcome.DONE

    def _publish(self) -> None:
        finished, self.held = self.held, []
        try:
            self.store.publish([end.staged for _, end in finished if end.staged])
            for job, end in finished:
                self._report(job, end)
        finally:
            for _, end in finished:
                shutil.rmtree(end.staging, ignore_errors=True)

    def _report(self, job: _Job, end: _Finished) -> None:
        for step_id, message in end.warnings:
            self.reporter.warned(step_id, message)
        for action in job.actions:
            seconds = end.seconds.get(action.id, 0.0)
            if end.failed is None:
                self._result(action, Result(action.id, Outcome.DONE, seconds))
            elif action is end.failed:
                self._result(action, Result(action.id, Outcome.FAILED, seconds, end.error))
                self.stopped = not self.limits.keep_going
            else:
                self._skip([action])

    def _skip(self, actions: Sequence[Action]) -> None:
        for action in actions:
            self._result(action, Result(action.id, Outcome.SKIPPED))

    def _result(self, action: Action, result: Result) -> None:
        self.results[action.id] = result
        self.reporter.finished(action, result)


def _jobs(plan: Plan) -> list[_Job]:
    jobs: dict[str, _Job] = {}
    for action in plan.actions:
        if not action.pending:
            continue
        disk = action.step.changes
        job = jobs[disk] if disk in jobs else _Job([])
        job.actions.append(action)
        jobs[action.id] = job
    unique = list({id(job): job for job in jobs.values()}.values())
    for job in unique:
        own = {action.id for action in job.actions}
        inputs = {step_id for action in job.actions for step_id in action.step.inputs}
        job.needs = {step_id for step_id in inputs if step_id in jobs} - own
    return unique


def _run_job(job: _Job, workspace: _JobWorkspace, host: Host) -> _Finished:
    """Runs in a thread; an error on purpose is the job's result, anything else a bug that comes out."""
    finished = _Finished(workspace.staging, None, {}, workspace.warnings)
    records: list[Record] = []
    for action in job.actions:
        begun = time.monotonic()
        try:
            records.extend(workspace.run(action))
            _check_sources(action, host)
        except (BangerError, OSError) as err:
            finished.failed = action
            finished.error = err if isinstance(err, BangerError) else _from_os_error(err)
            return finished
        finally:
            finished.seconds[action.id] = time.monotonic() - begun
    finished.staged = Staged(tuple(records), workspace.staged)
    return finished


def _check_sources(action: Action, host: Host) -> None:
    """A recipe's digests were taken when it was planned; what was read since must be the same."""
    for source in action.step.sources:
        if host.digest(source) != action.recipe.sources[source.role]:
            raise SourceError(f"'{source.written}' changed while it was read", hint="run it again")


def _from_os_error(err: OSError) -> StoreError:
    place = f"'{err.filename}': " if err.filename else ""
    error = StoreError(f"{place}{(err.strerror or str(err)).lower()}")
    error.__cause__ = err
    return error


class _JobWorkspace:
    """The `Workspace` of one job; its steps share the staged files."""

    def __init__(self, actions: Mapping[str, Action], store: Store, epoch: int) -> None:
        self.epoch = epoch
        self.staging = store.stage()
        self.staged: dict[str, Path] = {}
        self.warnings: list[tuple[str, str]] = []
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
    def fingerprint(self) -> str:
        return self._action.fingerprint

    @property
    def pristine(self) -> bool:
        return self._action.pristine

    def run(self, action: Action) -> list[Record]:
        """Run one step; what the store shall remember of it."""
        self._current = action
        facts = action.step.run(self)
        self._facts[action.id] = facts
        record = Record(action.id, action.recipe, action.fingerprint, action.artifacts, facts)
        if any("{fingerprint}" in output for output in action.step.outputs):
            return [record, replace(record, id=f"{action.id}@{action.fingerprint}")]
        return [record]

    def artifact(self, step_id: str) -> str:
        return self._actions[step_id].artifacts[0]

    def path(self, artifact: str) -> Path:
        return self.staged.get(artifact, self._store.path / artifact)

    def facts(self, step_id: str) -> Mapping[str, Json]:
        return self._facts[step_id] if step_id in self._facts else self._store.records[step_id].facts

    def is_staged(self, artifact: str) -> bool:
        return artifact in self.staged

    def create(self, artifact: str) -> Path:
        path = self.staging / artifact.replace("/", "%")
        path.unlink(missing_ok=True)
        self.staged[artifact] = path
        return path

    def edit(self, artifact: str) -> Path:
        if artifact not in self.staged:
            clone.clone(self._store.path / artifact, self.create(artifact))
        return self.staged[artifact]

    def warn(self, message: str) -> None:
        self.warnings.append((self._action.id, message))
