"""`image.X.kernel`: the kernel as it is, and unpacked; from the host, an address, or the root filesystem."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Self

from typing_extensions import override

from bangerbuild.disk import clone
from bangerbuild.formats.format_error import FormatError
from bangerbuild.kernel import boot_files, config, unpack
from bangerbuild.model import ArtifactPath, StepId
from bangerbuild.sources.source import pin_facts
from bangerbuild.steps import images
from bangerbuild.steps.unopened import Unopened

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bangerbuild.declared import Manifest
    from bangerbuild.kernel.config import Answers
    from bangerbuild.kernel.unpack import Kernel
    from bangerbuild.model import Json, Situation, Source, Verdict, View, Workspace
    from bangerbuild.sources.source import BootContent, BootSource


@dataclass(frozen=True)
class ImageKernel(Unopened):
    """One image's kernel. The second artifact is the plain kernel, which is all that Firecracker boots.

    Its record remembers, as facts, its `release` (what `uname -r` will say), its `architecture`, the `guest`
    path it was taken from, and what its configuration says of the `options` that a VM may need.
    """

    kind: ClassVar[str] = "image-kernel"
    format: ClassVar[int] = 1
    exclusive: ClassVar[bool] = False
    changes: ClassVar[None] = None
    tools: ClassVar[tuple[str, ...]] = ()

    name: str = field(metadata={"recipe": False})
    kernel: BootSource
    has_initrd: bool = field(metadata={"recipe": False})
    cmdline_vms: tuple[str, ...] = field(metadata={"recipe": False})
    """VMs that leave their network to the kernel."""
    beside_todays: str = field(default="", metadata={"recipe": False})
    """What follows in its id, if it is not that of today."""

    @classmethod
    @override
    def declare(cls, manifest: Manifest) -> Iterator[Self]:
        """One for each image that has a kernel."""
        for image in manifest.images.values():
            if image.kernel is not None:
                vms = tuple(
                    vm.name
                    for vm in manifest.vms.values()
                    if vm.image == image.name and vm.network.mode == "cmdline"
                )
                yield cls(image.name, image.kernel, image.initrd is not None, vms)

    @property
    @override
    def id(self) -> str:
        return StepId.image(self.name, f"kernel{self.beside_todays}")

    @property
    @override
    def inputs(self) -> tuple[str, ...]:
        return self.kernel.inputs(self.name)

    @property
    @override
    def outputs(self) -> tuple[str, ...]:
        return tuple(ArtifactPath.image(self.name, file) for file in ("vmlinuz", "vmlinux"))

    @property
    @override
    def sources(self) -> tuple[Source, ...]:
        return self.kernel.reads("kernel")

    @override
    def judge(self, situation: Situation) -> Verdict:
        return images.judge(situation)

    @override
    def of_image(self, image: str) -> Self | None:
        return replace(self, name=image) if self.kernel.inputs(image) else None

    @override
    def beside(self, fingerprint: str) -> Self:
        return replace(self, beside_todays=f"@{fingerprint}")

    @override
    def foresee(self, view: View) -> None:
        try:
            self.kernel.foresee(view, self.name, boot_files.find_kernel, unpack.check)
        except FormatError as err:
            raise unpack.as_source_error(err, self.kernel.written) from err

    @override
    def run(self, workspace: Workspace) -> Mapping[str, Json]:
        packed, plain = (
            workspace.create(output.format(fingerprint=workspace.fingerprint)) for output in self.outputs
        )
        with self.kernel.open(workspace, self.name, boot_files.find_kernel) as content:
            kernel = unpack.unpack(content.path, plain, written=content.written)
            clone.clone(content.path, packed)
            beside = _config_beside(content)
        for made in (packed, plain):
            made.chmod(0o444)
        options = config.answers(config.embedded(plain) or beside)
        for warning in self._warnings(options):
            workspace.warn(warning)
        guest = content.found.path if content.found else None
        return {**_facts(kernel, guest, options), **pin_facts(self.kernel, workspace)}

    def _warnings(self, options: Answers) -> Iterator[str]:
        lacking = config.missing_for_root(options, has_initrd=self.has_initrd)
        if lacking:
            names = ", ".join(f"CONFIG_{option}" for option in lacking)
            instead = "" if self.has_initrd else ", and no initrd is declared that could bring it as modules"
            yield f"this kernel can't reach its root disk: it has no {names} built in{instead}"
        if self.cmdline_vms and config.ignores_ip(options):
            names = ", ".join(f"vm.{name}" for name in self.cmdline_vms)
            yield (
                f"this kernel has no CONFIG_IP_PNP, so network mode 'cmdline' does nothing in {names}; "
                "'bootstrap' does without"
            )


def _config_beside(kernel: BootContent) -> str | None:
    """The configuration that a guest has for its kernel."""
    if kernel.guest is None or kernel.found is None or not kernel.found.release:
        return None
    release, disk = kernel.found.release, kernel.guest
    places = (f"{posixpath.dirname(kernel.written)}/config-{release}", f"/usr/lib/modules/{release}/config")
    texts = (disk.read(place) for place in places if disk.exists(place))
    text = next((text for text in texts if text), None)
    return None if text is None else text.decode("ascii", "replace")


def _facts(kernel: Kernel, guest: str | None, options: Answers) -> dict[str, Json]:
    return {
        "release": kernel.release,
        "architecture": kernel.architecture,
        "guest": guest,
        "options": dict(options),
    }
