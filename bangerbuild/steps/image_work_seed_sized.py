"""`image.X.work_seed@SIZE`: the seed grown once to a size, for all work disks that want that size."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Self

from typing_extensions import override

from bangerbuild.disk import making
from bangerbuild.disk.formats import RAW
from bangerbuild.errors import SourceError, exact_size
from bangerbuild.model import ArtifactPath, StepId
from bangerbuild.steps import images
from bangerbuild.steps.unopened import Unopened

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from bangerbuild.declared import Manifest
    from bangerbuild.model import Json, Situation, Source, Verdict, View, Workspace


@dataclass(frozen=True)
class ImageWorkSeedSized(Unopened):
    """One seed at one size."""

    kind: ClassVar[str] = "image-work-seed-sized"
    format: ClassVar[int] = 1
    exclusive: ClassVar[bool] = False
    changes: ClassVar[None] = None
    sources: ClassVar[tuple[Source, ...]] = ()
    tools: ClassVar[tuple[str, ...]] = making.TOOLS

    name: str = field(metadata={"recipe": False})
    size_bytes: int = field(metadata={"key": "size"})

    @classmethod
    @override
    def declare(cls, manifest: Manifest) -> Iterator[Self]:
        """One for each size that a VM wants of an image's seed."""
        wanted = {
            (vm.image, vm.work.size_bytes)
            for vm in manifest.vms.values()
            if vm.work and vm.work.size_bytes and manifest.images[vm.image].work_seed
        }
        for name, size_bytes in sorted(wanted):
            yield cls(name, size_bytes)

    @property
    @override
    def id(self) -> str:
        return StepId.image(self.name, f"work_seed@{exact_size(self.size_bytes)}")

    @property
    @override
    def inputs(self) -> tuple[str, ...]:
        return (StepId.image(self.name, "work_seed"),)

    @property
    @override
    def outputs(self) -> tuple[str, ...]:
        return (ArtifactPath.image(self.name, f"work-seed@{exact_size(self.size_bytes)}{RAW.suffix}"),)

    @override
    def judge(self, situation: Situation) -> Verdict:
        return images.judge(situation)

    @override
    def foresee(self, view: View) -> None:
        if view.is_kept(self.inputs[0]):
            self._seed(view)

    def _seed(self, view: View) -> tuple[Path, int]:
        """The seed and its size; SourceError if that is too large."""
        seed = view.path(view.artifact(self.inputs[0]))
        seed_bytes = seed.stat().st_size
        if seed_bytes > self.size_bytes:
            raise SourceError(
                f"the work_seed of image '{self.name}' has {exact_size(seed_bytes)}, "
                f"more than {exact_size(self.size_bytes)}",
                hint="give `size` under [vm.NAME.work] at least the seed's, or the seed a smaller one",
            )
        return seed, seed_bytes

    @override
    def run(self, workspace: Workspace) -> Mapping[str, Json]:
        seed, seed_bytes = self._seed(workspace)
        target = workspace.create(self.outputs[0].format(fingerprint=workspace.fingerprint))
        making.make_clone(seed, target, workspace)
        if self.size_bytes > seed_bytes:
            making.grow(target, self.size_bytes, workspace.epoch)
        target.chmod(0o444)
        return {"size_bytes": self.size_bytes}
