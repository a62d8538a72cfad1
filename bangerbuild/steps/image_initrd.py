"""`image.X.initrd`: the initrd, from the host, an address, or out of the root filesystem."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Self, cast

from bangerbuild.declared import GuestBoot
from bangerbuild.disk import clone
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.errors import SourceError
from bangerbuild.formats.format_error import FormatError
from bangerbuild.kernel import boot_files, initrd
from bangerbuild.steps import images
from bangerbuild.steps.unopened import Unopened

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from bangerbuild.declared import BootSource, Manifest
    from bangerbuild.model import Json, Situation, Source, Verdict, Workspace


@dataclass(frozen=True)
class ImageInitrd(Unopened):
    """One image's initrd. Out of a guest that gives the kernel too, it is the one for that kernel."""

    kind: ClassVar[str] = "image-initrd"
    format: ClassVar[int] = 1
    exclusive: ClassVar[bool] = False
    changes: ClassVar[None] = None
    tools: ClassVar[tuple[str, ...]] = ()

    name: str = field(metadata={"recipe": False})
    initrd: BootSource
    follows_kernel: bool = field(metadata={"recipe": False})
    """Whether the kernel comes out of the guest; it is an input then."""

    @classmethod
    def declare(cls, manifest: Manifest) -> Iterator[Self]:
        """One for each image that has an initrd."""
        for image in manifest.images.values():
            if image.initrd is not None:
                both = isinstance(image.initrd, GuestBoot) and isinstance(image.kernel, GuestBoot)
                yield cls(image.name, image.initrd, both)

    @property
    def id(self) -> str:
        """See Step."""
        return f"image.{self.name}.initrd"

    @property
    def inputs(self) -> tuple[str, ...]:
        """See Step."""
        if not isinstance(self.initrd, GuestBoot):
            return ()
        rootfs = f"image.{self.name}.rootfs"
        return (rootfs, self._kernel) if self.follows_kernel else (rootfs,)

    @property
    def _kernel(self) -> str:
        return f"image.{self.name}.kernel"

    @property
    def outputs(self) -> tuple[str, ...]:
        """See Step."""
        return (f"images/{self.name}/{{fingerprint}}/initrd.img",)

    @property
    def sources(self) -> tuple[Source, ...]:
        """See Step."""
        return images.boot_sources("initrd", self.initrd)

    def judge(self, situation: Situation) -> Verdict:
        """See `images.judge`."""
        return images.judge(situation)

    def run(self, workspace: Workspace) -> Mapping[str, Json]:
        """See Step."""
        target = workspace.create(self.outputs[0].format(fingerprint=workspace.fingerprint))
        guest = None
        if isinstance(self.initrd, GuestBoot):
            guest = self._take(self.initrd, target, workspace)
            _check(target, guest)
        else:
            with images.opened_boot(self.initrd, workspace) as path:
                _check(path, self.initrd.written)
                clone.clone(path, target)
        target.chmod(0o444)
        return {"guest": guest, **images.boot_facts(self.initrd)}

    def _take(self, source: GuestBoot, target: Path, workspace: Workspace) -> str:
        """Copy it out of the image; its guest path."""
        rootfs = workspace.path(workspace.artifact(self.inputs[0]))
        release = workspace.facts(self._kernel)["release"] if self.follows_kernel else None
        release = cast("str | None", release)
        with RawFile(rootfs) as blocks, Filesystem(blocks) as disk:
            found = boot_files.find_initrd(disk, source.pattern, release)
            boot_files.copy(disk, found, target)
        if release and found.release and not found.is_for(release):
            workspace.warn(f"'{found.path}' is for kernel {found.release}, and the kernel is {release}")
        return found.path


def _check(path: Path, written: str) -> None:
    with path.open("rb") as file:
        head = file.read(initrd.HEAD_BYTES)
    try:
        initrd.check(head)
    except FormatError as err:
        raise SourceError(f"{written!r} {err.brief}", hint=err.hint) from err
