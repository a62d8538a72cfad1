"""The tests mirror the package: a module's tests are in the file of its name, in the folder of its folder."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "bangerbuild"

ELSEWHERE = {
    "__init__.py": "a docstring and the version",
    "__main__.py": "what `python -m bangerbuild` runs; the `cli` fixture starts it so",
    "errors.py": "classes of errors; tests of what raises them compare them",
    "model.py": "nouns and Protocols, compared in the tests of all that makes them",
    "tree.py": "values, compared in the tests of all that makes or reads trees",
    "disk/libext2fs/__init__.py": "the names of its modules",
    "disk/inode_flags.py": "numbers of the kernel's headers",
    "formats/format_error.py": "an error without more to it",
    "formats/oci/mediatypes.py": "names from the specification",
}
"""Modules that hold nothing to be tested by itself, and why."""

UNTESTED_YET = {
    "cli/options.py",
    "cli/output.py",
    "cli/upkeep.py",
    "commands/dependents.py",
    "commands/image_list.py",
    "commands/verify/__init__.py",
    "commands/verify/artifacts.py",
    "commands/verify/check.py",
    "commands/verify/rebuild.py",
    "declared/__init__.py",
    "disk/replay.py",
    "execute/recheck.py",
    "execute/workspace.py",
    "store/__init__.py",
}
"""Modules with logic that only the tests of other modules run. Take out what gets a file; add nothing."""


def modules() -> dict[str, str]:
    """Each module of the package, and the file that holds its tests."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        module = path.relative_to(PACKAGE)
        name = module.parent.name if module.name == "__init__.py" else module.stem
        found[str(module)] = str(module.with_name(f"test_{name}.py"))
    return found


def is_a_docstring(module: str) -> bool:
    """Whether there is nothing else in it."""
    return len(ast.parse((PACKAGE / module).read_text()).body) == 1


@pytest.mark.parametrize("module", [module for module in modules() if not is_a_docstring(module)])
def test_a_module_has_a_test_file_of_its_name(module: str) -> None:
    has_one = (TESTS / modules()[module]).exists()
    assert has_one != (module in ELSEWHERE.keys() | UNTESTED_YET), modules()[module]


def test_the_lists_name_modules_that_there_are() -> None:
    assert ELSEWHERE.keys() | UNTESTED_YET <= modules().keys()
