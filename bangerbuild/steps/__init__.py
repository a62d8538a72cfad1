"""The registry of step kinds: a new kind is a file here, a line below, a part of the schema, and tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild.model import StepId
from bangerbuild.steps.bridge import BridgeFiles
from bangerbuild.steps.data_disk import DataDisk
from bangerbuild.steps.data_patch import DataPatch
from bangerbuild.steps.image_initrd import ImageInitrd
from bangerbuild.steps.image_kernel import ImageKernel
from bangerbuild.steps.image_rootfs import ImageRootfs
from bangerbuild.steps.image_work_seed import ImageWorkSeed
from bangerbuild.steps.image_work_seed_sized import ImageWorkSeedSized
from bangerbuild.steps.launch import Launch
from bangerbuild.steps.root import RootDisk
from bangerbuild.steps.root_patch import RootPatch
from bangerbuild.steps.work_disk import WorkDisk
from bangerbuild.steps.work_patch import WorkPatch

if TYPE_CHECKING:
    from bangerbuild.declared import Manifest
    from bangerbuild.model import Step
    from bangerbuild.steps.step_kind import StepKind


STEPS: tuple[type[StepKind], ...] = (
    ImageRootfs,
    ImageKernel,
    ImageInitrd,
    ImageWorkSeed,
    ImageWorkSeedSized,
    RootDisk,
    RootPatch,
    WorkDisk,
    WorkPatch,
    DataDisk,
    DataPatch,
    Launch,
    BridgeFiles,
)


def of_kind(kind: str) -> type[Step] | None:
    """The step that a record of this kind is of; None: another version made it."""
    return next((step for step in STEPS if kind in step.kinds()), None)


def is_patch(kind: str) -> bool:
    """Whether steps of this kind change another's artifact and make none of their own."""
    step = of_kind(kind)
    return step is not None and step.changes is not None


def is_exclusive(kind: str) -> bool:
    """Whether a guest may write to what steps of this kind make; of an unknown kind it may."""
    step = of_kind(kind)
    return step is None or step.exclusive


def declare(manifest: Manifest) -> list[Step]:
    """Every step that the manifest asks for: image by image, VM by VM, then network by network."""
    steps = [step for step_class in STEPS for step in step_class.declare(manifest)]
    tables = {"image": manifest.images, "vm": manifest.vms, "network": manifest.networks}
    owners = (f"{table}.{name}" for table, names in tables.items() for name in names)
    order = {owner: number for number, owner in enumerate(owners)}
    return sorted(steps, key=lambda step: order[StepId(step.id).owner])
