"""Checks across the files of a manifest: names that must be known, and what no two may share."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from bangerbuild.manifest.files import Location, ManifestFile
from bangerbuild.neighbours import near

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from bangerbuild.declared import VM
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
    """No image and no VM may be defined in two files."""
    first: dict[tuple[str, str], Location] = {}
    for document in documents:
        for kind in ("image", "vm"):
            for name in document.names[kind]:
                place = Location(document, (kind, name))
                before = first.setdefault((kind, name), place)
                if before != place:
                    findings.add(
                        place, f"{kind} '{name}' is defined twice, first in {before}", "rename one of them"
                    )


def check_images(vms: Sequence[MergedVM], documents: Sequence[ManifestFile], findings: Findings) -> None:
    """Every VM names an image that there is, in whichever file."""
    known = [name for document in documents for name in document.names["image"]]
    for vm in vms:
        name = vm.get("image", None)
        if name is None and not vm.is_refused():
            findings.add(vm.own / "image", "no image", "give one of [image.*]; for all VMs, in [defaults]")
        elif name is not None and name not in known:
            hint = near(name, known) or f"define it in [image.{name}]"
            findings.add(vm.place("image"), f"unknown image '{name}'", hint)


def check_unique(pairs: Sequence[tuple[MergedVM, VM]], findings: Findings) -> None:
    """No two VMs may have one address, MAC, tap device or host name."""
    users: defaultdict[tuple[str, str], list[tuple[MergedVM, Location]]] = defaultdict(list)
    for merged, vm in pairs:
        for what, value, place in _unique_values(merged, vm):
            users[what, value].append((merged, place))
    for (what, value), named in users.items():
        said = _said_at(named) if len(named) > 1 else None
        if said:
            names = [f"vm.{vm.name}" for vm, _ in named]
            shown = ", ".join(names[:_SHOWN_VMS]) + (
                f" and {len(names) - _SHOWN_VMS} more" if names[_SHOWN_VMS:] else ""
            )
            findings.add(said, f"more than one VM has the {what} '{value}': {shown}")


def _unique_values(merged: MergedVM, vm: VM) -> Iterator[tuple[str, str, Location]]:
    network = vm.network
    if network.address:
        yield "address", network.address.partition("/")[0], merged.place("network", "address")
    if network.mac:
        yield "MAC address", network.mac, merged.place("network", "mac")
    if network.tap:
        yield "tap device", network.tap, merged.place("network", "tap")
    yield "host name", vm.hostname.lower(), merged.place("hostname")


def _said_at(named: Sequence[tuple[MergedVM, Location]]) -> Location | None:
    """The last place that spells the shared value out; None if all of it is made from defaults.

    A MAC address that two VMs share by default comes of a shared address, which is told already.
    """
    said = [place for _, place in named if place.key in place.document.lines]
    return said[-1] if said else None
