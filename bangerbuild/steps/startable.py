"""What it takes to start VMs without a plan, as plain values that outlive this run.

Of each VM that has a kernel: the image, the machine as `launch.machine.plain` has it, and of each disk what
an apply would look at there if its guest had written to it. `running.touched` looks at the same, before a
plan could be made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from bangerbuild.launch import machine
from bangerbuild.model import StepId
from bangerbuild.steps import disks
from bangerbuild.steps.disk_patch import DiskPatch
from bangerbuild.steps.launch import Launch, as_recorded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from bangerbuild.model import Json, Step
    from bangerbuild.steps.launch import Known

    Startable = tuple[str, dict[str, Any], dict[str, dict[str, Any]]]
    """The image, the machine, and the disks by their artifacts."""


class Recorded(Protocol):
    """What a store knows of steps."""

    def artifact(self, step_id: str, /) -> str:
        """Where what it makes is."""

    def facts(self, step_id: str, /) -> Mapping[str, Json]:
        """What it remembers of its last run."""

    def as_input_of(self, step_id: str, /) -> Known:
        """The same as a step found it when it ran last."""


def plain(
    steps: Iterable[Step], recorded: Recorded, ledgers: Callable[[Sequence[str]], Mapping[str, str]]
) -> Iterator[tuple[str, Startable]]:
    """Each VM's name, with its image, its machine and its disks.

    Args:
        steps: all that are wanted.
        recorded: what the store knows of them.
        ledgers: gives those of patches as JSON, by the patches' ids; of one whose last run was never
            confirmed, none.
    """
    wanted = tuple(steps)
    disks_of = _disks(wanted, recorded, ledgers)
    for step in wanted:
        if isinstance(step, Launch):
            values = machine.plain(as_recorded(step, recorded.as_input_of(step.id)))
            if values:
                yield step.name, (step.image, values, disks_of.get(StepId(step.id).owner, {}))


def _disks(
    steps: Iterable[Step], recorded: Recorded, ledgers: Callable[[Sequence[str]], Mapping[str, str]]
) -> dict[str, dict[str, dict[str, Any]]]:
    """The disks of each VM by their artifacts; without those that only a plan can judge."""
    patches = [step for step in steps if isinstance(step, DiskPatch)]
    lines = ledgers([patch.id for patch in patches])
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for patch in patches:
        if patch.id in lines:
            artifact = recorded.artifact(patch.changes)
            disk = _disk(patch, artifact, recorded) | {"lines": lines[patch.id]}
            found.setdefault(StepId(patch.id).owner, {})[str(artifact)] = disk
    return found


def _disk(patch: DiskPatch, artifact: str, recorded: Recorded) -> dict[str, Any]:
    facts, place = recorded.facts(patch.changes), patch.place_then(recorded.facts(patch.id))
    disk_format = disks.format_of(facts, artifact)
    return {
        "format": disk_format.name,
        "base": str(facts["base"]) if disk_format.stands_on_base and "base" in facts else None,
        "size_bytes": facts.get("file_bytes"),
        "mount_point": str(place.mount_point),
        "others": sorted(map(str, place.others)),
        "hidden": sorted(map(str, place.hidden)),
    }
