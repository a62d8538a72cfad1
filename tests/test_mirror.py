"""The tests mirror the package: a module's tests are in the file of its name, in the folder of its folder."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "bangerbuild"

ELSEWHERE = {
    "__init__.py": "the public names, which tests/test_api.py imports",
    "__main__.py": "what `python -m bangerbuild` runs; the `cli` fixture starts it so",
    "cli/completing.py": "tests/completion/test_shells.py runs it in real shells",
    **{
        f"cluster/{name}.py": "tests/cluster/test_running.py has whole runs over a network in memory"
        for name in ("child", "digests", "dispatch", "dividing", "gathering", "listing", "share", "worker")
    },
    "cluster/addresses.py": "tests/cli/test_clustering.py gives addresses that no cluster has",
    "cluster/events.py": "tests/cluster/test_documents.py sends every event there and back",
    "cluster/kept_files.py": "tests/cluster/test_host_files.py keeps what is sent",
    "cluster/scheduler.py": "tests/cluster/test_cluster.py has a real one, and workers that are killed",
    "cluster/transport.py": "a Protocol; cluster/scheduler.py is the one that people use",
    "completion/names.py": "tests/completion/test_answering.py has all that it completes",
    "declared/__init__.py": "plain values, compared in the tests of the manifest, which makes them",
    "disk/formats/format.py": "a Protocol; the tests of each format call what it asks for",
    "disk/formats/over_base.py": "abstract; the tests of snapshot and qcow2 beside it go through all of it",
    "disk/overlay.py": "abstract; the tests of the stores of snapshots and of qcow2 go through all of it",
    "disk/formats/values.py": "plain values, compared in the tests of the formats and of launch",
    "disk/beside.py": "names of files, which the tests of patches and growths look for",
    "disk/ledger_lines.py": "tests/steps/test_ledger.py writes such lines, and compares them with guests",
    "disk/opened.py": "a Protocol; disk/ext4.py has the filesystem that most formats open",
    "disk/inode_flags.py": "numbers of the kernel's headers",
    "disk/libext2fs/__init__.py": "the names of its modules",
    "formats/format_error.py": "an error without more to it",
    **{
        f"formats/squashfs/{name}.py": "test_image.py beside it reads whole images through it"
        for name in (
            *("attributes", "compressors", "content", "directories", "inodes"),
            *("metadata", "stream", "superblock", "walk"),
        )
    },
    "formats/oci/mediatypes.py": "names from the specification",
    "guest/view.py": "a Protocol; tests/guest/view.py is a guest made of a dict",
    "launch/session.py": "plain values, compared in the tests of the VMMs beside it",
    "model/__init__.py": "the names of its modules",
    "model/content.py": "plain values, compared in the tests of the sources, which make them",
    "model/image_cache.py": "plain values, and a Protocol; cache_registry/lookup.py is the one cache",
    "model/recovered.py": "plain values, compared in the tests of planning/recovering.py, which makes them",
    "model/host.py": "a Protocol; planning/host.py is the one host",
    "model/reporter.py": "Protocols, and a reporter that says nothing; the tests have one of their own",
    "model/step.py": "a Protocol; the tests of each step call what it asks for",
    "pipeline/__init__.py": "the names of its modules",
    "pipeline/belonging.py": "tests/planning has its whole runs, in test_origins.py and test_renames.py",
    "pipeline/locking.py": "tests/cli/test_locking.py and tests/commands/test_recover.py run it",
    "pipeline/reviewing.py": "tests/cli/test_saved_plans.py saves plans, and has runs held to them",
    "ranges.py": "tests/manifest/test_ranges.py compares it with bash",
    "steps/startable.py": "tests/running/test_touched.py compares disks with what it gives",
    "steps/step_kind.py": "a Protocol; tests/steps/test_steps.py goes through the registry of its kinds",
    "model/workspace.py": "Protocols; execute/workspace.py is the one workspace",
}
"""Modules that hold nothing to be tested by itself, and why."""


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
    assert has_one != (module in ELSEWHERE), modules()[module]


def test_the_list_names_modules_that_there_are() -> None:
    assert ELSEWHERE.keys() <= modules().keys()
