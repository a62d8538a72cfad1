"""What does the work is recorded: this program, the packages and libraries that it uses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bangerbuild.manifest.form import SCHEMAS
from bangerbuild.uptodate import programs
from bangerbuild.uptodate.check import PACKAGE
from tests import PROJECT
from tests.uptodate.project import Project, recorded


def test_all_of_this_program_is_remembered(built: Project) -> None:
    assert set(Path(PACKAGE).rglob("*.py")) <= recorded(built)


def test_libext2fs_and_mke2fs_are_remembered(built: Project) -> None:
    names = {path.name.partition(".")[0] for path in recorded(built)}
    assert {"libext2fs", "libcom_err", "mke2fs"} <= names


def test_the_schema_and_the_directories_of_packages_are_among_them() -> None:
    known = set(programs.paths())
    assert set(map(str, SCHEMAS)) <= known
    assert {path for path in sys.path if path.endswith("site-packages")} <= known


@pytest.fixture
def libraries(tmp_path: Path) -> list[Path]:
    """Four directories: an empty one, one whose file of the name can't be run, and two with the library."""
    directories = [tmp_path / name for name in ("a", "b", "c", "d")]
    for directory in directories:
        directory.mkdir()
    for directory, mode in zip(directories[1:], (0o644, 0o755, 0o755), strict=True):
        (directory / "lib.so").touch()
        (directory / "lib.so").chmod(mode)
    return directories


def test_where_a_library_is_not_found_counts_up_to_where_it_is(libraries: list[Path]) -> None:
    search = os.pathsep.join(map(str, libraries))
    assert list(programs._candidates(search, "lib.so")) == [str(path / "lib.so") for path in libraries[:3]]
    assert list(programs._candidates(search, "other.so")) == [str(path / "other.so") for path in libraries]


def test_a_process_that_has_no_library_of_e2fsprogs_depends_on_none() -> None:
    script = "from bangerbuild.uptodate import programs; print(*programs._mapped(), sep='\\n')"
    environment = os.environ | {"PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.strip() == ""
