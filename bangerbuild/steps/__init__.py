"""The registry of step kinds: a new kind is a file here, a line below, a part of the schema, and tests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from bangerbuild.model import Step
from bangerbuild.steps.data_disk import DataDisk
from bangerbuild.steps.data_patch import DataPatch
from bangerbuild.steps.image_initrd import ImageInitrd
from bangerbuild.steps.image_kernel import ImageKernel
from bangerbuild.steps.image_rootfs import ImageRootfs
from bangerbuild.steps.image_work_seed import ImageWorkSeed
from bangerbuild.steps.image_work_seed_sized import ImageWorkSeedSized
from bangerbuild.steps.launch import Launch
from bangerbuild.steps.root_overlay import RootOverlay
from bangerbuild.steps.root_patch import RootPatch
from bangerbuild.steps.root_raw import RootRaw
from bangerbuild.steps.work_disk import WorkDisk
from bangerbuild.steps.work_patch import WorkPatch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bangerbuild.declared import Manifest


class StepKind(Step, Protocol):
    """A kind of step, as the registry has it."""

    @classmethod
    def declare(cls, manifest: Manifest) -> Iterator[Step]:
        """Every step of this kind that the manifest asks for."""


KINDS: dict[str, type[StepKind]] = {
    "image-rootfs": ImageRootfs,
    "image-kernel": ImageKernel,
    "image-initrd": ImageInitrd,
    "image-work-seed": ImageWorkSeed,
    "image-work-seed-sized": ImageWorkSeedSized,
    "root-overlay": RootOverlay,
    "root-raw": RootRaw,
    "root-patch": RootPatch,
    "work-disk": WorkDisk,
    "work-patch": WorkPatch,
    "data-disk": DataDisk,
    "data-patch": DataPatch,
    "launch": Launch,
}

PATCHES = frozenset(name for name, kind in KINDS.items() if kind.changes is not None)
"""Kinds of steps that change another's artifact and make none of their own."""


def declare(manifest: Manifest) -> list[Step]:
    """Every step that the manifest asks for: image by image, then VM by VM."""
    steps = [step for kind in KINDS.values() for step in kind.declare(manifest)]
    owners = {
        f"{table}.{name}": number
        for number, (table, name) in enumerate(
            [*(("image", name) for name in manifest.images), *(("vm", name) for name in manifest.vms)]
        )
    }
    return sorted(steps, key=lambda step: owners[".".join(step.id.split(".")[:2])])
