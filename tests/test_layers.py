"""The architecture: which part may import which, and the one home of each foreign library.

Every import counts, those inside functions and those for types too. A part is a module of the package or one
of its directories; inside a directory everything may import its neighbours, as long as no modules import each
other in a circle.
"""

from __future__ import annotations

import ast
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(__file__).parents[1] / "bangerbuild"

MAY_IMPORT: dict[str, set[str]] = {
    # the command line and the flow
    "__main__": {"entry"},
    "completion": {"ranges"},
    "entry": {"cli", "completion", "running", "shortages", "uptodate"},
    "cli": {
        "cluster",
        "commands",
        "completion",
        "declared",
        "errors",
        "given",
        "graph",
        "identities",
        "launch",
        "leases",
        "manifest",
        "model",
        "neighbours",
        "pipeline",
        "planning",
        "report",
        "resolving",
        "shortages",
        "running",
        "sources",
        "store",
        "uptodate",
    },
    "cluster": {
        "commands",
        "declared",
        "errors",
        "fetch",
        "formats",
        "graph",
        "host",
        "leases",
        "model",
        "modes",
        "pipeline",
        "report",
        "resolving",
        "sources",
        "tree",
    },
    "pipeline": {
        "cache_registry",
        "declared",
        "errors",
        "execute",
        "graph",
        "manifest",
        "model",
        "neighbours",
        "planning",
        "resolving",
        "shares",
        "sources",
        "steps",
        "store",
        "uptodate",
    },
    "bill": {"errors"},
    "commands": {
        "bill",
        "cache_registry",
        "declared",
        "disk",
        "errors",
        "execute",
        "fetch",
        "graph",
        "guest",
        "host",
        "identities",
        "launch",
        "leases",
        "manifest",
        "model",
        "neighbours",
        "pipeline",
        "planning",
        "report",
        "resolving",
        "running",
        "shares",
        "sources",
        "steps",
        "store",
        "tree",
    },
    "running": {"disk", "errors", "host", "launch", "tree", "uptodate"},
    "uptodate": {
        "declared",
        "disk",
        "errors",
        "given",
        "host",
        "keyed",
        "manifest",
        "model",
        "report",
        "resolving",
        "store",
    },
    "report": {"errors", "graph", "model"},
    # the core: sees steps, never a kind of step, of source or of disk format
    "shares": {"declared", "errors", "graph", "model", "neighbours"},
    "planning": {"disk", "epoch", "errors", "formats", "graph", "host", "keyed", "model", "store"},
    "execute": {"disk", "epoch", "errors", "formats", "host", "model", "shortages", "store"},
    "graph": {"errors", "model", "neighbours"},
    "store": {"disk", "errors", "host", "keyed", "model", "shortages"},
    # what is declared, what it stands for, and what is made of it
    "manifest": {
        "cache_registry",
        "declared",
        "disk",
        "errors",
        "host",
        "leases",
        "model",
        "modes",
        "neighbours",
        "packing",
        "ranges",
        "sources",
    },
    "resolving": {
        "declared",
        "disk",
        "epoch",
        "errors",
        "host",
        "leases",
        "model",
        "planning",
        "sources",
        "store",
    },
    "leases": {"errors", "host"},
    "cache_registry": {"disk", "errors", "fetch", "formats", "host", "model", "store"},
    "sources": {
        "disk",
        "errors",
        "fetch",
        "formats",
        "host",
        "identities",
        "kernel",
        "model",
        "tree",
        "virtual_disk",
    },
    "steps": {
        "bridging",
        "declared",
        "disk",
        "epoch",
        "errors",
        "formats",
        "guest",
        "host",
        "kernel",
        "launch",
        "model",
        "sources",
        "tree",
    },
    # mechanisms: know nothing of steps or manifests
    "guest": {"declared", "errors", "neighbours", "tree"},
    "kernel": {"disk", "errors", "formats", "tree"},
    "launch": {"declared", "disk"},
    "bridging": {"launch"},
    "formats": {"errors", "host", "modes", "tree"},
    "virtual_disk": {"disk", "errors", "formats", "host", "tree"},
    "fetch": {"errors", "formats", "host", "identities"},
    "disk": {"errors", "formats", "host", "tree"},
    "host": {"errors"},
    # values
    "epoch": set(),
    "modes": set(),
    "neighbours": set(),
    "packing": set(),
    "ranges": set(),
    "declared": {"errors", "model", "modes", "sources"},
    "model": {"epoch", "errors", "formats", "host"},
    "tree": set(),
    "errors": {"identities", "shortages"},
    "given": set(),
    "identities": set(),
    "keyed": set(),
    "shortages": set(),
}

HOMES = {
    "click": {"cli"},
    "ctypes": {"disk.durable", "disk.libext2fs", "host.supervisor", "running.kvm"},
    "distributed": {"cluster.scheduler"},
    "jinja2": {"manifest.templates"},
    "jsonschema": {"manifest.form"},
    "networkx": {"graph"},
    "pathspec": {"manifest.values", "formats.directory"},
    "sqlite3": {"store"},
    "subprocess": {"host.process"},
    "tomli_w": {"resolving.lockfile"},
    "tomllib": {"host.toml"},
    "lz4": {"formats.lz4_block"},
    "urllib3": {"fetch.connection"},
    "zstandard": {"formats.compression"},
}

MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def imported(tree: ast.AST) -> Iterator[str]:
    """Dotted names of all that is imported; `from a import b` may mean a module `a.b`."""
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                yield from (f"{'.' * level}{module or ''}.{alias.name}" for alias in names)


@cache
def imports_of(module: str) -> set[str]:
    return set(imported(ast.parse(MODULES[module].read_text(encoding="utf-8"))))


def part(module: str) -> str:
    return module.partition(".")[0]


def own_parts(module: str) -> set[str]:
    """The parts of this package that a module imports, its own apart."""
    return {part(name) for name in own_imports(module)} - {part(module)}


@cache
def own_imports(module: str) -> set[str]:
    """The modules of this package that a module imports."""
    names = {name.removeprefix("bangerbuild.") for name in imports_of(module) if "bangerbuild." in name}
    return {found for name in names if (found := nearest_module(name))} - {module}


def nearest_module(name: str) -> str:
    """The module that a dotted name lies in: `disk.ext4.Filesystem` lies in `disk.ext4`."""
    while name and name not in MODULES:
        name = name.rpartition(".")[0]
    return name


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"__init__"}))
def test_a_module_imports_only_what_its_part_may(module: str) -> None:
    assert own_parts(module) <= MAY_IMPORT[part(module)]


def test_every_part_has_its_line_in_the_table_and_every_line_its_part() -> None:
    assert {part(module) for module in MODULES} - {"__init__"} == set(MAY_IMPORT)


def test_every_permission_is_used() -> None:
    used: dict[str, set[str]] = {name: set() for name in MAY_IMPORT}
    for module in set(MODULES) - {"__init__"}:
        used[part(module)] |= own_parts(module)
    assert {name: MAY_IMPORT[name] - used[name] for name in used if MAY_IMPORT[name] - used[name]} == {}


def test_imports_point_down_only() -> None:
    """A cycle would raise CycleError."""
    order = list(TopologicalSorter(MAY_IMPORT).static_order())
    assert order[-1] == "__main__"


def test_no_modules_import_each_other_in_a_circle() -> None:
    """What a package's `__init__` imports counts as its own; that a module lies in it does not."""
    list(TopologicalSorter({module: own_imports(module) for module in MODULES}).static_order())


def test_imports_are_absolute_so_that_they_can_be_read_here() -> None:
    assert [module for module in MODULES if any(name.startswith(".") for name in imports_of(module))] == []


@pytest.mark.parametrize("library", HOMES)
def test_a_library_has_one_home(library: str) -> None:
    importers = {
        module for module in MODULES if any(name.split(".")[0] == library for name in imports_of(module))
    }
    homes = HOMES[library]
    assert importers
    assert [
        module
        for module in importers
        if not any(module == home or module.startswith(f"{home}.") for home in homes)
    ] == []


@pytest.mark.parametrize(
    "module", ["graph", "planning.plan", "execute", "execute.workspace", "store", "model.fingerprint"]
)
def test_the_heart_never_sees_a_kind_of_step(module: str) -> None:
    text = MODULES[module].read_text(encoding="utf-8")
    assert "steps" not in {part(name.removeprefix("bangerbuild.")) for name in imports_of(module)}
    assert ".kind ==" not in text


@pytest.mark.parametrize("source", ["import a", "def f():\n  import a", "try:\n  import a\nfinally: pass"])
def test_the_walk_finds_imports_wherever_they_stand(source: str) -> None:
    assert list(imported(ast.parse(source))) == ["a"]


def test_the_walk_finds_what_is_imported_for_annotations_only() -> None:
    source = "if TYPE_CHECKING:\n  import a\nelse:\n  from b import c"
    assert list(imported(ast.parse(source))) == ["a", "b.c"]


def test_the_table_of_the_architecture_goes_from_top_to_bottom() -> None:
    text = (PACKAGE.parent / "ARCHITECTURE.md").read_text()
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    place = {
        name.strip(" `").removesuffix("/").removesuffix(".py"): number
        for number, row in enumerate(rows)
        for name in row.split(",")
    }
    assert len(place) > 20
    above = [
        (part, other)
        for part, others in MAY_IMPORT.items()
        for other in others
        if part in place and other in place and place[other] < place[part]
    ]
    assert above == []
