"""`[image.NAME]`: exactly one source for its root filesystem, and that one there."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from bangerbuild.manifest.source import Document, Place, Table
from bangerbuild.manifest.values import existing, host_path, parse_size
from bangerbuild.spec import DirectorySource, Ext4Source, HostPath, Image, ImageSource, TarSource

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Literal

    from bangerbuild.manifest.problems import Findings

_SOURCES = ("tar", "ext4", "directory", "oci", "url", "mmdebstrap", "image")
_GOES_WITH = {"owner": "directory", "sha256": "url"}


def images(document: Document, findings: Findings) -> dict[str, Image]:
    """The images of one file; without those that have a problem."""
    found = {}
    for name, table in document.tree.get("image", {}).items():
        place = Place(document, ("image", name))
        for filesystem in ("rootfs", "work_seed"):
            if filesystem in table:
                _check_sources(table[filesystem], place / filesystem, findings)
        rootfs = _source(table.get("rootfs", {}), place / "rootfs", findings)
        if rootfs:
            found[name] = Image(name, rootfs, table.get("cmdline"))
    return found


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
    """The source of a root filesystem; None if there is none of those that can be built."""
    size_bytes = None
    if "size" in table:
        size_bytes = findings.attempt(place / "size", parse_size, table["size"], None)
    if "tar" in table:
        return TarSource(_host(table, "tar", place, findings), size_bytes)
    if "ext4" in table:
        return Ext4Source(_host(table, "ext4", place, findings), size_bytes)
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


def _named(directory: Path, sort: Literal["file", "directory"], text: str) -> HostPath:
    return existing(host_path(text, directory), sort)
