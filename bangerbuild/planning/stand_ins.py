"""The kernel and initrd of the image that a root stands on, where that is not the image of today.

A root that stays on its old image has that image's modules, so it is started with the kernel and the initrd
that were taken out of that image, whatever is declared of today's. Each run that took something out of an
image has a record, which says out of which. What is no longer there is taken out again, beside today's.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bangerbuild.errors import BangerError
from bangerbuild.model import ArtifactPath, Reason, ReasonCode, Recipe, Record, StepId

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from bangerbuild.model import Action, Step
    from bangerbuild.store import Store

Directories = dict[tuple[str, str], list["Record"]]
"""By the id of a step and the directory of an image: what that step took out of that image."""


@dataclass
class OnBase:
    """A step as it is on the image that its disk stands on."""

    step: Step
    stand_ins: dict[str, Record] = field(default_factory=dict)
    """Inputs that are of that image, and not today's."""
    again: list[Action] = field(default_factory=list)
    """What takes them out of it once more."""
    lacking: tuple[Reason, ...] = ()
    """Why the step can't be done."""


class StandIns:
    """What of images' kernels and initrds is there, by the images that they were taken out of.

    Args:
        store: what is there.
        actions: what is planned of the steps that come first.
        take_out: plans a step once more beside today's, with other inputs; raises BangerError if it is known
            to fail.
    """

    def __init__(
        self,
        store: Store,
        actions: Mapping[str, Action],
        take_out: Callable[[Step, Mapping[str, Record]], Action],
    ) -> None:
        self._store = store
        self._actions = actions
        self._take_out = take_out
        self._found: Directories | None = None

    def refresh(self) -> None:
        """Look at the records again: the store learned of some."""
        self._found = None

    def of_step(self, step: Step) -> OnBase:
        """The step with the inputs that go with the image of its disk, where that is not today's."""
        found = OnBase(step)
        base = self._base_of(self._actions[step.inputs[0]]) if step.from_base else None
        if base is None:
            return found
        for step_id in step.from_base:
            self._find(found, step_id, base)
        if found.lacking:
            return OnBase(step, found.stand_ins, [], found.lacking)
        found.step = step.on_base(found.stand_ins.keys())
        return found

    def _base_of(self, disk: Action) -> ArtifactPath | None:
        """The image that a disk stands on once the plan is done, where that is not simply today's."""
        record = self._store.records.get(disk.id)
        if not disk.stays or record is None or "base" not in record.facts:
            return None
        todays = {artifact for one in disk.step.inputs for artifact in self._actions[one].artifacts}
        base = ArtifactPath(record.facts["base"])
        return base if todays and base not in todays and base.owner else None

    def _find(self, found: OnBase, step_id: str, base: ArtifactPath) -> None:
        """Find what one input is on an image."""
        own_id = StepId.image(base.owner.name, StepId(step_id).part)
        today = self._actions.get(step_id)
        chosen = self._likest(own_id, base, today, found.stand_ins)
        if chosen is None and (today is not None or any(map(is_from_elsewhere, found.stand_ins.values()))):
            chosen = self._from_elsewhere(own_id)
        if chosen is None and today is not None:
            chosen = self._again(found, today, base)
        if chosen is not None:
            found.stand_ins[step_id] = chosen

    def _likest(
        self, own_id: str, base: ArtifactPath, today: Action | None, chosen: Mapping[str, Record]
    ) -> Record | None:
        """Of several that were taken out of one image, the one that is most like today's recipe."""
        digits = {one.step_id: one.fingerprint for one in chosen.values()}
        last = self._store.records.get(own_id)

        def likeness(record: Record) -> tuple[bool, bool, bool]:
            inputs = record.recipe.inputs
            fits = all(inputs.get(key) == value for key, value in digits.items() if key in inputs)
            is_todays = today is not None and record.recipe.fields == today.recipe.fields
            return fits, is_todays, last is not None and record.fingerprint == last.fingerprint

        return max(self._there(own_id, base), key=likeness, default=None)

    def _there(self, own_id: str, base: ArtifactPath) -> Iterator[Record]:
        if self._found is None:
            self._found = taken_out(self._store.records)
        for record in self._found.get((own_id, base.directory), ()):
            if all(map(self._store.exists, record.artifacts)):
                yield record

    def _from_elsewhere(self, own_id: str) -> Record | None:
        """What an image has from a path or an address: it has no other."""
        last = self._store.records.get(own_id)
        is_there = last is not None and all(map(self._store.exists, last.artifacts))
        return last if last is not None and is_there and is_from_elsewhere(last) else None

    def _again(self, found: OnBase, today: Action, base: ArtifactPath) -> Record | None:
        """What a step will take out of an image once more; None, and the reason is noted: it can't."""
        own = self._actions.get(StepId.image(base.owner.name, StepId(today.id).part), today).step
        step = own.of_image(base.owner.name) or today.step.of_image(base.owner.name)
        inputs = {StepId(key).part: record for key, record in found.stand_ins.items()}
        if not self._store.exists(base) or step is None:
            found.lacking += (self._lacking(today, found.step.inputs[0]),)
            return None
        stand_ins = {one: inputs.get(StepId(one).part) or _record_of(one, base) for one in step.inputs}
        try:
            action = self._take_out(step, stand_ins)
        except BangerError as err:
            if not self._had_none(today, base, found):
                found.lacking += (self._lacking(today, found.step.inputs[0], err),)
            return None
        found.again.append(action)
        return Record(action.id, action.recipe, action.fingerprint, action.artifacts)

    def _had_none(self, today: Action, base: ArtifactPath, found: OnBase) -> bool:
        """Whether records say that an image was used without what is declared today."""
        own_id = StepId.image(base.owner.name, StepId(today.id).part)
        again = {action.id for action in found.again}
        is_known = any(
            rootfs_of(one) == base.directory for one in found.stand_ins.values() if one.id not in again
        )
        return is_known and not (self._found or {}).get((own_id, base.directory))

    def _lacking(self, today: Action, disk: str, err: BangerError | None = None) -> Reason:
        why = f" any more, and can't be taken out of it again: {err.brief}" if err else ""
        message = (
            f"no {StepId(today.id).part} is in the store that was taken out of the image that {disk} "
            f"stands on{why}"
        )
        hint = f"`bangerbuild apply --replace {disk}` makes it anew, and discards what is in it"
        return Reason(ReasonCode.WOULD_FAIL, {"message": message, "hint": hint})


def taken_out(records: Mapping[str, Record]) -> Directories:
    """What was taken out of images, in the order of the records' ids."""
    found: Directories = defaultdict(list)
    for key in sorted(records):
        record = records[key]
        if directory := rootfs_of(record):
            found[record.step_id, directory].append(record)
    return dict(found)


def rootfs_of(record: Record) -> str | None:
    """The directory of the image that something was taken out of; None: it was taken from elsewhere."""
    owner = StepId(record.step_id).owner
    fingerprint = record.recipe.inputs.get(StepId.image(owner.name, "rootfs"))
    if owner.table != "image" or fingerprint is None:
        return None
    return ArtifactPath.image(owner.name, "rootfs").format(fingerprint=fingerprint).rpartition("/")[0]


def is_from_elsewhere(record: Record) -> bool:
    """Whether something was not taken out of an image."""
    return rootfs_of(record) is None


def _record_of(step_id: str, artifact: ArtifactPath) -> Record:
    """As much as an image's path says of the run that made it."""
    recipe = Recipe(StepId(step_id).part, {}, {}, {}, {})
    return Record(step_id, recipe, artifact.directory.rpartition("/")[2], (artifact,))
