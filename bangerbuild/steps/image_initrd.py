"""`image.X.initrd`: the initrd, from the host, an address, or out of the root filesystem."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, ClassVar, Self, cast

from typing_extensions import override

from bangerbuild.disk import clone
from bangerbuild.errors import SourceError
from bangerbuild.formats.format_error import FormatError
from bangerbuild.kernel import boot_files, initrd
from bangerbuild.model import ArtifactPath, StepId
from bangerbuild.sources.source import pin_facts
from bangerbuild.steps import guest_kernel, images
from bangerbuild.steps.unopened import Unopened

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from typing import BinaryIO

    from bangerbuild.declared import Manifest
    from bangerbuild.model import Json, Situation, Source, Verdict, View, Workspace
    from bangerbuild.sources.source import BootSource


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
    modules: tuple[str, ...] = field(default=(), metadata={"recipe": False})
    """What the formats of roots ask of a kernel. Its record remembers which of them it holds."""
    beside_todays: str = field(default="", metadata={"recipe": False})
    """What follows in its id, if it is not that of today."""

    @classmethod
    @override
    def declare(cls, manifest: Manifest) -> Iterator[Self]:
        """One for each image that has an initrd."""
        for image in manifest.images.values():
            if image.initrd is not None:
                out_of_guest = bool(image.initrd.inputs(image.name))
                kernel_too = image.kernel is not None and bool(image.kernel.inputs(image.name))
                modules = guest_kernel.modules(manifest, image.name)
                yield cls(image.name, image.initrd, out_of_guest and kernel_too, modules)

    @property
    @override
    def id(self) -> str:
        return StepId.image(self.name, f"initrd{self.beside_todays}")

    @property
    @override
    def inputs(self) -> tuple[str, ...]:
        own = self.initrd.inputs(self.name)
        return (*own, self._kernel) if self.follows_kernel else own

    @property
    def _kernel(self) -> str:
        return StepId.image(self.name, "kernel")

    @property
    @override
    def outputs(self) -> tuple[str, ...]:
        return (ArtifactPath.image(self.name, "initrd.img"),)

    @property
    @override
    def sources(self) -> tuple[Source, ...]:
        return self.initrd.reads("initrd")

    @override
    def judge(self, situation: Situation) -> Verdict:
        return images.judge(situation)

    @override
    def of_image(self, image: str) -> Self | None:
        return replace(self, name=image) if self.initrd.inputs(image) else None

    @override
    def beside(self, fingerprint: str) -> Self:
        return replace(self, beside_todays=f"@{fingerprint}")

    @override
    def foresee(self, view: View) -> None:
        known = self.follows_kernel and view.is_kept(self._kernel)
        if self.follows_kernel and not known:
            return
        find = partial(boot_files.find_initrd, release=self._release(view))
        try:
            self.initrd.foresee(view, self.name, find, _check_file)
        except FormatError as err:
            raise _as_source_error(err, self.initrd.written) from err

    def _release(self, view: View) -> str | None:
        found = view.facts(self._kernel).get("release") if self.follows_kernel else None
        return cast("str | None", found)

    @override
    def run(self, workspace: Workspace) -> Mapping[str, Json]:
        target = workspace.create(self.outputs[0].format(fingerprint=workspace.fingerprint))
        release = self._release(workspace)
        find = partial(boot_files.find_initrd, release=release)
        with self.initrd.open(workspace, self.name, find) as content:
            _check(content.path, content.written)
            clone.clone(content.path, target)
        target.chmod(0o444)
        held: dict[str, Json] = {}
        if self.modules:
            held["modules"] = cast("Json", initrd.modules(target, self.modules))
        found = content.found
        if release and found and found.release and not found.is_for(release):
            workspace.warn(f"'{found.path}' is for kernel {found.release}, and the kernel is {release}")
        return {"guest": found.path if found else None, **held, **pin_facts(self.initrd, workspace)}


def _check(path: Path, written: str) -> None:
    try:
        with path.open("rb") as file:
            _check_file(file)
    except FormatError as err:
        raise _as_source_error(err, written) from err


def _check_file(file: BinaryIO) -> None:
    initrd.check(file.read(initrd.HEAD_BYTES))


def _as_source_error(err: FormatError, written: str) -> SourceError:
    return SourceError(f"'{written}' {err.brief}", hint=err.hint)
