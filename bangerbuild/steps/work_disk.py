"""`vm.X.work`: the disk that holds /root, cloned from the image's seed or made empty."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Self

from typing_extensions import override

from bangerbuild.disk import making, tools
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.formats import RAW
from bangerbuild.errors import exact_size
from bangerbuild.model import ArtifactPath, StepId
from bangerbuild.model.recovered import Stray
from bangerbuild.steps.image_work_seed import LABEL
from bangerbuild.steps.plain_disk import PlainDisk, recovered

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bangerbuild.declared import VM, Image, Manifest
    from bangerbuild.model import Workspace

HOME = "/root"
FILE_NAME = f"work{RAW.suffix}"


@dataclass(frozen=True)
class WorkDisk(PlainDisk):
    """One VM's work disk."""

    kind: ClassVar[str] = "work-disk"
    label: ClassVar[str] = LABEL

    name: str = field(metadata={"recipe": False, "owner": True})
    size_bytes: int | None = field(metadata={"key": "work.size"})
    mount: str = field(metadata={"recipe": False})
    inputs: tuple[str, ...] = field(default=(), metadata={"recipe": False})
    """The seed at the wanted size; none: the disk is made empty."""

    @classmethod
    @override
    def declare(cls, manifest: Manifest) -> Iterator[Self]:
        """One for each VM that has a work disk."""
        for vm in manifest.vms.values():
            if vm.work:
                seed = _seed(vm, manifest.images[vm.image])
                yield cls(vm.name, vm.work.size_bytes, vm.work.mount, seed)

    @classmethod
    @override
    def stray(cls, name: str, path: Path, artifact: str) -> Stray | None:
        if path.name != FILE_NAME:
            return None
        return Stray(StepId.vm(name, "work"), cls.kind, recovered(path, artifact))

    @property
    @override
    def id(self) -> str:
        return StepId.vm(self.name, "work")

    @property
    @override
    def outputs(self) -> tuple[str, ...]:
        return (ArtifactPath.vm(self.name, FILE_NAME),)

    @override
    def make(self, target: Path, workspace: Workspace) -> None:
        if self.inputs:
            making.make_clone(workspace.path(workspace.artifact(self.inputs[0])), target, workspace)
            return
        size_bytes = self.size_bytes or 0  # the manifest gives a size where there is no seed
        making.make_empty(target, tools.Geometry(size_bytes, label=LABEL), workspace)
        if self.mount == HOME:
            with (
                RawFile(target, writable=True, durable=False) as blocks,
                Filesystem(blocks, writable=True, now=workspace.epoch) as disk,
            ):
                disk.set_attributes("/", mode=0o700)


def _seed(vm: VM, image: Image) -> tuple[str, ...]:
    if image.work_seed is None:
        return ()
    size_bytes = vm.work.size_bytes if vm.work else None
    seed = StepId.image(image.name, "work_seed")
    return (f"{seed}@{exact_size(size_bytes)}" if size_bytes else seed,)
