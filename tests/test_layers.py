"""The architecture: which part may import which, and the one home of each foreign library.

Every import counts, those inside functions too; only what stands under `if TYPE_CHECKING` does not. A part is
a module of the package or one of its directories; inside a directory everything may import its neighbours.
"""

from __future__ import annotations

import ast
from functools import lru_cache
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(__file__).parents[1] / "bangerbuild"

MAY_IMPORT: dict[str, set[str]] = {
    # the command line and the flow
    "__main__": {"cli"},
    "cli": {
        "apply",
        "browse",
        "collect",
        "destroy",
        "doctor",
        "errors",
        "graph",
        "manifest",
        "model",
        "report",
        "reporters",
        "spec",
        "status",
        "store",
        "stored_images",
        "verify",
    },
    "apply": {
        "errors",
        "execute",
        "graph",
        "host",
        "manifest",
        "model",
        "pinning",
        "pins",
        "plan",
        "steps",
        "store",
    },
    "pinning": {"host", "lockfile", "pins", "remote", "store"},
    "reporters": {"model", "report"},
    "report": {"model"},
    "status": {"disk", "model", "report"},
    "stored_images": {"errors", "lockfile", "report"},
    "doctor": {"disk", "errors", "fetch", "host", "process", "report"},
    "collect": {
        "apply",
        "dependents",
        "disk",
        "fetch",
        "graph",
        "host",
        "model",
        "plan",
        "report",
        "store",
    },
    "destroy": {"apply", "dependents", "disk", "errors", "graph", "launch", "report", "steps", "store"},
    "dependents": {"fingerprint", "launch", "store"},
    "verify": {
        "apply",
        "disk",
        "errors",
        "execute",
        "graph",
        "host",
        "locks",
        "model",
        "plan",
        "process",
        "report",
        "steps",
        "store",
        "tree",
    },
    "browse": {"disk", "errors", "store", "tree"},
    # the heart: sees steps, never a kind of step
    "plan": {"errors", "fingerprint", "graph", "model"},
    "execute": {"errors", "model", "process", "store", "workspace"},
    "workspace": {"disk", "errors", "model", "store", "templates"},
    "templates": {"disk", "model"},
    "graph": {"errors"},
    "fingerprint": {"model", "spec"},
    "store": {"disk", "errors", "fingerprint", "locks"},
    "locks": {"errors"},
    "host": {"disk", "errors", "process", "sources"},
    # what is made
    "manifest": {"errors", "sources", "spec"},
    "pins": {"errors", "lockfile", "spec"},
    "lockfile": {"errors", "spec"},
    "steps": {
        "disk",
        "errors",
        "fetch",
        "guest",
        "kernel",
        "launch",
        "model",
        "pins",
        "process",
        "remote",
        "sources",
        "spec",
        "tree",
    },
    "remote": {"errors", "fetch", "model", "sources", "spec"},
    # mechanisms: know nothing of steps or manifests
    "guest": {"errors", "spec", "tree"},
    "kernel": {"errors", "sources", "tree"},
    "launch": set(),
    "sources": {"errors", "process", "tree"},
    "fetch": {"errors", "process", "sources"},
    "disk": {"errors", "process", "tree"},
    "process": {"errors"},
    # values
    "model": set(),
    "spec": set(),
    "tree": set(),
    "errors": set(),
}

HOMES = {
    "click": {"cli"},
    "ctypes": {"disk.durable", "disk.libext2fs"},
    "jsonschema": {"manifest.form"},
    "networkx": {"graph"},
    "pathspec": {"manifest.values", "sources.directory"},
    "rich": {"reporters"},
    "sqlite3": {"store"},
    "subprocess": {"process"},
    "tomli_w": {"lockfile"},
    "tomllib": {"lockfile", "manifest"},
    "lz4": {"kernel.lz4"},
    "urllib3": {"fetch.connection"},
    "zstandard": {"sources.compression"},
}

MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def imported(tree: ast.AST) -> Iterator[str]:
    """Dotted names of all that is imported at run time; `from a import b` may mean a module `a.b`."""
    match tree:
        case ast.Import(names=names):
            yield from (alias.name for alias in names)
        case ast.ImportFrom(module=module, names=names, level=level):
            yield from (f"{'.' * level}{module or ''}.{alias.name}" for alias in names)
        case ast.If(test=ast.Name("TYPE_CHECKING"), orelse=others):
            for other in others:
                yield from imported(other)
        case _:
            for child in ast.iter_child_nodes(tree):
                yield from imported(child)


@lru_cache
def imports_of(module: str) -> set[str]:
    return set(imported(ast.parse(MODULES[module].read_text(encoding="utf-8"))))


def part(module: str) -> str:
    return module.partition(".")[0]


def own_parts(module: str) -> set[str]:
    """The parts of this package that a module imports, its own apart."""
    names = {
        name.removeprefix("bangerbuild.") for name in imports_of(module) if name.startswith("bangerbuild.")
    }
    return {part(name) for name in names} - {part(module), "__version__"}


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


@pytest.mark.parametrize("module", ["graph", "plan", "execute", "workspace", "store", "fingerprint"])
def test_the_heart_never_sees_a_kind_of_step(module: str) -> None:
    text = MODULES[module].read_text(encoding="utf-8")
    assert "steps" not in {part(name.removeprefix("bangerbuild.")) for name in imports_of(module)}
    assert ".kind ==" not in text


@pytest.mark.parametrize("source", ["import a", "def f():\n  import a", "try:\n  import a\nfinally: pass"])
def test_the_walk_finds_imports_wherever_they_stand(source: str) -> None:
    assert list(imported(ast.parse(source))) == ["a"]


def test_the_walk_leaves_out_what_is_imported_for_annotations_only() -> None:
    source = "if TYPE_CHECKING:\n  import a\nelse:\n  from b import c"
    assert list(imported(ast.parse(source))) == ["b.c"]
