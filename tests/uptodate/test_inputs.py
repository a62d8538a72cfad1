"""Nothing is forgotten: what a plan looks at on the host is among its grounds."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import bangerbuild
from bangerbuild import pipeline, store
from bangerbuild.uptodate import check, grounds, record
from tests.conftest import PROJECT
from tests.fakes import RecordingReporter
from tests.uptodate.project import AT_ONCE, Project

if TYPE_CHECKING:
    from bangerbuild.model import Plan

PACKAGE = Path(bangerbuild.__file__).parent
OWN = ("/proc", "/sys", "/dev", f"{sys.base_prefix}/share/locale")
EXCLUDED = {"build.log", "ignored"}
"""Looked at only for whether they are directories; one that became one is a new entry where it lies."""
LIBRARIES = [Path(path) for path in sys.path if path and Path(path) != PROJECT]
HELPERS = {"setpriv"}
"""Programs that decide how others are run, and nothing that is planned."""


def looked_at(project: Project) -> set[Path]:
    """What a run with nothing to do looks at outside of its store and of what it is made of."""
    command = [sys.executable, "-m", "tests.uptodate.watch", "apply", "-q", *project.arguments]
    environment = os.environ | {"PYTHONPATH": str(PROJECT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    apart = (project.store, Path(os.environ["XDG_CACHE_HOME"]), *map(Path, OWN), *LIBRARIES)
    paths = {Path(line) for line in done.stdout.splitlines() if "__pycache__" not in line}
    return {
        path
        for path in paths
        if not any(path.is_relative_to(one) for one in apart) and path.name not in HELPERS | EXCLUDED
    }


def remembered(project: Project) -> record.RunRecord:
    found = record.found(project.asked().key)
    assert found is not None
    return found


def grounds_of(project: Project) -> set[Path]:
    found = remembered(project)
    known = {project.path / path for path in (*found.followed[0], *found.links[0])}
    return known | {Path(os.path.normpath(path)) for path in known}


def test_whatever_a_plan_looks_at_is_remembered_or_leads_there(built: Project) -> None:
    seen = looked_at(built)
    known = grounds_of(built)
    above = {parent for path in known for parent in path.parents}
    assert {built.path / "vm.toml", built.home / "profile", built.path / "dotfiles/vim/deep"} <= seen
    assert seen - known - above == set()


def test_so_it_is_for_a_part(project: Project) -> None:
    part = replace(project, arguments=("--target", "vm.boxed"))
    part.apply()
    known = grounds_of(part)
    assert looked_at(part) - known - {parent for path in known for parent in path.parents} == set()


def test_all_of_this_program_is_remembered(built: Project) -> None:
    assert set(PACKAGE.rglob("*.py")) <= grounds_of(built)


def test_libext2fs_and_mke2fs_are_remembered(built: Project) -> None:
    names = {path.name.partition(".")[0] for path in grounds_of(built)}
    assert {"libext2fs", "libcom_err", "mke2fs"} <= names


def test_every_artifact_is_remembered(built: Project) -> None:
    files = {
        str(path.relative_to(built.store))
        for top in ("images", "vms")
        for path in (built.store / top).rglob("*")
        if path.is_file()
    }
    assert files <= set(remembered(built).marks[0])


def test_every_variable_that_the_package_reads_is_known_to_matter_or_not() -> None:
    """Whoever reads another one has to say here whether a plan may depend on it."""
    readers = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if "environ" in path.read_text() or "expanduser" in path.read_text()
    }
    plans = {"pipeline.py", "manifest/values.py", "manifest/files.py", "process.py"}
    only_look_up_libraries = {
        "uptodate/programs.py",
        "uptodate/check.py",
        "uptodate/command.py",
        "uptodate/record.py",
    }
    only_print = {"reporters.py", "cli/output.py"}
    only_name_a_source_on_the_command_line = {"manifest/filesystem.py"}
    only_fetch = {
        "collect.py",
        "doctor.py",
        "fetch/cache.py",
        "fetch/chroot.py",
        "fetch/connection.py",
        "fetch/mmdebstrap.py",
        "remote/means.py",
        "remote/registry.py",
        "sources/oci/skopeo.py",
    }
    assert readers == (
        plans | only_look_up_libraries | only_print | only_name_a_source_on_the_command_line | only_fetch
    )


@pytest.mark.parametrize("variable", check.VARIABLES)
def test_a_variable_that_matters_ends_the_answer(
    built: Project, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "1700000000")
    assert not built.is_current()


def test_another_user_gets_no_answer(built: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    groups = [*os.getgroups(), 4711]
    monkeypatch.setattr(os, "getgroups", lambda: groups)
    assert not built.is_current()


def test_another_directory_gets_none(built: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(built.path / "more")
    assert record.found(built.asked().key) is None


@pytest.mark.parametrize(("age_ns", "is_ground"), [(grounds.TICK_NS - 1, False), (grounds.TICK_NS + 1, True)])
def test_a_file_so_young_that_it_may_change_unseen_is_no_ground(
    project: Project, age_ns: int, *, is_ground: bool
) -> None:
    (project.path / "vm.toml").touch()
    whole = pipeline.load(project.request(), lambda _: None)
    loaded, wanted = whole.manifest, whole.wanted
    begun_ns = (project.path / "vm.toml").stat().st_ctime_ns + age_ns
    assert (grounds.look(project.request(), loaded, wanted, begun_ns) is not None) == is_ground


class Meddler(RecordingReporter):
    """Edits a file as soon as the plan is made."""

    def planned(self, plan: Plan) -> None:  # noqa: ARG002  # that it was made is enough
        Path("dotfiles/vimrc").write_text("set compatible\n")


def test_what_changes_after_it_was_planned_is_not_taken_for_what_was(built: Project) -> None:
    (built.path / "bangerbuild.lock").write_text("version = 1\n")
    time.sleep(0.03)
    pipeline.apply(built.request(), AT_ONCE, Meddler(), lambda _: None)
    assert not built.is_current()
    assert not built.is_to_be_kept()


def test_nothing_is_taken_down_while_somebody_else_is_at_work_in_the_store(project: Project) -> None:
    with store.writing(project.store, timeout_seconds=0):
        project.apply()
    assert record.found(project.asked().key) is None
    project.apply()
    assert project.is_current()


def test_what_changes_after_it_was_loaded_is_not_either(
    built: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = pipeline.load

    def meddled(*arguments: object) -> object:
        loaded = load(*arguments)  # type: ignore[arg-type]  # passed through
        with Path("vm.toml").open("a") as file:
            file.write('[vm.more]\nimage = "tree"\n')
        return loaded

    (built.path / "bangerbuild.lock").write_text("version = 1\n")
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "load", meddled)
        built.apply()
    assert not built.is_current()
    assert not built.is_to_be_kept()
