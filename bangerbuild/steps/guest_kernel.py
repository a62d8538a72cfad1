"""Whether the kernel of a guest has what the format of its root asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from bangerbuild.disk import formats
from bangerbuild.model import StepId

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bangerbuild.declared import Manifest
    from bangerbuild.disk.formats.format import DiskFormat
    from bangerbuild.guest.view import GuestView
    from bangerbuild.model import Json, View

_LOADERS = ("/sbin/modprobe", "/usr/sbin/modprobe", "/bin/modprobe", "/usr/bin/modprobe")
_DIRECTORIES = {"overlay": "overlayfs"}
"""The directory of a filesystem's module below kernel/fs, where it is not called like the module."""


def modules(manifest: Manifest, image: str) -> tuple[str, ...]:
    """The modules that the roots of an image's VMs ask for."""
    used = {vm.root.format for vm in manifest.vms.values() if vm.image == image}
    return tuple(sorted({name for one in used for name in formats.named(one).kernel_modules.values()}))


def boot_steps(manifest: Manifest, image: str) -> tuple[str, ...]:
    """The steps of the kernel and the initrd of an image whose VMs' roots ask for modules."""
    found = manifest.images[image]
    there = (("kernel", found.kernel), ("initrd", found.initrd))
    return tuple(StepId.image(image, name) for name, source in there if source is not None)


def warnings(view: View, steps: tuple[str, ...], disk_format: DiskFormat, guest: GuestView) -> Iterator[str]:
    """Yield a warning for each module that a root asks for and that its guest can't load.

    Args:
        view: what may be read.
        steps: those of kernel and initrd; what they remember is looked at.
        disk_format: of the root.
        guest: the image.
    """
    facts = {name: view.facts(step) for step in steps for name in (StepId(step).part,)}
    kernel, initrd = facts.get("kernel", {}), facts.get("initrd")
    options = cast("Mapping[str, str | None]", kernel.get("options") or {})
    release = str(kernel.get("release"))
    for option, module in disk_format.kernel_modules.items():
        what = f"a root of format '{disk_format.name}' needs the module '{module}'"
        if options.get(option) == "n":
            yield f"{what}, and kernel {release} has no CONFIG_{option}: the VM won't start"
        elif options.get(option) == "m" and not (_holds(initrd, module) or _loads(guest, release, module)):
            yield (
                f"{what}, and neither the image (/lib/modules/{release}) nor the initrd holds it: "
                "the VM won't start; install its modules in the image, or have its initrd load this one"
            )


def _holds(initrd: Mapping[str, Json] | None, module: str) -> bool:
    """Whether an initrd holds a module, or that is not known; None: there is none."""
    if initrd is None:
        return False
    held = initrd.get("modules")
    return held is None or module in cast("list[str]", held)


def _loads(guest: GuestView, release: str, module: str) -> bool:
    """Whether an image has a module, and what loads it."""
    directory = f"/lib/modules/{release}/kernel/fs/{_DIRECTORIES.get(module, module)}"
    names = {name.partition(".ko")[0] for name in guest.names(directory)}
    return module in names and any(guest.exists(path) for path in _LOADERS)
