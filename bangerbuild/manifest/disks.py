"""`[vm.NAME.root]` and `[vm.NAME.work]`: what a VM's disks are, beside the image they start from."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from bangerbuild.declared import Root, Work
from bangerbuild.disk import formats
from bangerbuild.disk.formats import RAW
from bangerbuild.manifest.source_table import size_from
from bangerbuild.manifest.values import disk_mount, disk_size

if TYPE_CHECKING:
    from bangerbuild.declared import Image
    from bangerbuild.disk.formats.values import SizeRule
    from bangerbuild.manifest.merge import MergedVM
    from bangerbuild.manifest.problems import Findings
    from bangerbuild.sources.source import ImageSource


def root(vm: MergedVM, image: Image | None, findings: Findings) -> Root:
    """A VM's root disk.

    Args:
        vm: the VM.
        image: the VM's; None if it has a problem.
        findings: takes the problems.
    """
    table = vm.table("root")
    disk_format = table.get("format", Root.format)
    size_bytes = None
    if "size" in table:
        rule = formats.named(disk_format).size
        start = image.rootfs if image and rule.is_of_clone else None
        read = partial(_size_from, start, f"image '{vm.get('image', '')}'", rule=rule)
        size_bytes = findings.attempt(partial(vm.place, "root", "size"), read, table["size"], None)
    return Root(disk_format, size_bytes, table.get("on_new_base", Root.on_new_base))


def work(vm: MergedVM, image: Image | None, findings: Findings) -> Work | None:
    """A VM's work disk: there if its image has a seed, or if a size is given; `false` is none in any case.

    A `mount` alone makes no disk. From the defaults it is for those VMs that have one; in the VM's own table,
    it is a problem.
    """
    table = vm.get("work", {})
    seed = image.work_seed if image else None
    if table is False:
        return None
    if "size" not in table and seed is None:
        if image and vm.has_own("work") and not vm.is_refused("work"):
            message = f"a work disk without a size, and image '{image.name}' has no work_seed"
            findings.add(vm.own / "work", message, "give work.size")
        return None
    size_bytes = None
    if "size" in table:
        read = partial(_size_from, seed, f"the work_seed of image '{vm.get('image', '')}'")
        size_bytes = findings.attempt(partial(vm.place, "work", "size"), read, table["size"], None)
    place = partial(vm.place, "work", "mount")
    return Work(size_bytes, findings.attempt(place, disk_mount, table.get("mount", Work.mount), Work.mount))


def _size_from(start: ImageSource | None, what: str, value: str | int, rule: SizeRule = RAW.size) -> int:
    """The size of a disk; of one that starts as a clone, no smaller than what it is cloned from."""
    return size_from(partial(disk_size, rule=rule), start.known_bytes if start else None, what, value)
