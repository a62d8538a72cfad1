"""`rootfs` and `work_seed` of an image: exactly one source each, and that one there."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bangerbuild.declared import (
    DirectorySource,
    Ext4Source,
    HostPath,
    ImageSource,
    MmdebstrapSource,
    OciArchiveSource,
    OciSource,
    OtherImage,
    Pin,
    TarSource,
    UrlSource,
)
from bangerbuild.errors import SourceError
from bangerbuild.formats.oci import reference
from bangerbuild.formats.oci.platforms import host_platform, parse_platform
from bangerbuild.manifest.problems import InvalidValueError, quoted
from bangerbuild.manifest.values import existing, guest_path, host_path, parse_size, size_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Literal

    from bangerbuild.manifest.files import Location, Table
    from bangerbuild.manifest.problems import Findings

_UNPACKED = ("tar", "oci", "url", "mmdebstrap")
_GOES_WITH = {"owner": ("directory",), "sha256": ("url",), "platform": ("oci",), "entrypoint": ("oci",)} | {
    "max_size": _UNPACKED
}
_TRANSPORTS = {reference.LAYOUT, reference.OCI_ARCHIVE, reference.DOCKER_ARCHIVE, reference.REGISTRY}
_ADDRESS = re.compile("(?:https?|file)://")
_MAGIC_OFFSET = 1024 + 56
_PACKAGE = re.compile(r"[^\s,\0-][^\s,\0]*")


def filesystem(table: Table, place: Location, findings: Findings) -> ImageSource | None:
    """The source of a filesystem; None if there is none that could be told.

    Args:
        table: what the manifest says of it.
        place: where it does.
        findings: takes the problems.
    """
    given = _check_sources(table, place, findings)
    if given is None:
        return None
    size_bytes, max_size_bytes = (
        findings.attempt(place / key, parse_size, table[key], None) if key in table else None
        for key in ("size", "max_size")
    )
    source = _READERS[given](table, place, findings)
    if source is None:
        return None
    if isinstance(source, Ext4Source):
        size_bytes = findings.attempt(place / "size", partial(_grown, source.path), size_bytes, None)
    if isinstance(source, Ext4Source | DirectorySource | OtherImage):
        return replace(source, size_bytes=size_bytes)
    return replace(source, size_bytes=size_bytes, max_size_bytes=max_size_bytes)


def source_key(text: str) -> str:
    """The key that goes with a source as the command line names it, told by its looks and its content."""
    if _ADDRESS.match(text):
        return "url"
    if text.partition(":")[0] in _TRANSPORTS:
        return "oci"
    path = Path(text).expanduser()
    if path.is_dir():
        return "directory"
    return "ext4" if path.is_file() and _is_ext4(path) else "tar"


def _is_ext4(path: Path) -> bool:
    """By the magic number of its superblock (fs/ext4/ext4.h); what can't be read is told later."""
    try:
        with path.open("rb") as file:
            file.seek(_MAGIC_OFFSET)
            return file.read(2) == b"\x53\xef"
    except OSError:
        return False


def known_size(source: ImageSource) -> int | None:
    """The size in bytes that a filesystem will have, where that can be told before it is made."""
    if source.size_bytes is None and isinstance(source, Ext4Source):
        return _file_size(source.path)
    return source.size_bytes


def pin(table: Table) -> Pin | None:
    """What the manifest itself pins a download to."""
    return Pin(str(table["sha256"]).lower()) if "sha256" in table else None


def _check_sources(table: Table, place: Location, findings: Findings) -> str | None:
    """The word for the source, of several the first."""
    given = [source for source in _READERS if source in table]
    if len(given) > 1:
        findings.add(place, f"more than one source: {' and '.join(given)}", "leave one")
    elif not given and not place.document.is_refused_below(place.key):
        findings.add(place, "no source", f"give one of {', '.join(_READERS)}")
    for key, sources in _GOES_WITH.items():
        if key in table and given and not set(sources) & set(given):
            fitting = " or ".join(f"'{source}'" for source in sources)
            findings.add(place / key, f"'{key}' goes with {fitting} only, not with '{given[0]}'")
    return given[0] if given else None


def _tar(table: Table, place: Location, findings: Findings) -> ImageSource:
    return TarSource(_host(table["tar"], "file", place / "tar", findings))


def _ext4(table: Table, place: Location, findings: Findings) -> ImageSource:
    return Ext4Source(_host(table["ext4"], "file", place / "ext4", findings))


def _directory(table: Table, place: Location, findings: Findings) -> ImageSource:
    path = _host(table["directory"], "directory", place / "directory", findings)
    return DirectorySource(path, keep_owner=table.get("owner") == "keep")


def _oci(table: Table, place: Location, findings: Findings) -> ImageSource | None:
    platform = None
    if "platform" in table:
        platform = findings.attempt(place / "platform", _platform, table["platform"], None)
    entrypoint = _entrypoint(table, place, findings)
    named = findings.attempt(place / "oci", _reference, table["oci"], None)
    if named is None:
        return None
    if named.transport == reference.REGISTRY:
        return OciSource(table["oci"], platform=platform, entrypoint=entrypoint)
    sort: Literal["file", "directory"] = "directory" if named.transport == reference.LAYOUT else "file"
    path = _host(named.name, sort, place / "oci", findings)
    if named.transport == reference.LAYOUT:
        return OciSource(table["oci"], path, platform, entrypoint=entrypoint)
    platform = platform or str(host_platform())
    return OciArchiveSource(path, named.transport, named.tag, platform, entrypoint=entrypoint)


def _entrypoint(table: Table, place: Location, findings: Findings) -> str | None:
    if "entrypoint" not in table:
        return None
    if place.key[-1] != "rootfs":
        findings.add(place / "entrypoint", "'entrypoint' goes with a rootfs only: a work disk runs nothing")
    return findings.attempt(place / "entrypoint", guest_path, table["entrypoint"], None)


def _url(table: Table, _place: Location, _findings: Findings) -> ImageSource:
    return UrlSource(table["url"], pin(table))


def _mmdebstrap(table: Table, place: Location, findings: Findings) -> ImageSource | None:
    place /= "mmdebstrap"
    asked: Table = table["mmdebstrap"]
    if "suite" not in asked:  # the schema has told so
        return None
    for index, package in enumerate(asked.get("packages", ())):
        findings.attempt(place / "packages" / index, _package, package, package)
    for index, argument in enumerate(asked.get("arguments", ())):
        findings.attempt(place / "arguments" / index, _option, argument, argument)
    for key in ("suite", "mirror"):
        findings.attempt(place / key, _operand, asked.get(key, ""), "")
    return MmdebstrapSource(
        asked["suite"],
        tuple(asked.get("packages", ())),
        asked.get("mirror"),
        tuple(asked.get("arguments", ())),
    )


def _image(table: Table, place: Location, _findings: Findings) -> ImageSource:
    return OtherImage(table["image"], "rootfs" if place.key[-1] == "rootfs" else "work_seed")


_READERS: Mapping[str, Callable[[Table, Location, Findings], ImageSource | None]] = {
    "tar": _tar,
    "ext4": _ext4,
    "directory": _directory,
    "oci": _oci,
    "url": _url,
    "mmdebstrap": _mmdebstrap,
    "image": _image,
}


def _reference(text: str) -> reference.Reference:
    try:
        return reference.parse_reference(text)
    except SourceError as err:
        raise InvalidValueError(err.brief, err.hint) from err


def _platform(text: str) -> str:
    try:
        return str(parse_platform(text))
    except SourceError as err:
        raise InvalidValueError(err.brief, err.hint) from err


def _package(text: str) -> str:
    if not _PACKAGE.fullmatch(text):
        raise InvalidValueError(f"{quoted(text)} names no package", "give each package an entry of its own")
    return text


def _option(text: str) -> str:
    if not text.startswith("--"):
        raise InvalidValueError(
            f"{quoted(text)} is no option of mmdebstrap", "write it as one word: --NAME=VALUE"
        )
    return text


def _operand(text: str) -> str:
    if text.startswith("-"):
        raise InvalidValueError(f"{quoted(text)} begins with '-', which mmdebstrap takes for an option")
    return text


def _host(text: str, sort: Literal["file", "directory"], place: Location, findings: Findings) -> HostPath:
    directory = place.document.path.parent
    return findings.attempt(place, partial(_named, directory, sort), text, HostPath(directory, ""))


def _grown(path: HostPath, size_bytes: int | None) -> int | None:
    """The size of a clone, which is never smaller than what it is cloned from."""
    least_bytes = _file_size(path)
    if size_bytes is not None and least_bytes is not None and size_bytes < least_bytes:
        message = (
            f"size is {size_text(size_bytes)}, smaller than {quoted(path.written)}: {size_text(least_bytes)}"
        )
        raise InvalidValueError(message, "make it larger, or leave size out")
    return size_bytes


def _file_size(path: HostPath) -> int | None:
    """None if it is no file that can be looked at; that has been told."""
    try:
        return path.path.stat().st_size if path.path.is_file() else None
    except OSError:
        return None


def _named(directory: Path, sort: Literal["file", "directory"], text: str) -> HostPath:
    return existing(host_path(text, directory), sort)
