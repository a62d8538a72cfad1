"""Execute a plan: run its jobs in topological order, several in parallel, and publish their artifacts.

A job is the step that makes a disk together with the steps that change that disk in place, so a disk is never
published without its patch. Jobs run in threads, make files only in their staging directory, and change disks
in place. The calling thread publishes finished jobs in batches, each completely or not at all, and calls the
reporter.
"""

from __future__ import annotations

import heapq
import time
from collections import defaultdict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from bangerbuild.errors import NoRoomError, SourceError, StoreError
from bangerbuild.execute import jobs
from bangerbuild.execute.recheck import Disks, Sources
from bangerbuild.execute.timing import Timing
from bangerbuild.execute.workspace import JobWorkspace, Shared
from bangerbuild.host import process
from bangerbuild.model import Outcome, OutputReporter, Result

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import TypeAlias

    from bangerbuild.epoch import Epoch
    from bangerbuild.execute.jobs import Finished, Job
    from bangerbuild.model import Action, Host, Plan, Reporter
    from bangerbuild.model.image_cache import Fetched
    from bangerbuild.store import Staged, Store

    Publish: TypeAlias = Callable[[Sequence[Staged], Callable[[str], bool]], list[Staged]]


BATCH_JOBS = 256
"""Finished jobs are published in batches, because a sync for many costs about as much as for one."""
BATCH_IDLE_SECONDS = 0.1
"""A batch is published if no job has ended for so long."""
BATCH_MOST_SECONDS = 1.0
"""A batch is published at the latest after this time."""


@dataclass(frozen=True)
class ExecuteOptions:
    """How a plan is executed."""

    jobs: int
    keep_going: bool
    """Whether jobs that do not depend on a failed one are still started."""
    epoch: Epoch
    offline: bool = False
    """Whether steps must not use the network."""
    fetched: Mapping[str, Fetched] = field(default_factory=dict)
    """What was brought here for steps whose action is to fetch it, by their ids."""


def execute(  # noqa: PLR0913  # independent values, each passed by its name
    plan: Plan,
    store: Store,
    host: Host,
    reporter: Reporter,
    limits: ExecuteOptions,
    *,
    publish: Publish | None = None,
) -> tuple[Result, ...]:
    """Execute a plan; a result for every action, in the plan's order.

    `publish` replaces `Store.publish`, for a caller that compares artifacts instead of publishing them.

    Raises:
        KeyboardInterrupt: running programs were ended; published artifacts stay.
        StoreError: publishing failed; nothing more is started.
    """
    run = _Execution(plan, store, host, reporter, limits)
    run.publish = publish or run.publish
    pool = ThreadPoolExecutor(limits.jobs, thread_name_prefix="job")
    try:
        run.drive(pool)
    except KeyboardInterrupt:
        process.end_all()
        pool.shutdown(
            wait=False, cancel_futures=True
        )  # threads may still use shared objects: these stay open
        raise
    except BaseException:
        process.end_all()
        pool.shutdown(cancel_futures=True)
        run.shared.close()
        raise
    pool.shutdown()
    run.shared.close()
    return tuple(run.results.get(action.id, Result(action.id, Outcome.SKIPPED)) for action in plan.actions)


class _Execution:
    def __init__(
        self, plan: Plan, store: Store, host: Host, reporter: Reporter, limits: ExecuteOptions
    ) -> None:
        self.store = store
        self.host = host
        self.reporter = reporter
        self.limits = limits
        self.plan = plan
        self.results: dict[str, Result] = {}
        self.ready: list[Job] = []
        """Jobs that can be started, as a heap in the plan's order."""
        self.dependents: dict[str, list[Job]] = defaultdict(list)
        self.running: dict[Future[Finished | None], Job] = {}
        """Submitted jobs, also those that wait for a thread, in the order of submission."""
        self.ended: SimpleQueue[Future[Finished | None]] = SimpleQueue()
        """Futures that have ended and were not processed yet."""
        self.finished_jobs: list[tuple[Job, Finished]] = []
        self.finished_since = 0.0
        """When the first of the finished jobs ended, by the monotonic clock."""
        self.reported_warnings: set[str] = set()
        self.shared = Shared()
        self.timing = Timing(reporter, store)
        self.sources = Sources(host)
        self.actions = {action.id: action for action in plan.actions}
        self.disks = Disks(plan, store, host)
        self.publish: Publish = lambda batch, may_take: store.publish(batch, may_take=may_take)
        self.has_failed = False
        """Whether a job has failed, in its thread or when it was published."""
        self.has_stopped = False
        """Whether no more jobs are started, because of a failure."""
        for job in jobs.of_plan(plan):
            for step_id in job.needs:
                self.dependents[step_id].append(job)
            if not job.needs:
                self._is_ready(job)

    def _is_ready(self, job: Job) -> None:
        job.ready_at = time.monotonic()
        heapq.heappush(self.ready, job)

    def drive(self, pool: ThreadPoolExecutor) -> None:
        """Start jobs when they become ready and publish them when they finish, until none is left.

        What only moves was moved before, with its VM.
        """
        for action in self.plan.actions:
            if action.moves:
                self.reporter.started(action)
                self._result(action, Result(action.id, Outcome.DONE))
        while True:
            self._start(pool)
            if not self.running and not self.finished_jobs:
                return
            is_quiet = not self.running or not self._wait()
            if is_quiet or self._is_batch():
                self._start(pool)
                self._publish()

    def _is_batch(self) -> bool:
        """Whether there are enough finished jobs for a batch, or one has waited long enough."""
        waited_seconds = time.monotonic() - self.finished_since
        return len(self.finished_jobs) >= BATCH_JOBS or (
            bool(self.finished_jobs) and waited_seconds > BATCH_MOST_SECONDS
        )

    def _wait(self) -> bool:
        """Wait for jobs to end; False if none has ended in time while finished ones wait to be published."""
        try:
            self._collect(self.ended.get(timeout=BATCH_IDLE_SECONDS if self.finished_jobs else None))
        except Empty:
            return False
        while not self.ended.empty():
            self._collect(self.ended.get())
        return True

    def _collect(self, ended: Future[Finished | None]) -> None:
        job, finished = self.running.pop(ended), ended.result()
        if finished:
            self.finished_since = self.finished_since if self.finished_jobs else time.monotonic()
            self.finished_jobs.append((job, finished))
            if finished.failed:
                self._stop()

    def _stop(self) -> None:
        """Start no more jobs after a failure, unless the run shall keep going."""
        self.has_failed = True
        self.has_stopped |= not self.limits.keep_going

    def _start(self, pool: ThreadPoolExecutor) -> None:
        """Submit enough ready jobs to keep the threads busy while a batch is published."""
        while self.ready and len(self.running) < self.limits.jobs + BATCH_JOBS and not self.has_stopped:
            job = heapq.heappop(self.ready)
            if job.has_failed_input:
                self._skip(job.actions)
                continue
            workspace = JobWorkspace(self.actions, self.store, self.limits.epoch, self.shared, self.host)
            workspace.offline, workspace.tell = self.limits.offline, self.reporter.progressed
            workspace.fetched = self.limits.fetched
            if isinstance(self.reporter, OutputReporter):
                workspace.tell_line = self.reporter.said
            if len(self.running) < self.limits.jobs:
                self._report_started(job)
            future = pool.submit(self._run, job, workspace)
            self.running[future] = job
            future.add_done_callback(self.ended.put)
        if not self.has_stopped:
            for job in islice(self.running.values(), self.limits.jobs):
                self._report_started(job)

    def _report_started(self, job: Job) -> None:
        if not job.was_started:
            job.was_started = True
            for action in job.actions:
                self.reporter.started(action)

    def _run(self, job: Job, workspace: JobWorkspace) -> Finished | None:
        """Run a job in a thread; None if another job failed before this one was started."""
        if self.has_failed and not job.was_started and not self.limits.keep_going:
            return None
        finished = jobs.run(job, workspace)
        if finished.failed:  # only ever set to True: several threads may do so
            self.has_failed = True
        return finished

    def _publish(self) -> None:
        finished, self.finished_jobs = self.finished_jobs, []
        begun = time.monotonic()
        try:
            self._check_sources(finished)
            for _, end in finished:
                if end.staged:
                    self.disks.note_own(end.staged.changed)
            self._publish_settled(finished)
        except StoreError:  # the run ends here, so report the failures of jobs now
            for _, end in finished:
                if not end.was_reported:
                    self._report_failure(end)
            raise
        finally:
            for _, end in finished:
                end.workspace.discard(published=end.was_reported and not end.failed)
            self.timing.published(begun, finished)

    def _publish_settled(self, finished: Sequence[tuple[Job, Finished]]) -> None:
        """Publish finished jobs as one batch; on a full disk, publish smaller batches first, then raise."""
        ready = [end.staged for _, end in finished if end.staged]
        try:
            self._refuse(self.publish(ready, self.disks.may_take) if ready else (), finished)
        except NoRoomError:
            first = finished[: len(finished) // 2]
            for _, end in finished[len(first) :]:
                end.workspace.discard()
            if first:
                self._publish_settled(first)
            raise
        for job, end in finished:
            end.was_reported = True
            self._report(job, end)

    def _check_sources(self, finished: Sequence[tuple[Job, Finished]]) -> None:
        """Fail the jobs whose sources are not what they were when the plan took their digests."""
        self.sources.forget()
        for job, end in finished:
            for action in job.actions[: len(end.done)]:
                try:
                    self.sources.check(action)
                except SourceError as err:
                    end.fail(action, err)
                    self._stop()
                    break
            end.settle()

    def _refuse(self, refused: Sequence[Staged], finished: Sequence[tuple[Job, Finished]]) -> None:
        """Fail the jobs whose disk was used by another program since the plan was made."""
        for job, end in finished:
            if end.staged is not None and any(end.staged is one for one in refused):
                end.error = self.disks.why_refused(tuple(end.staged.files))
                end.failed, end.done = job.actions[0], []
                self._stop()

    def _report(self, job: Job, end: Finished) -> None:
        for step_id, message in end.workspace.warnings:
            if message not in self.reported_warnings:  # a warning about several disks is reported once
                self.reporter.warned(step_id, message)
            self.reported_warnings.add(message)
        for action in job.actions:
            if action is end.failed:
                self._report_failure(end)
            elif any(action is done for done, _ in end.done):
                self._result(action, Result(action.id, Outcome.DONE, end.seconds(action)))
            else:
                self._skip([action])
        self.timing.ended(job, end, self.results)

    def _report_failure(self, end: Finished) -> None:
        if action := end.failed:
            self._result(action, Result(action.id, Outcome.FAILED, end.seconds(action), end.error))

    def _skip(self, actions: Sequence[Action]) -> None:
        for action in actions:
            self._result(action, Result(action.id, Outcome.SKIPPED))

    def _result(self, action: Action, result: Result) -> None:
        self.results[action.id] = result
        self.reporter.finished(action, result)
        for job in self.dependents.pop(action.id, ()):
            job.needs.discard(action.id)
            job.has_failed_input |= result.outcome is not Outcome.DONE
            if not job.needs:
                self._is_ready(job)
