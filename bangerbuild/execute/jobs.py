"""Jobs, the units of work of a plan: how a plan is split into jobs, how one is run, and its result."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from bangerbuild import shortages
from bangerbuild.errors import FULL, FULL_HINT, BangerError, StoreError
from bangerbuild.model import Verb
from bangerbuild.store import Staged

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bangerbuild.execute.workspace import JobWorkspace
    from bangerbuild.model import Action, Plan, Record


class Ran(NamedTuple):
    """When something began and ended, in seconds of the monotonic clock."""

    begun: float
    ended: float

    @classmethod
    def since(cls, begun: float) -> Ran:
        """It ends now."""
        return cls(begun, time.monotonic())

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.begun


@dataclass(order=True)
class Job:
    """The steps that make and patch one disk, or a single other step."""

    index: int
    """The job's position in the plan."""
    actions: list[Action] = field(compare=False)
    needs: set[str] = field(default_factory=set, compare=False)
    """The ids of pending steps of other jobs that it waits for."""
    has_failed_input: bool = field(default=False, compare=False)
    """Whether one of these steps has failed or was skipped."""
    was_started: bool = field(default=False, compare=False)
    """Whether its start was reported."""
    is_partial: bool = field(default=False, compare=False)
    """Whether the patch of its disk is blocked, so that nobody has compared what the guest changed."""
    ready_at: float = field(default=0.0, compare=False)
    """When it could be started, in seconds of the monotonic clock."""


def of_plan(plan: Plan) -> list[Job]:
    """The jobs of a plan, in its order."""
    actions = {action.id: action for action in plan.actions}
    jobs: dict[str, Job] = {}
    for action in plan.actions:
        if not action.pending:
            continue
        disk = action.step.changes
        job = jobs[disk] if disk in jobs else Job(len(jobs), [])
        job.actions.append(action)
        jobs[action.id] = job
    for action in plan.actions:
        if action.verb is Verb.BLOCKED and action.step.changes in jobs:
            jobs[action.step.changes].is_partial = True
    unique = list({id(job): job for job in jobs.values()}.values())
    for job in unique:
        own = {action.id for action in job.actions}
        job.needs = {step_id for action in job.actions for step_id in _pending_inputs(action, actions)} - own
    return unique


def _pending_inputs(action: Action, actions: Mapping[str, Action]) -> Iterator[str]:
    """The inputs that are pending in this plan, also pending inputs of kept ones that are made again.

    What is fetched needs none.
    """
    if action.offer:
        return
    yield from (step_id for step_id in action.step.waits_for if actions[step_id].pending)
    for step_id in action.step.inputs:
        if step_id in action.stand_ins:
            yield from _taken_out_again(action.stand_ins[step_id], actions)
            continue
        source = actions[step_id]
        if source.pending:
            yield step_id
        else:
            yield from (
                below
                for below in _pending_inputs(source, actions)
                if source.recipe.inputs.get(below) == actions[below].fingerprint
            )


def _taken_out_again(stand_in: Record, actions: Mapping[str, Action]) -> Iterator[str]:
    own = actions.get(stand_in.id)
    if own is not None and own.pending and own.fingerprint == stand_in.fingerprint:
        yield own.id


@dataclass
class Finished:
    """The result of a job's thread."""

    workspace: JobWorkspace
    ran: dict[str, Ran] = field(default_factory=dict)
    """When each step ran; of a disk that was copied from another job's, the first one is all of it."""
    whole: Ran = field(default_factory=lambda: Ran(0.0, 0.0))
    """When the job ran."""
    thread: int = 0
    """The number of its thread."""
    done: list[tuple[Action, list[Record]]] = field(default_factory=list)
    """The steps that succeeded and stay valid, with their records."""
    failed: Action | None = None
    error: BangerError | None = None
    staged: Staged | None = None
    """What to publish; None if nothing."""
    was_reported: bool = False
    """Whether its results were reported."""
    is_partial: bool = False
    """See Job."""

    def seconds(self, action: Action) -> float:
        """How long a step took; 0 if it did not run."""
        return self.ran[action.id].seconds if action.id in self.ran else 0.0

    def fail(self, action: Action, error: BangerError) -> None:
        """Record a failure. Earlier in-place changes of a disk stay valid; staged files are discarded."""
        steps = [done for done, _ in self.done]
        holds = 0 if self.workspace.staged else steps.index(action) if action in steps else len(steps)
        self.failed, self.error = action, error
        del self.done[holds:]
        self.workspace.discard()  # at once: if the disk is full, other jobs need the space

    def settle(self) -> None:
        """Prepare what to publish."""
        if not self.done:
            return
        workspace = self.workspace
        changed = workspace.changed
        if self.failed or self.is_partial:  # the disk must be inspected again
            changed = {artifact: stamp.outdated() for artifact, stamp in changed.items()}
        records = tuple(record for _, records in self.done for record in records)
        guests = frozenset(workspace.guests)
        self.staged = Staged(records, workspace.staged, guests, changed, workspace.files, workspace.stamps)


def run(job: Job, workspace: JobWorkspace) -> Finished:
    """Run a job, in a thread. A deliberate error becomes part of the result; any other exception is a bug."""
    finished = Finished(workspace, is_partial=job.is_partial, thread=threading.get_ident())
    job_begun = time.monotonic()
    template = workspace.template(job.actions)
    begun = time.monotonic()
    current = job.actions[0]
    try:
        if template and template.output:
            made = workspace.instantiate(job.actions, template.output)
            finished.done = list(zip(job.actions, made, strict=True))
            finished.ran[current.id] = Ran.since(begun)
        else:
            for current in job.actions:
                begun = time.monotonic()
                finished.done.append((current, workspace.run(current)))
                finished.ran[current.id] = Ran.since(begun)
            if template:
                workspace.offer(template, job.actions)
        workspace.stamp()
    except (BangerError, OSError, MemoryError, RuntimeError) as err:
        finished.ran.setdefault(current.id, Ran.since(begun))
        finished.fail(current, _deliberate(err, workspace))
    finished.whole = Ran.since(job_begun)
    return finished


def _deliberate(err: Exception, workspace: JobWorkspace) -> BangerError:
    """The error of a step as a BangerError; what tells of no shortage of the host is a bug, and raised."""
    if isinstance(err, BangerError):
        return err
    if isinstance(err, OSError):
        return _from_os_error(err, workspace)
    shortage = shortages.find(err)
    if shortage is None:
        raise err
    error = StoreError(shortage.brief, hint=shortage.hint)
    error.__cause__ = err
    return error


def _from_os_error(err: OSError, workspace: JobWorkspace) -> StoreError:
    """Translate an OSError; one without a file name is about a disk in the store."""
    place = err.filename or workspace.path("")
    hint = FULL_HINT if err.errno in FULL else None
    error = StoreError(f"'{place}': {(err.strerror or str(err)).lower()}", hint=hint)
    error.__cause__ = err
    return error
