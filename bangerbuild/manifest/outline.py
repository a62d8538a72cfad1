"""What manifests say of where the store is, which VMs there are and who logs in, without being checked.

A VM that runs can be found, logged in to and stopped although its manifest is being edited.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from bangerbuild.errors import ManifestError
from bangerbuild.manifest import form
from bangerbuild.manifest.files import ManifestFile, ManifestReader, Table
from bangerbuild.manifest.fleets import fleets
from bangerbuild.manifest.problems import Findings, InvalidValueError
from bangerbuild.manifest.values import host_path
from bangerbuild.manifest.variables import Settings, variables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

_DEFAULT_STORE = "build"


@dataclass(frozen=True)
class Outline:
    """The store, and of each VM the files that its keys come from."""

    store: Path
    key_files: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    """Of `ssh_authorized_keys`, by the VM's name; entries that are keys themselves are left out."""

    @property
    def vms(self) -> frozenset[str]:
        """The names of all VMs."""
        return frozenset(self.key_files)


def outline(paths: Sequence[Path], *, store: Path | None) -> Outline:
    """What the manifests say, as far as they can be read.

    Args:
        paths: the files, which act as one.
        store: the store's directory, instead of the manifest's.

    Raises:
        ManifestError: no file can be read, and the store is not given.
    """
    reader = ManifestReader()
    for path in paths:
        reader.read(path)
    documents = list(reader.documents.values())
    if store is None and not (documents and documents[0].tree):
        raise ManifestError(tuple(reader.problems))
    found = {name: files for document in documents for name, files in _members(document)}
    found |= {name: files for document in documents for name, files in _vms(document)}
    return Outline(_store(documents, store), found)


def _store(documents: Sequence[ManifestFile], given: Path | None) -> Path:
    if given is None:
        written = _table(documents[0].tree, "store").get("path", _DEFAULT_STORE)
        given = _path(written, documents[0].path.parent) or documents[0].path.parent / _DEFAULT_STORE
    path = given.absolute()
    return path.resolve() if ".." in path.parts else path


def _vms(document: ManifestFile) -> Iterator[tuple[str, tuple[Path, ...]]]:
    read = partial(_path, directory=document.path.parent)
    default = _table(document.tree, "defaults").get("ssh_authorized_keys")
    vms = _table(document.tree, "vm")
    for name in vms:
        yield name, _files(_table(vms, name).get("ssh_authorized_keys", default), read)


def _members(document: ManifestFile) -> Iterator[tuple[str, tuple[Path, ...]]]:
    """The members of fleets; a fleet with a problem has none."""
    read = partial(_path, directory=document.path.parent)
    default = _table(document.tree, "defaults").get("ssh_authorized_keys")
    checked = ManifestFile(document.path, document.text, tree=copy.deepcopy(document.tree))
    findings = Findings(form.check(checked) if "fleet" in checked.tree else ())
    known = variables([checked], Settings(), findings)
    for fleet in fleets([checked], known, findings):
        table = _table(_table(_table(checked.tree, "fleet"), fleet.name), "vm")
        files = _files(table.get("ssh_authorized_keys", default), read)
        yield from ((name, files) for name in fleet.names)


def _files(entries: Any, read: Callable[[Any], Path | None]) -> tuple[Path, ...]:  # noqa: ANN401
    files = map(read, entries) if isinstance(entries, list) else ()
    return tuple(path for path in files if path is not None and path.is_file())


def _path(written: Any, directory: Path) -> Path | None:  # noqa: ANN401  # a value of any TOML type
    if not isinstance(written, str) or "\0" in written or "\n" in written:
        return None
    try:
        return host_path(written, directory).path
    except InvalidValueError:
        return None


def _table(tree: Table, key: str) -> Table:
    found = tree.get(key)
    return found if isinstance(found, dict) else {}
