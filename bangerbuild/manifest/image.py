"""`[image.NAME]`: exactly one source for each of its filesystems, and that one there."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from bangerbuild.manifest.boot import boot_source, check_boot
from bangerbuild.manifest.problems import UnfitError, quoted
from bangerbuild.manifest.source import Document, Place, Table
from bangerbuild.manifest.values import existing, host_path, parse_size, size_text
from bangerbuild.spec import DirectorySource, Ext4Source, HostPath, Image, ImageSource, TarSource

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Literal

    from bangerbuild.manifest.problems import Findings

_SOURCES = ("tar", "ext4", "directory", "oci", "url", "mmdebstrap", "image")
_FILESYSTEMS = ("rootfs", "work_seed")
_GOES_WITH = {"owner": "directory", "sha256": "url"}


def images(document: Document, findings: Findings) -> dict[str, Image]:
    """The images of one file; those of whose filesystems too little is known are left out.

    What a VM's own keys mean depends on its image: nothing is said of them where the image is not known.
    """
    found = {}
    for name, table in document.tree.get("image", {}).items():
        place = Place(document, ("image", name))
        image = _image(name, table, place, findings)
        if image and not document.is_refused_below(place.key):
            found[name] = image
    return found


def known_size(source: ImageSource) -> int | None:
    """The size in bytes that a filesystem will have, where that can be told before it is made."""
    if source.size_bytes is None and isinstance(source, Ext4Source):
        return _file_size(source.path)
    return source.size_bytes


def _image(name: str, table: Table, place: Place, findings: Findings) -> Image | None:
    sources = {key: _checked_source(table, key, place, findings) for key in _FILESYSTEMS if key in table}
    check_boot(table, place, findings)
    kernel, initrd = (boot_source(table, key, place, findings) for key in ("kernel", "initrd"))
    rootfs = sources.get("rootfs")
    if rootfs is None or None in sources.values():
        return None
    return Image(name, rootfs, sources.get("work_seed"), kernel, initrd, table.get("cmdline"))


def _checked_source(table: Table, key: str, place: Place, findings: Findings) -> ImageSource | None:
    _check_sources(table[key], place / key, findings)
    return _source(table[key], place / key, findings)


def _check_sources(table: Table, place: Place, findings: Findings) -> None:
    given = [source for source in _SOURCES if source in table]
    if len(given) > 1:
        findings.add(place, f"more than one source: {' and '.join(given)}", "leave one")
    elif not given and not place.document.is_refused_below(place.key):
        findings.add(place, "no source", f"give one of {', '.join(_SOURCES)}")
    for key, source in _GOES_WITH.items():
        if key in table and given and source not in given:
            findings.add(place / key, f"'{key}' goes with '{source}' only, not with '{given[0]}'")


def _source(table: Table, place: Place, findings: Findings) -> ImageSource | None:
    """The source of a filesystem; None if there is none of those that can be built."""
    size_bytes = None
    if "size" in table:
        size_bytes = findings.attempt(place / "size", parse_size, table["size"], None)
    if "tar" in table:
        return TarSource(_host(table, "tar", place, findings), size_bytes)
    if "ext4" in table:
        path = _host(table, "ext4", place, findings)
        return Ext4Source(path, findings.attempt(place / "size", partial(_grown, path), size_bytes, None))
    if "directory" in table:
        keep_owner = table.get("owner") == "keep"
        return DirectorySource(_host(table, "directory", place, findings), size_bytes, keep_owner)
    return None


def _host(table: Table, key: str, place: Place, findings: Findings) -> HostPath:
    directory = place.document.path.parent
    sort: Literal["file", "directory"] = "directory" if key == "directory" else "file"
    return findings.attempt(
        place / key, partial(_named, directory, sort), table[key], HostPath(directory, "")
    )


def _grown(path: HostPath, size_bytes: int | None) -> int | None:
    """The size of a clone, which is never smaller than what it is cloned from."""
    least_bytes = _file_size(path)
    if size_bytes is not None and least_bytes is not None and size_bytes < least_bytes:
        message = (
            f"size is {size_text(size_bytes)}, smaller than {quoted(path.written)}: {size_text(least_bytes)}"
        )
        raise UnfitError(message, "make it larger, or leave size out")
    return size_bytes


def _file_size(path: HostPath) -> int | None:
    """None if it is no file that can be looked at; that has been told."""
    try:
        return path.path.stat().st_size if path.path.is_file() else None
    except OSError:
        return None


def _named(directory: Path, sort: Literal["file", "directory"], text: str) -> HostPath:
    return existing(host_path(text, directory), sort)
