"""Loads manifests: TOML and includes, the schema, what no schema can say; all problems of all files at once.

The rooms behind this door: `source` reads, `form` checks against the schema; `image`, `filesystem` and `boot`
make typed images, `networks` what VMs share, `nodes` what they run on; `fleets` and `members` expand fleets,
with `variables` and `templates`; `leasing` gives addresses and `placing` nodes; `merge`, `entries`, `disks`,
`network` and `vm` make typed VMs; `mounts` looks at what one VM mounts where, `checks` compares VMs and files
with one another.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bangerbuild import leases
from bangerbuild.declared import VM, Image, Manifest
from bangerbuild.errors import ManifestError, UsageError
from bangerbuild.manifest import checks, form, placing, templates
from bangerbuild.manifest.cache import cache
from bangerbuild.manifest.files import Location, ManifestFile, ManifestReader
from bangerbuild.manifest.filesystem import IMPORT_HINT, source_key
from bangerbuild.manifest.fleets import Fleet, check_members, fleets
from bangerbuild.manifest.form import schema, schema_text
from bangerbuild.manifest.image import check_derived
from bangerbuild.manifest.image import images as images_of
from bangerbuild.manifest.leasing import Leased, lease
from bangerbuild.manifest.members import TO_LEASE, basics, merged_vms
from bangerbuild.manifest.networks import check_named, check_networks, networks
from bangerbuild.manifest.nodes import nodes
from bangerbuild.manifest.places import declared_at
from bangerbuild.manifest.problems import Findings
from bangerbuild.manifest.values import RELATIVE_HINT, host_path, parse_size
from bangerbuild.manifest.variables import Settings, variables
from bangerbuild.manifest.vm import Surroundings, VMs
from bangerbuild.model import HostPath

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bangerbuild.errors import Problem
    from bangerbuild.leases import Leases
    from bangerbuild.manifest.entries import Variables
    from bangerbuild.manifest.merge import MergedVM

__all__ = [
    "DEFAULT_MANIFEST",
    "Settings",
    "declared_at",
    "load",
    "load_merged",
    "parse_size",
    "schema",
    "schema_text",
]

DEFAULT_MANIFEST = Path("vm.toml")
_DEFAULT_STORE = "build"
_MOST_IN_ONE_PLACE = 3
_NAMES_STORE = re.compile(r"^\s*(?:\[\s*store\s*\]|store\s*[.=])", re.MULTILINE)
"""Where a text that is no TOML seems to say where the store is."""


def load(
    paths: Sequence[Path] = (DEFAULT_MANIFEST,),
    *,
    store: Path | None = None,
    settings: Settings | None = None,
    needs_files: bool = True,
) -> Manifest:
    """Loads one manifest of one or several files.

    Args:
        paths: the files, which act as one; the first may have `[store]`, and the lock file is beside it.
        store: the store's directory, instead of the manifest's.
        settings: variables that the command line sets.
        needs_files: whether files of this host that it names have to be there.

    Raises:
        ManifestError: there are problems; it holds all of them, by file and line.
    """
    return load_merged(paths, store=store, settings=settings, needs_files=needs_files)[0]


def load_merged(
    paths: Sequence[Path],
    *,
    store: Path | None = None,
    settings: Settings | None = None,
    needs_files: bool = True,
) -> tuple[Manifest, tuple[MergedVM, ...], tuple[ManifestFile, ...]]:
    """The same, with where each key of each VM comes from, and the files.

    Raises:
        ManifestError: see `load`.
    """
    reader = ManifestReader()
    roots: dict[Path, Path] = {}
    for path in paths or (DEFAULT_MANIFEST,):
        reader.read(path)
        roots |= dict.fromkeys(reader.documents.keys() - roots, path)
    documents = list(reader.documents.values())
    findings = Findings(reader.problems, needs_files=needs_files)
    _check_files(documents, findings)
    chosen = settings or Settings()
    known = variables(documents, chosen, findings)
    found_images = _images(documents, known, findings)
    shared = networks(documents, findings)
    found_nodes = nodes(documents, findings)
    found_fleets = fleets(documents, known, findings)
    merged = _merged(documents, found_fleets, known, findings)
    held = _held(documents, findings, is_wanted=bool(shared or found_nodes))
    given = lease(merged, shared, held, findings) if held else Leased({}, {})
    around = Surroundings(found_images, shared, known, _addresses(merged))
    vms = _vms(documents, merged, around, findings)
    placed = placing.Placed(vms, {})
    if reader.has_read_all:
        on = found_nodes, found_images, documents, _placements(held), chosen.is_rebalanced
        placed = placing.place(vms, placing.Inventory(*on), findings)
        vms = placed.vms
        strangers = check_members(merged, found_fleets, findings)
        checks.check_images(merged, documents, findings, strangers)
        check_named(merged, documents, findings)
        check_derived(found_images, documents, findings)
    checks.check_roots(vms, found_images, findings)
    checks.check_unique(vms, findings)
    checks.check_renames(vms, findings)
    check_networks(shared, vms, documents, findings)
    directory = _store(documents, store, findings)
    caches = cache(documents, findings)
    if findings.problems:
        place = directory if store else _store_of_broken(reader, paths or (DEFAULT_MANIFEST,), directory)
        raise ManifestError(_in_order(findings.problems, documents), place)
    files = tuple(document.path for document in documents)
    warnings = tuple(dict.fromkeys(findings.warnings))  # one of the defaults comes up for every VM
    absent = _in_order(findings.absent, documents)
    vms_by_name = {vm.name: vm for _, vm in vms}
    absolute = {place: root.absolute() for place, root in roots.items()}
    origins = {
        f"{table}.{name}": absolute[place]
        for place, document in reader.documents.items()
        for table in ("vm", "network")
        for name in document.names.get(table, ())
    }
    for fleet in found_fleets:
        root = roots[fleet.document.path.resolve()].absolute()
        origins |= dict.fromkeys((f"vm.{name}" for name in fleet.names), root)
    members = {fleet.name: fleet.names for fleet in found_fleets}
    found = Manifest(
        directory,
        found_images,
        vms_by_name,
        files,
        warnings,
        shared,
        absent,
        origins,
        members,
        given.given | ({leases.PLACEMENT: placed.given} if placed.given else {}),
        given.released | ({leases.PLACEMENT: placed.released} if placed.released else {}),
        caches,
        found_nodes,
        placed.moved,
    )
    return found, tuple(merged), tuple(documents)


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
    found = images_of(document, {document: {}}, findings)
    for problem in findings.problems:
        hint = IMPORT_HINT if problem.hint == RELATIVE_HINT else problem.hint  # no manifest is there
        raise UsageError(_of_option(problem), hint=hint)
    return Manifest(store, found, {})


def _of_option(problem: Problem) -> str:
    """A problem of a key as one of the option that gives it, if one does."""
    key = problem.key.rpartition(".")[2]
    said = problem.message.removeprefix(f"{key} ").removeprefix(f"'{key}' ")
    if said != problem.message and ".rootfs." in problem.key:
        return f"--{key.replace('_', '-')} {said}"
    return f"{problem.key}: {problem.message}" if problem.key else problem.message


def _check_files(documents: Sequence[ManifestFile], findings: Findings) -> None:
    for document in documents:
        findings.problems += form.check(document)
    checks.check_store(documents, findings)
    checks.check_names(documents, findings)


def _images(documents: Sequence[ManifestFile], known: Variables, findings: Findings) -> dict[str, Image]:
    found: dict[str, Image] = {}
    for document in documents:
        found |= images_of(document, known, findings)
    return found


def _merged(
    documents: Sequence[ManifestFile], found: Sequence[Fleet], known: Variables, findings: Findings
) -> list[MergedVM]:
    """Every VM, merged, with what decides its address evaluated; of two with one name the last."""
    merged = {vm.name: vm for vm in merged_vms(documents, found, findings)}
    for vm in merged.values():
        vm.render(TO_LEASE, basics(vm, known))
    return list(merged.values())


def _held(documents: Sequence[ManifestFile], findings: Findings, *, is_wanted: bool) -> Leases | None:
    """What the lock file has leased; it counts only if something can be leased."""
    if not is_wanted or not documents:
        return None
    found = leases.read(documents[0].path.parent / leases.FILE_NAME)
    findings.problems += found.problems
    return found


def _placements(held: Leases | None) -> Mapping[str, leases.Lease]:
    return held.by_table().get(leases.PLACEMENT, {}) if held else {}


def _addresses(merged: Sequence[MergedVM]) -> dict[str, Any]:
    """The addresses of all VMs, without prefix length; of those with a problem what stands for one."""
    tables = ((vm.name, vm.table("network")) for vm in merged)
    return {
        name: str(table["address"]).partition("/")[0] if "address" in table else templates.told()
        for name, table in tables
        if "address" in table or "name" in table
    }


def _vms(
    documents: Sequence[ManifestFile],
    merged: Sequence[MergedVM],
    around: Surroundings,
    findings: Findings,
) -> list[tuple[MergedVM, VM]]:
    """Every VM, typed."""
    builders = {document: VMs(document, around, findings) for document in documents}
    return [(vm, builders[vm.document].build(vm)) for vm in merged]


def _store(documents: Sequence[ManifestFile], given: Path | None, findings: Findings) -> Path:
    if given is None and documents:
        first = documents[0]
        written = first.tree.get("store", {}).get("path", _DEFAULT_STORE)
        place = Location(first, ("store", "path"))
        read = partial(host_path, directory=first.path.parent)
        given = findings.attempt(place, read, written, HostPath(Path(), written)).path
    path = (given or Path(_DEFAULT_STORE)).absolute()
    return path.resolve() if ".." in path.parts else path  # fit to be shown; symlinks before `..` count


def _store_of_broken(reader: ManifestReader, paths: Sequence[Path], found: Path) -> Path | None:
    """Where the store of manifests with problems is; None: the first says so where it can't be parsed."""
    first = reader.documents.get(paths[0].resolve())
    if first is None:
        return (paths[0].parent / _DEFAULT_STORE).absolute()
    return None if not first.tree and _NAMES_STORE.search(first.text) else found


def _in_order(problems: Sequence[Problem], documents: Sequence[ManifestFile]) -> tuple[Problem, ...]:
    """Each problem once, by file in the order of reading, then by line.

    One that stands in the defaults is found again for every VM; of those that the members of a fleet have in
    one place, each its own, only the first few are told.
    """
    rank = {str(document.path): index for index, document in enumerate(documents)}
    ordered = sorted(set(problems), key=lambda p: (rank.get(p.file, -1), p.line, p.key, p.message))
    told: Counter[tuple[str, int, str]] = Counter()
    found = []
    for problem in ordered:
        place = problem.file, problem.line, problem.key
        told[place] += 1
        if told[place] <= _MOST_IN_ONE_PLACE:
            found.append(problem)
    return tuple(_with_others(one, told[one.file, one.line, one.key], found) for one in found)


def _with_others(problem: Problem, count: int, told: Sequence[Problem]) -> Problem:
    """The last problem that is told of a place, with the number of those that are not."""
    if count <= _MOST_IN_ONE_PLACE:
        return problem
    place = problem.file, problem.line, problem.key
    last = [one for one in told if (one.file, one.line, one.key) == place][-1]
    if problem is not last:
        return problem
    return replace(problem, message=f"{problem.message}, and {count - _MOST_IN_ONE_PLACE} more like it")
