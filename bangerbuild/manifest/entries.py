"""`[[file]]`, `[[file_sync]]`, `[[mount]]` and `[[disk]]`: a file's and a VM's, and which of them wins."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from bangerbuild import modes
from bangerbuild.declared import Disk, FileSync, InlineFile, Mount
from bangerbuild.manifest.contents import file_content
from bangerbuild.manifest.values import (
    MIN_DISK_BYTES,
    disk_mount,
    disk_name,
    disk_size,
    exclude_patterns,
    existing,
    guest_path,
    host_path,
    mount_target,
    owner,
)
from bangerbuild.model import HostPath

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from bangerbuild.declared import Times
    from bangerbuild.manifest.contents import ContentTemplate
    from bangerbuild.manifest.files import Location, ManifestFile, Table
    from bangerbuild.manifest.merge import Layer
    from bangerbuild.manifest.problems import Findings
    from bangerbuild.modes import Mode

    Variables = Mapping[ManifestFile, Mapping[str, Any]]
    """The values of each file's variables."""

_OWNER = "root:root"
_WHAT = {"guest": "guest path", "target": "mount target", "name": "disk name"}


@dataclass(frozen=True)
class DeclaredEntry:
    """One such table and where it stands."""

    place: Location
    key: str
    """The key that names `target`: `guest`, `target` or `name`."""
    target: str
    """The guest path, mount point or disk name: what may be there once on each level."""
    value: InlineFile | FileSync | Mount | Disk
    template: ContentTemplate | None = None
    """What the content of a file is made from for each VM."""

    def filled(self, known: Mapping[str, Any], variables: Variables, findings: Findings) -> DeclaredEntry:
        """The entry with its template evaluated; it knows these names, and the variables of its own file."""
        if self.template is None or not isinstance(self.value, InlineFile):
            return self
        own = {**known, "vars": variables[self.place.document]}
        content = self.template.rendered(own, findings)
        return replace(self, value=replace(self.value, content=content), template=None)


def level(layers: Sequence[Layer], findings: Findings) -> tuple[DeclaredEntry, ...]:
    """The entries of tables that form one level, in the order of the manifest; each target only once."""
    found: dict[tuple[str, str], DeclaredEntry] = {}
    for entry in _entries(layers, findings):
        first = found.setdefault((entry.key, entry.target), entry)
        if first is not entry:
            message = f"{_WHAT[entry.key]} '{entry.target}' is given twice, first in {first.place}"
            findings.add(entry.place / entry.key, message)
    return tuple(found.values())


def overridden(shared: Sequence[DeclaredEntry], own: Sequence[DeclaredEntry]) -> tuple[DeclaredEntry, ...]:
    """A file's entries and a VM's: the VM's own win."""
    taken = {(entry.key, entry.target) for entry in own}
    return (*(entry for entry in shared if (entry.key, entry.target) not in taken), *own)


def _entries(layers: Sequence[Layer], findings: Findings) -> Iterator[DeclaredEntry]:
    for kind, build in _BUILD.items():
        for layer in layers:
            for index, table in enumerate(layer.table.get(kind, ())):
                if table is not None and table.keys() >= _REQUIRED[kind]:  # else the schema has refused it
                    yield from build(table, layer.place / kind / index, findings)


def _inline_file(table: Table, place: Location, findings: Findings) -> Iterator[DeclaredEntry]:
    content = file_content(table, place, findings)
    target = findings.attempt(place / "guest", guest_path, table["guest"], "")
    times = table.get("times", "fixed")
    value = InlineFile(
        target,
        content.text,
        int(table.get("mode", "0600" if content.secret else "0644"), 8),
        _owner(table, place, findings),
        times,
        content.mtime_ns if times == "host" else None,
        content.secret,
    )
    if target:
        yield DeclaredEntry(place, "guest", target, value, content.template)


def _file_sync(table: Table, place: Location, findings: Findings) -> Iterator[DeclaredEntry]:
    target = findings.attempt(place / "guest", guest_path, table["guest"], "")
    directory = place.document.path.parent
    patterns = tuple(table.get("exclude", ()))
    usual: Times = "fixed" if place.key[0] == "image" else "host"
    times = table.get("times", usual)
    value = FileSync(
        host=findings.attempt(
            place / "host", partial(_host, directory), table["host"], HostPath(directory, "")
        ),
        guest=target,
        mode=_mode(table, "mode"),
        directory_mode=_mode(table, "directory_mode"),
        owner=_owner(table, place, findings),
        times=times,
        unusual_times=times if times != usual else None,
        exclude=findings.attempt(place / "exclude", exclude_patterns, patterns, ()),
    )
    if target:
        yield DeclaredEntry(place, "guest", target, value)


def _mount(table: Table, place: Location, findings: Findings) -> Iterator[DeclaredEntry]:
    target = findings.attempt(place / "target", mount_target, table["target"], "")
    value = Mount(
        source=table["source"],
        target=target,
        fstype=table["fstype"],
        options=tuple(table.get("options", ())) or ("defaults",),
        dump=table.get("dump", 0),
        fsck_pass=table.get("pass", 0),
    )
    if target:
        yield DeclaredEntry(place, "target", target, value)


def _disk(table: Table, place: Location, findings: Findings) -> Iterator[DeclaredEntry]:
    name = findings.attempt(place / "name", disk_name, table["name"], "")
    size_bytes = findings.attempt(place / "size", disk_size, table["size"], MIN_DISK_BYTES)
    mount = findings.attempt(place / "mount", disk_mount, table["mount"], "")
    if name and mount:
        yield DeclaredEntry(place, "name", name, Disk(name, size_bytes, mount))


_BUILD: Mapping[str, Callable[[Table, Location, Findings], Iterator[DeclaredEntry]]] = {
    "file": _inline_file,
    "file_sync": _file_sync,
    "mount": _mount,
    "disk": _disk,
}


_REQUIRED: Mapping[str, set[str]] = {
    "file": {"guest"},
    "file_sync": {"host", "guest"},
    "mount": {"source", "target", "fstype"},
    "disk": {"name", "size", "mount"},
}


def _host(directory: Path, text: str) -> HostPath:
    return existing(host_path(text, directory), "either")


def _mode(table: Table, key: str) -> Mode | None:
    return modes.parsed(table[key]) if key in table else None


def _owner(table: Table, place: Location, findings: Findings) -> str:
    return findings.attempt(place / "owner", owner, table.get("owner", _OWNER), _OWNER)
