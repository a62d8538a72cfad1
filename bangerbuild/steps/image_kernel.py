"""`image.X.kernel`: the kernel as it is, and unpacked; from the host, an address, or the root filesystem."""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Self

from bangerbuild.declared import GuestBoot
from bangerbuild.disk import clone
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.kernel import boot_files, config
from bangerbuild.kernel.unpack import unpack
from bangerbuild.steps import images
from bangerbuild.steps.unopened import Unopened

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from bangerbuild.declared import BootSource, Manifest
    from bangerbuild.kernel.config import Answers
    from bangerbuild.kernel.unpack import Kernel
    from bangerbuild.model import Json, Situation, Source, Verdict, Workspace


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

    @classmethod
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
    def id(self) -> str:
        """See Step."""
        return f"image.{self.name}.kernel"

    @property
    def inputs(self) -> tuple[str, ...]:
        """See Step."""
        return (f"image.{self.name}.rootfs",) if isinstance(self.kernel, GuestBoot) else ()

    @property
    def outputs(self) -> tuple[str, ...]:
        """See Step."""
        directory = f"images/{self.name}/{{fingerprint}}"
        return (f"{directory}/vmlinuz", f"{directory}/vmlinux")

    @property
    def sources(self) -> tuple[Source, ...]:
        """See Step."""
        return images.boot_sources("kernel", self.kernel)

    def judge(self, situation: Situation) -> Verdict:
        """See `images.judge`."""
        return images.judge(situation)

    def run(self, workspace: Workspace) -> Mapping[str, Json]:
        """See Step."""
        packed, plain = (
            workspace.create(output.format(fingerprint=workspace.fingerprint)) for output in self.outputs
        )
        guest, beside = None, None
        if isinstance(self.kernel, GuestBoot):
            guest, beside = _take(self.kernel, workspace.path(workspace.artifact(self.inputs[0])), packed)
            kernel = unpack(packed, plain, written=guest)
        else:
            with images.opened_boot(self.kernel, workspace) as path:
                kernel = unpack(path, plain, written=self.kernel.written)
                clone.clone(path, packed)
        for made in (packed, plain):
            made.chmod(0o444)
        options = config.answers(config.embedded(plain) or beside)
        for warning in self._warnings(options):
            workspace.warn(warning)
        return {**_facts(kernel, guest, options), **images.boot_facts(self.kernel)}

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


def _take(kernel: GuestBoot, rootfs: Path, target: Path) -> tuple[str, str | None]:
    """Copy the kernel out of the image; its guest path, and the configuration that is there for it."""
    with RawFile(rootfs) as blocks, Filesystem(blocks) as disk:
        found = boot_files.find_kernel(disk, kernel.pattern)
        boot_files.copy(disk, found, target)
        return found.path, _config_beside(disk, found)


def _config_beside(disk: Filesystem, kernel: boot_files.BootFile) -> str | None:
    release = kernel.release
    places = (f"{posixpath.dirname(kernel.path)}/config-{release}", f"/usr/lib/modules/{release}/config")
    texts = (disk.read(place) for place in places if release and disk.exists(place))
    text = next((text for text in texts if text), None)
    return None if text is None else text.decode("ascii", "replace")


def _facts(kernel: Kernel, guest: str | None, options: Answers) -> dict[str, Json]:
    return {
        "release": kernel.release,
        "architecture": kernel.architecture,
        "guest": guest,
        "options": dict(options),
    }
