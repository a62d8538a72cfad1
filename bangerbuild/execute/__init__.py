"""Plan to artifacts: jobs in topological order, several at once, each published whole or not at all.

A job is a disk's step together with the steps that change that disk in place: a disk never appears without
its patch. Jobs run in threads and touch nothing but their staging directory; the calling thread alone
publishes, all jobs that are ready at a time in one batch, and talks to the reporter.
"""

from __future__ import annotations

import heapq
import time
from collections import defaultdict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from bangerbuild import process
from bangerbuild.errors import NoRoomError, SourceError, StoreError
from bangerbuild.execute import jobs
from bangerbuild.execute.recheck import Disks, Sources
from bangerbuild.execute.workspace import JobWorkspace, Shared
from bangerbuild.model import Outcome, Result

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    from bangerbuild.execute.jobs import Finished, Job
    from bangerbuild.model import Action, Host, Plan, Reporter
    from bangerbuild.store import Staged, Store

    Publish: TypeAlias = Callable[[Sequence[Staged], Callable[[str], bool]], list[Staged]]


BATCH_JOBS = 256
"""Finished jobs are published together, because a sync costs about the same for one as for many."""
BATCH_IDLE_SECONDS = 0.1
"""Finished jobs wait for company while others run, but not if none has ended for so long."""
BATCH_MOST_SECONDS = 1.0
"""Nor for longer than this."""


@dataclass(frozen=True)
class ExecuteOptions:
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
    limits: ExecuteOptions,
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


class _Run:
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
        """Jobs that nothing keeps from being started, as a heap: the plan's first ones first."""
        self.dependents: dict[str, list[Job]] = defaultdict(list)
        self.running: dict[Future[Finished | None], Job] = {}
        """Those that wait for a thread included, the first ones first."""
        self.ended: SimpleQueue[Future[Finished | None]] = SimpleQueue()
        """Those of them that were not looked at yet."""
        self.finished_jobs: list[tuple[Job, Finished]] = []
        self.finished_since = 0.0
        """When the first of them ended, by the monotonic clock."""
        self.reported_warnings: set[str] = set()
        self.shared = Shared()
        self.sources = Sources(host)
        self.actions = {action.id: action for action in plan.actions}
        self.disks = Disks(plan, store, host)
        self.publish: Publish = lambda batch, may_take: store.publish(batch, may_take=may_take)
        self.has_failed = False
        """Whether there was a failure, in a thread or when its job was published."""
        self.has_stopped = False
        """Whether nothing more is to be started, as such a failure was noticed."""
        for job in jobs.of_plan(plan):
            for step_id in job.needs:
                self.dependents[step_id].append(job)
            if not job.needs:
                heapq.heappush(self.ready, job)

    def drive(self, pool: ThreadPoolExecutor) -> None:
        """Start jobs as they become ready and publish them as they finish, until none is left."""
        while True:
            self._start(pool)
            if not self.running and not self.finished_jobs:
                return
            is_quiet = not self.running or not self._wait()
            if is_quiet or self._is_batch():
                self._start(pool)
                self._publish()

    def _is_batch(self) -> bool:
        """Whether enough jobs are held to be published, or one for long enough."""
        waited_seconds = time.monotonic() - self.finished_since
        return len(self.finished_jobs) >= BATCH_JOBS or (
            bool(self.finished_jobs) and waited_seconds > BATCH_MOST_SECONDS
        )

    def _wait(self) -> bool:
        """Whether jobs finished; not if they take long and others are held to be published."""
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
        """Start nothing more after a failure that was noticed, unless the others shall go on."""
        self.has_failed = True
        self.has_stopped |= not self.limits.keep_going

    def _start(self, pool: ThreadPoolExecutor) -> None:
        """Keep the threads busy, those included that wait for a batch to be published."""
        while self.ready and len(self.running) < self.limits.jobs + BATCH_JOBS and not self.has_stopped:
            job = heapq.heappop(self.ready)
            if job.has_failed_input:
                self._skip(job.actions)
                continue
            workspace = JobWorkspace(
                self.actions, self.store, self.limits.epoch, self.shared, self.host.survey
            )
            workspace.offline, workspace.progress = self.limits.offline, self.reporter.progressed
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
        """Runs in a thread; None if another job failed before this one was started."""
        if self.has_failed and not job.was_started and not self.limits.keep_going:
            return None
        finished = jobs.run(job, workspace)
        if finished.failed:  # never written back as it was: another may have failed meanwhile
            self.has_failed = True
        return finished

    def _publish(self) -> None:
        finished, self.finished_jobs = self.finished_jobs, []
        try:
            self._check_sources(finished)
            for _, end in finished:
                if end.staged:
                    self.disks.note_own(end.staged.changed)
            self._publish_settled(finished)
        except StoreError:  # it ends the run, and what failed before would never be heard of
            for _, end in finished:
                if not end.was_reported:
                    self._report_failure(end)
            raise
        finally:
            for _, end in finished:
                end.workspace.discard(published=end.was_reported and not end.failed)

    def _publish_settled(self, finished: Sequence[tuple[Job, Finished]]) -> None:
        """All at once; where there is no room for that, as many as there is room for before it is said."""
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
        """A disk that somebody has used since it was planned for stays as it is: the job was in vain."""
        for job, end in finished:
            if end.staged is not None and any(end.staged is one for one in refused):
                end.error = next(filter(None, map(self.disks.errors.get, end.staged.files)))
                end.failed, end.done = job.actions[0], []
                self._stop()

    def _report(self, job: Job, end: Finished) -> None:
        for step_id, message in end.workspace.warnings:
            if message not in self.reported_warnings:  # what holds for every disk is said for the first
                self.reporter.warned(step_id, message)
            self.reported_warnings.add(message)
        for action in job.actions:
            if action is end.failed:
                self._report_failure(end)
            elif any(action is done for done, _ in end.done):
                seconds = end.seconds.get(action.id, 0.0)
                self._result(action, Result(action.id, Outcome.DONE, seconds))
            else:
                self._skip([action])

    def _report_failure(self, end: Finished) -> None:
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
            job.has_failed_input |= result.outcome is not Outcome.DONE
            if not job.needs:
                heapq.heappush(self.ready, job)
