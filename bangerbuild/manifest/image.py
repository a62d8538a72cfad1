"""`[image.NAME]`: its filesystems, its kernel, and what is written into its root filesystem."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild.declared import FileSync, Image, InlineFile
from bangerbuild.manifest.boot import boot_source, check_boot
from bangerbuild.manifest.entries import level
from bangerbuild.manifest.files import Location, ManifestFile
from bangerbuild.manifest.filesystem import filesystem
from bangerbuild.manifest.merge import Layer
from bangerbuild.neighbours import near

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bangerbuild.manifest.entries import Variables
    from bangerbuild.manifest.problems import Findings
    from bangerbuild.sources.source import ImageSource

_FILESYSTEMS = ("rootfs", "work_seed")


def images(document: ManifestFile, variables: Variables, findings: Findings) -> dict[str, Image]:
    """The images of one file; those of whose filesystems too little is known are left out.

    What a VM's own keys mean depends on its image: nothing is said of them where the image is not known.
    """
    found = {}
    for name, table in document.tree.get("image", {}).items():
        place = Location(document, ("image", name))
        image = _image(name, Layer(place, table), variables, findings)
        if image and not document.is_refused_below(place.key):
            found[name] = image
    return found


def check_derived(images: Mapping[str, Image], documents: Sequence[ManifestFile], findings: Findings) -> None:
    """Every image that starts from another names one that there is, with the filesystem in question."""
    known = [name for document in documents for name in document.names["image"]]
    for image, key, other in _derived(images):
        place = _place(image, documents) / key / "image"
        if other not in known:
            hint = near(other, known) or f"define it in [image.{other}]"
            findings.add(place, f"unknown image '{other}'", hint)
        elif other in images and getattr(images[other], key) is None:
            findings.add(place, f"image '{other}' has no {key}", f"give it one, or leave {key} out")
        elif (trail := _circle(images, image.name, key)) and image.name == min(trail):
            round_trip = " -> ".join((*trail, trail[0]))
            findings.add(place, f"images start from one another in a circle: {round_trip}")


def _derived(images: Mapping[str, Image]) -> Iterator[tuple[Image, str, str]]:
    """Each filesystem that starts from another image's: its image, its key, the other's name."""
    for image in images.values():
        for key in _FILESYSTEMS:
            source: ImageSource | None = getattr(image, key)
            if source and source.based_on is not None:
                yield image, key, source.based_on


def _circle(images: Mapping[str, Image], name: str, key: str) -> tuple[str, ...]:
    """The names on the way from an image back to itself; none if it does not lead there."""
    trail = [name]
    while True:
        image = images.get(trail[-1])
        source: ImageSource | None = getattr(image, key) if image else None
        if source is None or source.based_on is None:
            return ()
        if source.based_on in trail:
            return tuple(trail) if source.based_on == name else ()
        trail.append(source.based_on)


def _place(image: Image, documents: Sequence[ManifestFile]) -> Location:
    defining = next(document for document in documents if image.name in document.tree.get("image", {}))
    return Location(defining, ("image", image.name))


def _image(name: str, layer: Layer, variables: Variables, findings: Findings) -> Image | None:
    place, table = layer.place, layer.table
    sources = {key: filesystem(table[key], place / key, findings) for key in _FILESYSTEMS if key in table}
    check_boot(table, place, findings)
    if "overlay_init" in table.get("work_seed", {}):
        message = "'overlay_init' goes in rootfs only, as no VM starts from a work disk"
        findings.add(place / "work_seed" / "overlay_init", message, "leave it out")
    kernel, initrd = (boot_source(table, key, place, findings) for key in ("kernel", "initrd"))
    values = [entry.filled({"image": name}, variables, findings).value for entry in level((layer,), findings)]
    rootfs = sources.get("rootfs")
    if rootfs is None or None in sources.values():
        return None
    return Image(
        name,
        rootfs,
        sources.get("work_seed"),
        kernel,
        initrd,
        table.get("cmdline"),
        files=tuple(value for value in values if isinstance(value, InlineFile)),
        file_syncs=tuple(value for value in values if isinstance(value, FileSync)),
        overlay_init=table["rootfs"].get("overlay_init", False),
    )
