"""`image.X.rootfs`: the shared root image, made from any source, with the image's own files in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Self

from typing_extensions import override

from bangerbuild.disk.formats import RAW
from bangerbuild.formats import wrappers
from bangerbuild.model import ArtifactPath, StepId
from bangerbuild.steps import image_files, image_foresight, image_source, images
from bangerbuild.steps.image_files import Files
from bangerbuild.steps.unopened import Unopened

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bangerbuild.declared import Manifest
    from bangerbuild.disk.inode import Stat
    from bangerbuild.model import Json, Pin, Situation, Source, Verdict, View, Workspace
    from bangerbuild.sources.source import ImageSource
    from bangerbuild.steps.image_content import Adapt


@dataclass(frozen=True)
class ImageRootfs(Unopened):
    """One immutable image; with its fingerprint in the path, another recipe never touches its bytes."""

    kind: ClassVar[str] = "image-rootfs"
    exclusive: ClassVar[bool] = False
    changes: ClassVar[None] = None
    tools: ClassVar[tuple[str, ...]] = image_source.TOOLS

    name: str = field(metadata={"recipe": False})
    rootfs: ImageSource
    files: Files = field(default=image_files.NONE, metadata={"key": ""})

    @classmethod
    @override
    def declare(cls, manifest: Manifest) -> Iterator[Self]:
        """One for each image."""
        for image in manifest.images.values():
            files = Files(image.files, image.file_syncs, overlay_init=image.overlay_init)
            yield cls(image.name, image.rootfs, files)

    @property
    @override
    def format(self) -> int:
        if self.files.overlay_init:
            return 4
        return 2 if self.files == image_files.NONE else 3

    @property
    @override
    def id(self) -> str:
        return StepId.image(self.name, "rootfs")

    @property
    @override
    def inputs(self) -> tuple[str, ...]:
        return self.rootfs.inputs

    @property
    @override
    def outputs(self) -> tuple[str, ...]:
        return (ArtifactPath.image(self.name, f"rootfs{RAW.suffix}"),)

    @property
    @override
    def sources(self) -> tuple[Source, ...]:
        return (*self.rootfs.reads("rootfs"), *image_files.sources(self.files))

    @override
    def judge(self, situation: Situation) -> Verdict:
        return images.judge(situation)

    @override
    def warnings(self, view: View, *, is_new: bool) -> tuple[str, ...]:
        return image_files.warnings(self.files, view)

    @override
    def notes(self, pin: Pin | None) -> tuple[str, ...]:
        return self.rootfs.notes(pin)

    @override
    def foresee(self, view: View) -> None:
        image_foresight.foresee(self.rootfs, view, self._adapt, self.files)

    @property
    def _adapt(self) -> Adapt:
        return partial(wrappers.refusing, written=self.rootfs.written)

    @override
    def run(self, workspace: Workspace) -> Mapping[str, Json]:
        target = workspace.create(self.outputs[0].format(fingerprint=workspace.fingerprint))
        return image_source.build(
            self.rootfs,
            target,
            workspace,
            adapt=self._adapt,
            files=self.files,
            is_root=True,
            oddities=_oddities,
        )


def _oddities(top: Stat) -> Iterator[str]:
    """What is wrong with the top of a root filesystem, as one that was packed from a temporary directory."""
    if not top.mode & 0o001:
        yield f"has mode {top.mode:04o}: in the guest nobody but root reaches anything; make it 0755 there"
    if top.mode & 0o022:
        yield f"has mode {top.mode:04o}: others than root can replace what is in it; make it 0755 there"
    if top.uid:
        yield f"belongs to user {top.uid}, who can replace what is in it; make it root's there"
