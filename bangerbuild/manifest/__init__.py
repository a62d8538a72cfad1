"""Loads manifests: TOML and includes, the schema, what no schema can say; all problems of all files at once.

The rooms behind this door: `source` reads, `form` checks against the schema; `image`, `filesystem` and `boot`
make typed images, `networks` what VMs share, `merge`, `entries`, `disks`, `network` and `vm` typed VMs;
`mounts` looks at what one VM mounts where, `checks` compares VMs and files with one another.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bangerbuild.declared import VM, Image, Manifest, SharedNetwork
from bangerbuild.errors import ManifestError, UsageError
from bangerbuild.manifest import checks, form
from bangerbuild.manifest.files import Location, ManifestFile, ManifestReader
from bangerbuild.manifest.filesystem import IMPORT_HINT, source_key
from bangerbuild.manifest.form import schema, schema_text
from bangerbuild.manifest.image import check_derived
from bangerbuild.manifest.image import images as images_of
from bangerbuild.manifest.merge import MergedVM, merged_vms
from bangerbuild.manifest.networks import check_named, check_networks, networks
from bangerbuild.manifest.problems import Findings
from bangerbuild.manifest.values import RELATIVE_HINT, host_path, parse_size
from bangerbuild.manifest.vm import VMs
from bangerbuild.model import HostPath

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bangerbuild.errors import Problem

__all__ = ["DEFAULT_MANIFEST", "load", "parse_size", "schema", "schema_text"]

DEFAULT_MANIFEST = Path("vm.toml")
_DEFAULT_STORE = "build"


def load(
    paths: Sequence[Path] = (DEFAULT_MANIFEST,), *, store: Path | None = None, needs_files: bool = True
) -> Manifest:
    """Loads one manifest of one or several files.

    Args:
        paths: the files, which act as one that includes them; the first may have `[store]`.
        store: the store's directory, instead of the manifest's.
        needs_files: whether files of this host that it names have to be there.

    Raises:
        ManifestError: there are problems; it holds all of them, by file and line.
    """
    reader = ManifestReader()
    roots: dict[Path, Path] = {}
    for path in paths or (DEFAULT_MANIFEST,):
        reader.read(path)
        roots |= dict.fromkeys(reader.documents.keys() - roots, path)
    documents = list(reader.documents.values())
    findings = Findings(reader.problems, needs_files=needs_files)
    _check_files(documents, findings)
    found_images = _images(documents, findings)
    shared = networks(documents, findings)
    vms = _vms(documents, found_images, shared, findings)
    merged = [one for one, _ in vms]
    if reader.has_read_all:
        checks.check_images(merged, documents, findings)
        check_named(merged, documents, findings)
        check_derived(found_images, documents, findings)
    checks.check_roots(vms, found_images, findings)
    checks.check_unique(vms, findings)
    check_networks(shared, vms, documents, findings)
    directory = _store(documents, store, findings)
    if findings.problems:
        beside = directory if documents or store else (paths[0].parent / _DEFAULT_STORE).absolute()
        raise ManifestError(_in_order(findings.problems, documents), beside)
    files = tuple(document.path for document in documents)
    warnings = tuple(dict.fromkeys(findings.warnings))  # one of the defaults comes up for every VM
    absent = _in_order(findings.absent, documents)
    vms_by_name = {vm.name: vm for _, vm in vms}
    origins = {
        f"{table}.{name}": roots[place].absolute()
        for place, document in reader.documents.items()
        for table in ("vm", "network")
        for name in document.names.get(table, ())
    }
    return Manifest(directory, found_images, vms_by_name, files, warnings, shared, absent, origins)


def images_beside(files: Sequence[Path]) -> frozenset[str] | None:
    """The images that other manifests in the directory of these files declare; None: it can't be told."""
    own = {path.resolve() for path in files}
    names: set[str] = set()
    for path in sorted(files[0].parent.glob("*.toml")):
        if path.resolve() in own:
            continue
        reader = ManifestReader()
        reader.read(path)
        if not reader.has_read_all:
            return None
        images = (document.tree.get("image") for document in reader.documents.values())
        names.update(name for table in images if isinstance(table, dict) for name in table)
    return frozenset(names)


def single_image(source: str, name: str, more: Mapping[str, str | int], *, store: Path) -> Manifest:
    """A manifest of one image, as the command line asks for it.

    Args:
        source: a path, an address, or a container image.
        name: of the image.
        more: further keys of its `rootfs`.
        store: absolute.

    Raises:
        UsageError: one of these can't be meant.
    """
    table = {source_key(source): source, **more}
    document = ManifestFile(Path("the command line"), tree={"image": {name: {"rootfs": table}}})
    findings = Findings(form.check(document))
    found = images_of(document, findings)
    for problem in findings.problems:
        raise UsageError(
            f"{problem.key}: {problem.message}" if problem.key else problem.message,
            hint=IMPORT_HINT if problem.hint == RELATIVE_HINT else problem.hint,  # no manifest is there
        )
    return Manifest(store, found, {})


def _check_files(documents: Sequence[ManifestFile], findings: Findings) -> None:
    for document in documents:
        findings.problems += form.check(document)
    checks.check_store(documents, findings)
    checks.check_names(documents, findings)


def _images(documents: Sequence[ManifestFile], findings: Findings) -> dict[str, Image]:
    found: dict[str, Image] = {}
    for document in documents:
        found |= images_of(document, findings)
    return found


def _vms(
    documents: Sequence[ManifestFile],
    images: Mapping[str, Image],
    networks: Mapping[str, SharedNetwork],
    findings: Findings,
) -> list[tuple[MergedVM, VM]]:
    """Every VM, merged and typed; of two with one name the last."""
    found: dict[str, tuple[MergedVM, VM]] = {}
    for document in documents:
        vms = VMs(document, images, networks, findings)
        for merged in merged_vms(document):
            found[merged.name] = merged, vms.build(merged)
    return list(found.values())


def _store(documents: Sequence[ManifestFile], given: Path | None, findings: Findings) -> Path:
    if given is None and documents:
        first = documents[0]
        written = first.tree.get("store", {}).get("path", _DEFAULT_STORE)
        place = Location(first, ("store", "path"))
        read = partial(host_path, directory=first.path.parent)
        given = findings.attempt(place, read, written, HostPath(Path(), written)).path
    path = (given or Path(_DEFAULT_STORE)).absolute()
    return path.resolve() if ".." in path.parts else path  # fit to be shown; symlinks before `..` count


def _in_order(problems: Sequence[Problem], documents: Sequence[ManifestFile]) -> tuple[Problem, ...]:
    """Each problem once, by file in the order of reading, then by line.

    One that stands in the defaults is found again for every VM.
    """
    rank = {str(document.path): index for index, document in enumerate(documents)}
    return tuple(sorted(set(problems), key=lambda p: (rank.get(p.file, -1), p.line, p.key, p.message)))
