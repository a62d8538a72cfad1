"""The kernel and initrd of the image that a root stands on, where that is not the image of today.

A root that stays on its old image has that image's modules, so it is started with the kernel and the initrd
that were taken out of that image. Each run that took something out of an image has a record, which says out
of which.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from bangerbuild.model import ArtifactPath, Reason, ReasonCode, StepId

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bangerbuild.model import Action, Record, Step
    from bangerbuild.store import Store

Directories = dict[tuple[str, str], list["Record"]]
"""By the id of a step and the directory of an image: what that step took out of that image."""


class StandIns:
    """What of images' kernels and initrds is there, by the images that they were taken out of."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._found: Directories | None = None

    def of_step(self, step: Step, actions: Mapping[str, Action]) -> dict[str, Record | None]:
        """The inputs of a step that go with the image of its disk, where that is not today's.

        None for one that is not in the store.
        """
        if not step.from_base:
            return {}
        disk = actions[step.inputs[0]]
        base = self._base_of(disk)
        todays = {artifact for step_id in disk.step.inputs for artifact in actions[step_id].artifacts}
        if base is None or not todays or base in todays:
            return {}
        chosen: dict[str, Record | None] = {}
        for step_id in step.from_base:
            chosen[step_id] = self._likest(base, actions[step_id], chosen)
        return chosen

    def _base_of(self, disk: Action) -> ArtifactPath | None:
        """The image that a disk stands on once the plan is done, where that is not simply today's."""
        record = self._store.records.get(disk.id)
        if not disk.stays or record is None or "base" not in record.facts:
            return None
        return ArtifactPath(record.facts["base"])

    def _likest(
        self, base: ArtifactPath, today: Action, chosen: Mapping[str, Record | None]
    ) -> Record | None:
        """Of several that were taken out of one image, the one that is most like today's recipe."""
        step_id = StepId.image(base.owner.name, StepId(today.id).part)
        digits = {one.step_id: one.fingerprint for one in chosen.values() if one}

        def likeness(record: Record) -> tuple[bool, bool]:
            inputs = record.recipe.inputs
            fits = all(inputs.get(key) == value for key, value in digits.items() if key in inputs)
            return fits, record.recipe.fields == today.recipe.fields

        return max(self._there(step_id, base), key=likeness, default=None)

    def _there(self, step_id: str, base: ArtifactPath) -> Iterator[Record]:
        """What a step took out of an image; where it takes its artifact from elsewhere, that one."""
        if self._found is None:
            self._found = taken_out(self._store.records)
        last = self._store.records.get(step_id)
        elsewhere = [last] if last is not None and rootfs_of(last) is None else []
        for record in self._found.get((step_id, base.directory), elsewhere):
            if all(map(self._store.exists, record.artifacts)):
                yield record


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


def unknown(disk: str, stand_ins: Mapping[str, Record | None]) -> tuple[Reason, ...]:
    """Why a step can't be done: nothing is known that was taken out of the image its disk stands on."""
    return tuple(
        Reason(
            ReasonCode.WOULD_FAIL,
            {
                "message": f"no {StepId(step_id).part} is in the store that was taken out of the image "
                f"that {disk} stands on",
                "hint": f"`bangerbuild apply --replace {disk}` makes it anew, and discards what is in it",
            },
        )
        for step_id, record in stand_ins.items()
        if record is None
    )
