"""Checks across the files of a manifest: names that must be known, and what no two may share."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from bangerbuild.disk import formats
from bangerbuild.manifest.files import Location, ManifestFile
from bangerbuild.manifest.form import NAMED
from bangerbuild.neighbours import near

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from bangerbuild.declared import VM, Image
    from bangerbuild.manifest.merge import MergedVM
    from bangerbuild.manifest.problems import Findings

_SHOWN_VMS = 3


def check_store(documents: Sequence[ManifestFile], findings: Findings) -> None:
    """Only the first file may say where the store is."""
    for document in documents[1:]:
        if "store" in document.tree:
            hint = f"move it to {documents[0].path}"
            findings.add(Location(document, ("store",)), "only the first manifest may have [store]", hint)


def check_names(documents: Sequence[ManifestFile], findings: Findings) -> None:
    """No image, VM, network, fleet or node may be defined in two files."""
    first: dict[tuple[str, str], Location] = {}
    for document in documents:
        for kind in NAMED:
            for name in document.names[kind]:
                place = Location(document, (kind, name))
                before = first.setdefault((kind, name), place)
                if before != place:
                    findings.add(
                        place, f"{kind} '{name}' is defined twice, first in {before}", "rename one of them"
                    )


def check_images(
    vms: Sequence[MergedVM],
    documents: Sequence[ManifestFile],
    findings: Findings,
    apart: Collection[str] = (),
) -> None:
    """Every VM names an image that there is, in whichever file; `apart` has other problems already."""
    known = dict.fromkeys(name for document in documents for name in document.names["image"])
    for vm in vms:
        name = vm.get("image", None)
        if name is None and not vm.is_refused() and vm.name not in apart:
            findings.add(vm.own / "image", "no image", "give one of [image.*]; for all VMs, in [defaults]")
        elif name is not None and name not in known:
            hint = near(name, known) or f"define it in [image.{name}]"
            findings.add(vm.place("image"), f"unknown image '{name}'", hint)


def check_roots(
    pairs: Sequence[tuple[MergedVM, VM]], images: Mapping[str, Image], findings: Findings
) -> None:
    """Every image has what the formats of its VMs' roots ask of it; one that starts from another has its."""
    for merged, vm in pairs:
        key = formats.named(vm.root.format).image_key
        line = tuple(_line(vm.image, images)) if key else ()
        is_known = line and (line[-1].rootfs.based_on is None or line[-1].rootfs.based_on in images)
        if is_known and not any(getattr(image, key) for image in line):
            findings.add(
                merged.place("root", "format"),
                f"format '{vm.root.format}', but image '{vm.image}' has no {key}",
                f"write {key} = true under [image.{vm.image}.rootfs], or take another format",
            )


def _line(name: str, images: Mapping[str, Image]) -> Iterator[Image]:
    """An image, the one that it starts from, and so on."""
    seen: set[str] = set()
    while name in images and name not in seen:
        seen.add(name)
        yield images[name]
        name = images[name].rootfs.based_on or ""


def check_renames(pairs: Sequence[tuple[MergedVM, VM]], findings: Findings) -> None:
    """What a VM was called before is no VM any more, and became of no other one."""
    declared = {vm.name: merged for merged, vm in pairs}
    taken: dict[str, MergedVM] = {}
    for merged, vm in pairs:
        place = merged.place("renamed_from") if vm.renamed_from else merged.own
        for old in vm.renamed_from:
            if old == vm.name:
                findings.add(place, f"'{old}' is the VM's own name", "give the one that it had before")
            elif old in declared:
                message = f"'{old}' is still declared, in {declared[old].own}"
                findings.add(place, message, "leave out one of the two")
            elif taken.setdefault(old, merged) is not merged:
                message = f"'{old}' became vm.{taken[old].name} already, in {taken[old].own}"
                findings.add(place, message, "leave out one of the two")


def check_unique(pairs: Sequence[tuple[MergedVM, VM]], findings: Findings) -> None:
    """No two VMs may have one address, MAC, tap device or host name."""
    users: defaultdict[tuple[str, str], list[tuple[MergedVM, Sequence[str]]]] = defaultdict(list)
    for merged, vm in pairs:
        for what, value, key in _unique_values(merged, vm):
            users[what, value].append((merged, key))
    for (what, value), named in users.items():
        said = _said_at(named) if len(named) > 1 else None
        if said:
            names = [f"vm.{vm.name}" for vm, _ in named]
            shown = ", ".join(names[:_SHOWN_VMS]) + (
                f" and {len(names) - _SHOWN_VMS} more" if names[_SHOWN_VMS:] else ""
            )
            findings.add(said, f"more than one VM has the {what} '{value}': {shown}")


def _unique_values(merged: MergedVM, vm: VM) -> Iterator[tuple[str, str, Sequence[str]]]:
    """What no other VM may have: what it is, the value, and its key."""
    network = vm.network
    if network.address and merged.leased is None:  # `leasing` compares these with all others
        yield "address", network.address.partition("/")[0], ("network", "address")
    if network.mac:
        yield "MAC address", network.mac, ("network", "mac")
    if network.tap:
        yield "tap device", network.tap, ("network", "tap")
    yield "host name", vm.hostname.lower(), ("hostname",)


def _said_at(named: Sequence[tuple[MergedVM, Sequence[str]]]) -> Location | None:
    """The last place that spells the shared value out; None if all of it is made from defaults.

    A MAC address that two VMs share by default comes of a shared address, which is told already.
    """
    places = (merged.place(*key) for merged, key in named)
    said = [place for place in places if place.key in place.document.lines]
    return said[-1] if said else None
