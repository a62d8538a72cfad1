"""Graph and store to a plan: an action with reasons for every step. Reads; never writes.

A kept step stands for the fingerprint it was recorded with, not for the one it would have today, so that a
tool's new version, or a base that is kept on purpose, moves nothing that is built on it.
"""

from __future__ import annotations

import posixpath
import stat
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

from bangerbuild import graph as graphs
from bangerbuild.errors import BangerError, SourceError, StoreError, readable_size
from bangerbuild.model import (
    Action,
    Plan,
    Preview,
    Reason,
    ReasonCode,
    Recipe,
    Situation,
    Verb,
    Verdict,
    would_fail,
)
from bangerbuild.model.artifacts import PLAIN_TABLES, ArtifactPath
from bangerbuild.model.fingerprint import differences, fingerprint, step_fields, tool_differences
from bangerbuild.model.image_cache import Answer
from bangerbuild.model.image_cache import Wanted as CacheWanted
from bangerbuild.model.recipe import DESTROYED, OWN_TOOL
from bangerbuild.planning.plan_view import KeptOpen, PlanView
from bangerbuild.planning.renames import Renames
from bangerbuild.planning.stand_ins import OnBase, StandIns
from bangerbuild.store import moving
from bangerbuild.store.faults import ELSEWHERE_HINT, OWNER_HINT, store_error

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from bangerbuild.epoch import Epoch
    from bangerbuild.graph import Graph
    from bangerbuild.model import Host, Json, Pin, Record, Source, Step
    from bangerbuild.model.image_cache import ImageCache
    from bangerbuild.store import Staged, Store


UNREAD = "unread"
"""The digest of a source that can't be read, where nothing is to be made of it."""
_NONE: Mapping[str, str] = {}
"""The sources of the many steps that read none."""
NEW = {Verb.CREATE, Verb.FETCH, Verb.REPLACE}
STAYS = set(Verb) - NEW
"""What may happen to a disk that keeps what is on it."""
NO_ANSWER = Answer()
"""Of no cache."""


def make(  # noqa: PLR0913  # of what, and how, each by its name
    graph: Graph,
    store: Store,
    host: Host,
    *,
    epoch: Epoch,
    pins: Mapping[str, Pin] = MappingProxyType({}),
    forced: frozenset[str] = frozenset(),
    previews: bool = True,
    is_lenient: bool = False,
    renames: Renames | None = None,
    cache: ImageCache | None = None,
) -> Plan:
    """The plan for these steps.

    Args:
        graph: what is declared.
        store: what is there.
        host: asked for digests, versions and holders.
        epoch: for previews of what a patch would write.
        pins: what steps' sources stand for that lie elsewhere, by the step's id.
        forced: ids of steps that are made anew whatever is lost.
        previews: whether to look into each guest for what an update would change there.
        is_lenient: whether a source that can't be read is taken to be as it was, see `Plan.unjudged`.
        renames: the VMs that the store is to have under other names; it shows them under these already.
        cache: asked for what would have to be built of images; None: all is built.

    Raises:
        SourceError, ToolError, StoreError: something that must be looked at can't be.
    """
    store.check_records()
    with ExitStack() as stack:
        renames = renames or Renames()
        planner = Planner(store, host, epoch, pins, forced, previews, KeptOpen(stack), is_lenient, renames)
        if cache is not None:
            planner.ask(cache, graph)
        for step in graphs.ordered(graph):
            planner.actions[step.id] = planner.action(step)
        actions, unjudged = tuple(planner.actions.values()), frozenset(planner.unjudged)
        return Plan(store.path, actions, unjudged=unjudged, moves=renames.possible)


@dataclass
class Planner:
    """Decides on one step after the other, each after its inputs."""

    store: Store
    host: Host
    epoch: Epoch
    pins: Mapping[str, Pin]
    forced: frozenset[str]
    previews: bool
    kept: KeptOpen
    is_lenient: bool = False
    renames: Renames = field(default_factory=Renames)
    cache: ImageCache | None = None
    unjudged: set[str] = field(default_factory=set)
    actions: dict[str, Action] = field(default_factory=dict)
    digests: dict[object, str] = field(default_factory=dict)
    """Of the sources that were looked at: a tree that a thousand VMs get is walked once."""
    unreadable: dict[object, SourceError] = field(default_factory=dict)
    """Why others of them can't be read."""
    last: dict[str, Wanted] = field(default_factory=dict)
    """What the last step of each kind would be made of: that of the next VM is often made of the same."""
    tools: dict[object, Mapping[str, str]] = field(default_factory=dict)
    statuses: dict[str, os.stat_result | None] = field(default_factory=dict)
    """Of the artifacts; None: it is not there. Asked once: a disk is its patch's too."""
    directory: str | None = None
    """Of the artifact that was asked about last: steps of one VM come one after the other."""
    is_directory_there: bool = False
    closed: set[str] = field(default_factory=set)
    """Steps of which an artifact can't be looked at, or a source can't be read."""
    unread: dict[str, Reason] = field(default_factory=dict)
    """Steps that are kept, and of which an artifact can't be read: why nothing can be made of it."""
    stand_ins: StandIns = field(init=False)
    _view: PlanView = field(init=False)

    def __post_init__(self) -> None:
        self.stand_ins = StandIns(self.store, self.actions, self._again)
        self._view = PlanView(self.store, self.actions, self.epoch, self.host, self.kept)

    def ask(self, cache: ImageCache, graph: Graph) -> None:
        """Ask a cache at once for all images that would have to be built, and from now on for any other."""
        for step in graphs.ordered(graphs.restrict(graph, graphs.immutable(graph))):
            self.actions[step.id] = self.action(step)
        cache.ask([_wanted_of(action) for action in self.actions.values() if action.verb is Verb.CREATE])
        self.actions.clear()
        self.cache = cache

    def action(self, step: Step) -> Action:
        """What is to be done about a step; one whose artifact can't be looked at is left."""
        try:
            action = self._looked_at(step)
            if self.renames.concern_any:
                conflict = self.renames.conflicts.get(moving.vm_of(step.id) or "")
                action = self._blocked(action, (conflict,)) if conflict else self.renames.applied(action)
        except StoreError as err:
            if not isinstance(err.__cause__, OSError):
                raise
            action = self._left(step, err)
        except SourceError as err:  # of the host: whoever needs it is left, and nobody else
            action = self._left(step, err)
        except PermissionError as err:  # of what it stands on
            action = self._left(step, store_error(err, self.store.path))
        disk = self.actions.get(step.changes or "")
        if disk and disk.verb in NEW and action.verb is Verb.BLOCKED:  # no disk is made without its patch
            self.actions[disk.id] = self._blocked(disk, action.reasons)
        return action

    def _left(self, step: Step, err: StoreError | SourceError) -> Action:
        self.closed.add(step.id)
        wanted = self.wanted(step)
        record = self.store.record(step.id, wanted.fingerprint)
        hint = None if _is_denied(err) else err.hint
        facts: dict[str, Json] = {"message": err.brief, "hint": hint or OWNER_HINT}
        if err.details:
            facts["details"] = err.details
        return Action(
            step=step,
            verb=Verb.BLOCKED,
            reasons=(Reason(ReasonCode.WOULD_FAIL, facts),),
            recipe=record.recipe if record else wanted.recipe,
            fingerprint=record.fingerprint if record else wanted.fingerprint,
            artifacts=self.artifacts(step, record, wanted),
        )

    def _looked_at(self, step: Step) -> Action:
        on_base = self.stand_ins.of_step(step)
        step, stand_ins = on_base.step, on_base.stand_ins
        self.actions |= {action.id: action for action in on_base.again}
        wanted = self._wanted(step, stand_ins)
        record = self._record(step, wanted)
        changes = differences(record.recipe, wanted.recipe, _written(step)) if record else ()
        artifacts = self.artifacts(step, record, wanted)
        file_bytes = self._file_bytes(step, artifacts, record)
        resized = record is not None and file_bytes != record.facts.get("file_bytes", file_bytes)
        disk = self._disk(step, artifacts, settled=record is not None and not changes and not resized)
        looked_at = bool(artifacts) and (bool(changes) or disk.interrupted)
        situation = Situation(
            record=record,
            changes=changes,
            missing=not all(map(self._exists, artifacts)),
            modified=lambda: self._modified(self._at_stake(step, artifacts), may_read=disk.holder is None),
            disk_verb=self.actions[step.changes].verb if step.changes else None,
            file_bytes=file_bytes,
            allocated_bytes=self.store.allocated(artifacts[0]) if looked_at else None,
            found=disk.found,
        )
        verdict = self._verdict(step, situation, disk)
        if on_base.lacking:
            verdict = Verdict(Verb.BLOCKED, on_base.lacking)
        answer = self._offered(step, wanted, verdict)
        if answer.offer:
            wanted = Wanted(answer.offer.recipe, answer.offer.fingerprint)
            verdict = Verdict(Verb.FETCH, verdict.reasons)
            artifacts = self.artifacts(step, None, wanted)
        verdict, notes = foretold(step, verdict, self.pins.get(step.id), self.view())
        action = self._decided(step, wanted, situation, verdict, disk.holder, artifacts)
        if answer.offer or answer.warnings:
            action = replace(action, offer=answer.offer, warnings=(*action.warnings, *answer.warnings))
        notes = (*notes, *self._left_beside(record, action), *_from_where(answer))
        if notes or stand_ins:  # which few steps have
            action = replace(action, notes=notes, stand_ins=stand_ins)
        if action.verb is Verb.KEEP and step.changes and not self.actions[step.changes].is_damaged:
            for artifact, status in disk.touched.items():
                self.store.record_inspected(artifact, status)
        return action

    def _offered(self, step: Step, wanted: Wanted, verdict: Verdict) -> Answer:
        """What the cache has of an image's artifact that would have to be built."""
        if self.cache is None or verdict.verb is not Verb.CREATE or not graphs.is_immutable(step):
            return NO_ANSWER
        return self.cache.find(CacheWanted(step.id, wanted.recipe, wanted.fingerprint))

    def _left_beside(self, record: Record | None, action: Action) -> Iterator[str]:
        """What is said of files that an action replaces by one of another name, and which stay."""
        if record is None or action.verb is not Verb.REPLACE:
            return
        for artifact in map(ArtifactPath, record.artifacts):
            if artifact in action.artifacts or artifact.table not in PLAIN_TABLES:
                continue
            name = posixpath.basename(artifact)
            if self._exists(artifact) and self.store.modified(artifact):
                yield f"{name}, which its guest wrote to, stays beside it: gc leaves it alone"
            elif self._exists(artifact):
                yield f"{name} stays beside it until: bangerbuild gc"

    def _disk(self, step: Step, artifacts: tuple[str, ...], *, settled: bool) -> _PlannedDisk:
        """What is to be known of a disk that a guest may have written to, or may be writing to now."""
        present = list(filter(self._exists, artifacts)) if step.exclusive else []
        if not present:
            return _NO_DISK
        touched = {artifact: status for artifact in present if (status := self._touched(artifact))}
        interrupted = self._interrupted(step, present)
        if settled and not touched and not interrupted and step.id not in self.forced:
            return _NO_DISK
        holder = self._holder(present)
        asked = interrupted or self._is_to_be_inspected(step, touched, settled=settled)
        if holder or not asked or self._remade_base(step):  # through another base it looks damaged
            return _PlannedDisk(holder, interrupted=interrupted)
        changed: dict[str, os.stat_result] = {}
        if step.changes:
            changed = {artifact: touched[artifact] for artifact in touched if self.store.modified(artifact)}
            if not changed:
                return _PlannedDisk(interrupted=interrupted)
        try:
            found = step.inspect(self.view())
        except (BangerError, PermissionError):  # which is no reason to do anything; `verify` tells
            return _PlannedDisk(interrupted=interrupted)
        return _PlannedDisk(None, interrupted=interrupted, touched=changed, found=found)

    def _remade_base(self, step: Step) -> str | None:
        """The image under a disk, if it is not what it was, and is made anew by this plan."""
        disk = self.actions[step.changes].step if step.changes else step
        for base in (self.actions[step_id] for step_id in disk.inputs if step_id in self.actions):
            if base.verb is Verb.REPLACE and any(
                reason.code is ReasonCode.ARTIFACT_MODIFIED for reason in base.reasons
            ):
                return base.artifacts[0]
        return None

    def _file_bytes(self, step: Step, artifacts: tuple[str, ...], record: Record | None) -> int | None:
        """The size of a disk: of one that nobody has touched, or that can't be asked, what is recorded."""
        if not step.exclusive or step.changes or not artifacts:
            return None
        artifact, recorded = artifacts[0], cast("int | None", record and record.facts.get("file_bytes"))
        if self._status(artifact) is None:
            return recorded
        if self._touched(artifact) is None and artifact in self.store.stamps:
            return recorded if step.has_format and recorded is not None else self.store.stamps[artifact].size
        file_bytes = self.store.size(artifact)
        if file_bytes is None or not self._exists(artifact) or self._holder((artifact,)):
            return file_bytes if recorded is None else recorded
        try:
            own_bytes = step.disk_bytes(self.view(), artifact)
        except BangerError:
            own_bytes = recorded
        return file_bytes if own_bytes is None else own_bytes

    def _status(self, artifact: str) -> os.stat_result | None:
        if not self._has_directory(artifact):
            return None
        if artifact not in self.statuses:
            self.statuses[artifact] = self.store.status(artifact)
        return self.statuses[artifact]

    def _has_directory(self, artifact: str) -> bool:
        """Whether the directory of an artifact may be there: one look tells it of all that a new VM gets."""
        directory = artifact.rpartition("/")[0]
        if self.directory != directory:
            self.directory = directory
            try:
                self.is_directory_there = self.store.status(directory) is not None
            except StoreError:  # the look at the artifact says why
                self.is_directory_there = True
        return self.is_directory_there

    def _exists(self, artifact: str) -> bool:
        status = self._status(artifact)
        return status is not None and stat.S_ISREG(status.st_mode)

    def _touched(self, artifact: str) -> os.stat_result | None:
        """What `stat` says of an artifact that somebody has touched; None: nobody has."""
        status, stamp = self._status(artifact), self.store.stamps.get(artifact)
        return None if status and stamp and stamp.fits(status) else status

    def _interrupted(self, step: Step, artifacts: Iterable[str]) -> bool:
        """Whether the change of the disk that is this step's was interrupted: its patch, or its growth."""
        ask = self.store.is_half_patched if step.changes else self.store.is_half_grown
        return any(map(ask, artifacts))

    def _is_to_be_inspected(
        self, step: Step, touched: Mapping[str, os.stat_result], *, settled: bool
    ) -> bool:
        if step.changes is None:
            return not settled or bool(touched)
        return bool(touched) and self.actions[step.changes].verb in STAYS

    def wanted(self, step: Step) -> Wanted:
        """What a step would be made of now."""
        on_base = self.on_base(step)
        return self._wanted(on_base.step, on_base.stand_ins)

    def learn(self, jobs: Sequence[Staged]) -> None:
        """Take records that were recovered for what is known."""
        self.store.learn(jobs)
        self.stand_ins.refresh()

    def on_base(self, step: Step) -> OnBase:
        """The step as it is on the image that its disk stands on."""
        return self.stand_ins.of_step(step)

    def _again(self, step: Step, stand_ins: Mapping[str, Record]) -> Action:
        """A step that makes something once more of an image that is not today's, beside that of today."""
        step.foresee(self.view(stand_ins))
        wanted = self._wanted(step, stand_ins)
        own = step.beside(wanted.fingerprint)
        artifacts = tuple(output.format(fingerprint=wanted.fingerprint) for output in own.outputs)
        return Action(
            step=own,
            verb=Verb.CREATE,
            reasons=(Reason(ReasonCode.MISSING),),
            recipe=wanted.recipe,
            fingerprint=wanted.fingerprint,
            artifacts=artifacts,
            stand_ins=stand_ins,
        )

    def _wanted(self, step: Step, stand_ins: Mapping[str, Record]) -> Wanted:
        recipe = self._recipe(step, stand_ins)
        recorded = self.store.records.get(step.id)
        if recorded and recorded.recipe == recipe:
            return Wanted(recorded.recipe, recorded.fingerprint)
        last = self.last.get(recipe.kind)
        if last is None or last.recipe != recipe:
            last = self.last[recipe.kind] = Wanted(recipe, fingerprint(recipe))
        return last

    def _recipe(self, step: Step, stand_ins: Mapping[str, Record]) -> Recipe:
        kind = step.kind
        fields: Mapping[str, Json] = step_fields(step)
        last = self.last.get(kind)
        if last and last.recipe.fields == fields:
            fields = last.recipe.fields
        return Recipe(
            kind=kind,
            fields=fields,
            inputs={
                step_id: (stand_ins.get(step_id) or self.actions[step_id]).fingerprint
                for step_id in step.inputs
            },
            sources={source.role: self._digest(step, source) for source in step.sources} or _NONE,
            tools=self._tools(step),
        )

    def _tools(self, step: Step) -> Mapping[str, str]:
        """The versions that count for a step: one table for all steps that name the same."""
        what = step.kind, step.format, tuple(step.tools)
        if what not in self.tools:
            versions = {tool: self.host.version(tool) for tool in step.tools}
            self.tools[what] = {f"{OWN_TOOL}{step.kind}": str(step.format)} | versions
        return self.tools[what]

    def _digest(self, step: Step, source: Source) -> str:
        if source.path is None and step.id in self.pins:
            return self.pins[step.id].digest
        if source.secret is not None and self.is_lenient:  # nobody reads it only to look
            return self._last_digest(step, source)
        what = source.content_key
        if what not in self.digests and what not in self.unreadable:
            try:
                self.digests[what] = self.host.digest(source)
            except SourceError as err:
                self.unreadable[what] = err
        if what in self.digests:
            return self.digests[what]
        if self.is_lenient:
            self.unjudged.add(step.id)
        elif step.id not in self.closed:
            raise self.unreadable[what]
        return self._last_digest(step, source)

    def _last_digest(self, step: Step, source: Source) -> str:
        """What a source was when the step ran last."""
        last = self.store.records.get(step.id)
        return last.recipe.sources.get(source.role, UNREAD) if last else UNREAD

    def _record(self, step: Step, wanted: Wanted) -> Record | None:
        """What is remembered of the step; of another kind under its id, as long as its artifact is there."""
        record = self.store.record(step.id, wanted.fingerprint)
        if record and record.recipe.kind != step.kind and not any(map(self._exists, record.artifacts)):
            return None
        return record

    def artifacts(self, step: Step, record: Record | None, wanted: Wanted) -> tuple[str, ...]:
        """Where what a step makes is, or will be."""
        if step.changes:
            return self.actions[step.changes].artifacts
        if record is not None:
            return record.artifacts
        return tuple(
            output.format(fingerprint=wanted.fingerprint) if "{" in output else output
            for output in step.outputs
        )

    def _at_stake(self, step: Step, artifacts: tuple[str, ...]) -> frozenset[str]:
        """The disks that a new one would take the place of: one may lie where the old one does not."""
        there = filter(self._exists, step.outputs if step.exclusive else ())
        return frozenset((*artifacts, *there))

    def _holder(self, artifacts: Iterable[str]) -> str | None:
        """Who has the disk open; asked only where something may have to be done to it."""
        paths = (Path(self.store.place(artifact)) for artifact in artifacts)
        return next((holder for path in paths if (holder := self.host.holder(path))), None)

    def _modified(self, artifacts: Iterable[str], *, may_read: bool) -> bool:
        return any(self.store.modified(artifact, may_read=may_read) for artifact in artifacts)

    def _verdict(self, step: Step, situation: Situation, disk: _PlannedDisk) -> Verdict:
        verdict = self._usual_verdict(step, situation)
        if not disk.interrupted or verdict.verb in NEW:
            return verdict
        if disk.found and step.changes is None:  # what was interrupted can't be mended by itself
            return Verdict(Verb.BLOCKED, (*disk.found, Reason(ReasonCode.INTERRUPTED)))
        verb = Verb.UPDATE if verdict.verb is Verb.KEEP else verdict.verb
        others = tuple(reason for reason in verdict.reasons if reason.code is not ReasonCode.INTERRUPTED)
        return Verdict(verb, (*others, Reason(ReasonCode.INTERRUPTED)))

    def _usual_verdict(self, step: Step, situation: Situation) -> Verdict:
        if situation.missing and (obstacles := self._obstacles(step, situation.record) or self._closed(step)):
            return Verdict(Verb.BLOCKED, obstacles)
        if situation.missing and (gone := self._gone(step)):
            if step.id not in self.forced:
                return Verdict(Verb.BLOCKED, (gone,))
            return Verdict(Verb.CREATE, (Reason(ReasonCode.MISSING), Reason(ReasonCode.FORCED)))
        for disk in (self.actions[step_id] for step_id in step.inputs if step_id in self.actions):
            if disk.verb is Verb.BLOCKED and (
                disk.id not in self.store.records
                or _is_unfit(disk, step)
                or (situation.missing and _is_gone(disk))  # the drive is away that its files lie on
            ):
                # The disk stays, and nothing is known of it: not even a launch config can name its base.
                causes = (reason for reason in disk.reasons if reason.code is not ReasonCode.IN_USE)
                return Verdict(Verb.BLOCKED, tuple(causes))
        if step.id not in self.forced or situation.missing or (step.changes and situation.record is None):
            return step.judge(situation)
        reasons = (*situation.changes, Reason(ReasonCode.FORCED))
        return Verdict(Verb.UPDATE if step.changes else Verb.REPLACE, reasons)

    def _closed(self, step: Step) -> tuple[Reason, ...]:
        """Why nothing new can be made of what can't be looked at."""
        if not self.closed and not self.unread:
            return ()
        for action in map(self.actions.get, (*step.inputs, *step.waits_for)):
            if action and action.verb is Verb.BLOCKED and action.id in self.closed:
                return action.reasons
            if action and action.id in self.unread:
                return (self.unread[action.id],)
        return ()

    def _gone(self, step: Step) -> Reason | None:
        """That a disk is away which holds what a guest wrote, unless it is to be away."""
        record = self.store.records.get(step.id)
        if record is None or step.changes or not step.exclusive or record.facts.get(DESTROYED):
            return None
        stamps = ((path, self.store.stamps.get(path)) for path in record.artifacts)
        away = [path for path, stamp in stamps if stamp and stamp.guest and not self._exists(path)]
        hint = f"mount what it lies on, or `bangerbuild apply --replace {step.id}` makes a new one"
        return Reason(ReasonCode.DISK_GONE, {"path": away[0], "hint": hint}) if away else None

    def _obstacles(self, step: Step, record: Record | None) -> tuple[Reason, ...]:
        """What lies in the place of an artifact and is none: somebody's own, that stays whatever is asked."""
        if step.changes:
            return ()
        places = dict.fromkeys((*(record.artifacts if record else ()), *step.outputs))
        looked_at = (place for place in places if "{" not in place and self._has_directory(place))
        found = ((artifact, self.store.obstacle(artifact)) for artifact in looked_at)
        return tuple(
            Reason(ReasonCode.ARTIFACT_MODIFIED, {"path": artifact, "error": error, "stays": True})
            for artifact, error in found
            if error
        )

    def _decided(  # noqa: PLR0913, PLR0917  # all that was found out about the step
        self,
        step: Step,
        wanted: Wanted,
        situation: Situation,
        verdict: Verdict,
        holder: str | None,
        artifacts: tuple[str, ...],
    ) -> Action:
        record = situation.record
        is_left = holder is not None or verdict.verb in {Verb.KEEP, Verb.BLOCKED}
        stays = record if record and is_left else None
        if record and verdict.verb is Verb.GROW:  # on what it was made from
            recipe = replace(wanted.recipe, inputs=record.recipe.inputs)
            wanted = Wanted(recipe, fingerprint(recipe))
        reasons = verdict.reasons
        if record and verdict.verb is Verb.KEEP:
            reasons += tool_differences(record.recipe, wanted.recipe)
            reasons += tuple(self._unread(step, artifacts))
        if holder and verdict.verb is not Verb.KEEP:
            reasons += (Reason(ReasonCode.IN_USE, {"holder": holder}),)
        stays_there = situation.disk_verb in STAYS
        remakes_disk = verdict.verb is Verb.UPDATE and stays_there and not situation.modified()
        discards = verdict.verb is Verb.REPLACE or remakes_disk
        action = Action(
            step=step,
            verb=verdict.verb,
            reasons=reasons,
            recipe=stays.recipe if stays else wanted.recipe,
            fingerprint=stays.fingerprint if stays else wanted.fingerprint,
            artifacts=artifacts if stays is record else self.artifacts(step, stays, wanted),
            remakes_disk=remakes_disk,
            untouched=step.exclusive and discards and step.id not in self.forced,
            pin=self.pins.get(step.id),
        )
        return self._foreseen(action, is_new=not stays_there)

    def _unread(self, step: Step, artifacts: Iterable[str]) -> Iterator[Reason]:
        """That what is kept may not be read by who asks: it is not looked at, and that is said."""
        for artifact in () if step.changes else artifacts:
            status = self._status(artifact)
            if status and not self.store.may_read(artifact, status):
                error = f"'{self.store.place(artifact)}' can't be read: permission denied"
                facts: dict[str, Json] = {"path": artifact, "error": error, "hint": OWNER_HINT}
                self.unread[step.id] = would_fail(StoreError(error, hint=OWNER_HINT))
                yield Reason(ReasonCode.ARTIFACT_MODIFIED, facts)

    def _foreseen(self, action: Action, *, is_new: bool) -> Action:
        """The action with what it would change, or blocked by what it is known to fail at."""
        if not action.step.changes or not action.pending or self._is_out_of_sight(action.step):
            return self._forewarned(action, is_new=is_new)
        if not is_new and (base := self._remade_base(action.step)):
            facts: dict[str, Json] = {
                "message": f"'{base}', which it stands on, was changed by someone else: it is made anew",
                "hint": "`bangerbuild apply` does that, and the next one does this",
            }
            return self._blocked(action, (Reason(ReasonCode.WOULD_FAIL, facts),))
        seen = self._obstacles_of_new(action) if is_new else self._preview(action)
        if self.actions[action.step.changes].verb is Verb.ADOPT:  # what it is, no record says yet
            known = tuple(one for one in seen.obstacles if one.code is ReasonCode.PATH_IN_THE_WAY)
            seen = replace(seen, obstacles=known)
        if seen.obstacles:
            return self._blocked(action, seen.obstacles)
        if seen.diffs or seen.reasons:
            action = replace(action, diffs=seen.diffs, reasons=action.reasons + seen.reasons)
        return self._forewarned(action, is_new=is_new)

    def _is_out_of_sight(self, step: Step) -> bool:
        """Whether what the step would change can't be told, as nobody reads a secret only to look."""
        is_shown = self.is_lenient and self.previews
        return is_shown and (step.id in self.unjudged or any(source.secret for source in step.sources))

    def _blocked(self, action: Action, obstacles: tuple[Reason, ...]) -> Action:
        """The same step, left as it is."""
        record = self.store.records.get(action.id)
        kept = replace(action, recipe=record.recipe, fingerprint=record.fingerprint) if record else action
        return replace(
            kept, verb=Verb.BLOCKED, reasons=obstacles, remakes_disk=False, untouched=False, diffs=()
        )

    def _obstacles_of_new(self, action: Action) -> Preview:
        """What is in the way in what the disk is made from, if that is there already."""
        disk = self.actions[str(action.step.changes)].step
        sources = [self.actions[step_id] for step_id in disk.inputs]
        if not sources or sources[0].verb is not Verb.KEEP or not self._exists(sources[0].artifacts[0]):
            return self._foreseen_of_new(action)
        return Preview(obstacles=action.step.obstacles(self.view(), sources[0].artifacts[0]))

    def _foreseen_of_new(self, action: Action) -> Preview:
        try:
            action.step.foresee(self.view())
        except BangerError as err:
            return Preview(obstacles=(would_fail(err),))
        return Preview()

    def _forewarned(self, action: Action, *, is_new: bool) -> Action:
        if not (self.previews and action.pending):
            return action
        try:
            warnings = action.step.warnings(self.view(), is_new=is_new)
        except BangerError:  # the run fails at it and says so
            return action
        return replace(action, warnings=warnings) if warnings else action

    def _preview(self, action: Action) -> Preview:
        """What the step would change. A guest that can't be read is no reason to plan nothing for others."""
        is_untouched = not any(map(self._touched, action.artifacts))
        try:
            return action.step.preview(
                self.view(),
                is_untouched=is_untouched,
                remakes_disk=action.remakes_disk,
                in_full=self.previews,
            )
        except BangerError as err:
            return Preview(obstacles=(would_fail(err),))

    def view(self, stand_ins: Mapping[str, Record] = MappingProxyType({})) -> PlanView:
        """What a step may read now."""
        return replace(self._view, stand_ins=stand_ins) if stand_ins else self._view


def foretold(
    step: Step, verdict: Verdict, pin: Pin | None, view: PlanView
) -> tuple[Verdict, tuple[str, ...]]:
    """The verdict on a step, blocked if it is known to fail; and what there is to say of what it makes."""
    if verdict.verb not in NEW or verdict.verb is Verb.FETCH:
        return verdict, ()
    try:
        step.foresee(view)
        return verdict, step.notes(pin)
    except BangerError as err:
        return Verdict(Verb.BLOCKED, (*verdict.reasons, would_fail(err))), ()


def _wanted_of(action: Action) -> CacheWanted:
    return CacheWanted(action.id, action.recipe, action.fingerprint)


def _from_where(answer: Answer) -> Iterator[str]:
    """What is said of what is fetched."""
    if offer := answer.offer:
        yield f"from {offer.written}, {readable_size(offer.size_bytes)}"


@dataclass(frozen=True)
class Wanted:
    """What a step would be made of now, and the digits that stand for it."""

    recipe: Recipe
    fingerprint: str


@dataclass(frozen=True)
class _PlannedDisk:
    """What was learned of a step's disk before the step is judged."""

    holder: str | None = None
    interrupted: bool = False
    touched: Mapping[str, os.stat_result] = field(default_factory=dict)
    """Artifacts that somebody has written to, as `stat` had them before they were looked into."""
    found: tuple[Reason, ...] = ()


_NO_DISK = _PlannedDisk()


def _is_unfit(disk: Action, step: Step) -> bool:
    """Whether a disk that stays can't be patched."""
    unfit = {
        ReasonCode.BASE_UNKNOWN,
        ReasonCode.ARTIFACT_MODIFIED,
        ReasonCode.DISK_GONE,
        ReasonCode.WOULD_FAIL,
    }
    return step.changes == disk.id and any(reason.code in unfit for reason in disk.reasons)


def _is_denied(err: BangerError) -> bool:
    return err.hint == ELSEWHERE_HINT


def _is_gone(disk: Action) -> bool:
    return any(reason.code is ReasonCode.DISK_GONE for reason in disk.reasons)


def _written(step: Step) -> dict[str, str]:
    return {source.role: source.written for source in step.sources}
