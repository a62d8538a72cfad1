"""Nothing is forgotten: what a plan looks at on the host is noted before it is read, and recorded."""

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
from bangerbuild import manifest, pipeline, steps, store
from bangerbuild.formats.hostentry import TreeRules
from bangerbuild.formats.hostfile import opened_file
from bangerbuild.host import process
from bangerbuild.manifest.form import SCHEMAS
from bangerbuild.model import Source
from bangerbuild.planning import host
from bangerbuild.uptodate import basis, record
from tests import PROJECT
from tests.fakes import FakeStep, RecordingReporter
from tests.uptodate.project import AT_ONCE, Project, recorded
from tests.uptodate.watch import UNNOTED

if TYPE_CHECKING:
    from collections.abc import Callable

    from bangerbuild.model import Plan

PACKAGE = Path(bangerbuild.__file__).parent
OWN = ("/proc", "/sys", "/dev", f"{sys.base_prefix}/share/locale")
EXCLUDED = {"build.log", "ignored"}
"""Looked at only for whether they are directories; one that became one is a new entry where it lies."""
LIBRARIES = [Path(path) for path in sys.path if path and Path(path) != PROJECT]
HELPERS = {"setpriv"}
"""Programs that decide how others are run, and nothing that is planned."""


def looked_at(project: Project) -> tuple[set[Path], set[Path]]:
    """What a run with nothing to do looks at outside of its store and of what it is made of.

    The second set is what is opened or listed without having been noted before.
    """
    command = [sys.executable, "-m", "tests.uptodate.watch", "apply", "-q", *project.arguments]
    environment = os.environ | {"PYTHONPATH": str(PROJECT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    apart = (project.store, Path(os.environ["XDG_CACHE_HOME"]), *map(Path, OWN), *LIBRARIES)
    lines = [line for line in done.stdout.splitlines() if "__pycache__" not in line]
    unnoted = {Path(line.removeprefix(UNNOTED)) for line in lines if line.startswith(UNNOTED)}
    imported = {path for path in unnoted if path.is_relative_to(PACKAGE) or path in SCHEMAS}
    imported |= {PROJECT, project.path}  # listed by the interpreter, which looks for modules there

    def inputs(paths: set[Path]) -> set[Path]:
        return {
            path
            for path in paths
            if not any(path.is_relative_to(one) for one in apart) and path.name not in HELPERS | EXCLUDED
        }

    return inputs({Path(line) for line in lines if not line.startswith(UNNOTED)}), inputs(unnoted - imported)


def test_whatever_a_plan_looks_at_is_remembered_or_leads_there(built: Project) -> None:
    seen, unnoted = looked_at(built)
    known = recorded(built)
    above = {parent for path in known for parent in path.parents}
    assert {built.path / "vm.toml", built.home / "profile", built.path / "dotfiles/vim/deep"} <= seen
    assert seen - known - above == set()
    assert unnoted == set()


PARTS = {
    "a part": ("--target", "vm.boxed"),
    "a part without containers": ("--target", "vm.raw"),
    "without questions": ("--locked", "--offline"),
}


@pytest.mark.parametrize("arguments", PARTS.values(), ids=PARTS)
def test_so_it_is_whatever_is_asked_for(built: Project, arguments: tuple[str, ...]) -> None:
    part = replace(built, arguments=arguments)
    part.apply()
    known = recorded(part)
    seen, unnoted = looked_at(part)
    assert seen - known - {parent for path in known for parent in path.parents} == set()
    assert unnoted == set()


def test_where_a_users_home_is_looked_up_is_recorded(project: Project) -> None:
    text = (project.path / "vm.toml").read_text()
    (project.path / "vm.toml").write_text(text.replace("~/profile", "~root/../etc/hostname"))
    project.apply()
    assert Path("/etc/passwd") in recorded(project)


def notes_in(path: Path) -> str:
    with opened_file(path, path.name) as file:
        return file.read().decode()


def file_source(path: Path) -> FakeStep:
    (path / "notes").write_text("one")
    return FakeStep("image.notes.text", sources=(Source("notes", path / "notes", "notes"),))


def tree_source(path: Path) -> FakeStep:
    (path / "deep/below").mkdir(parents=True)
    (path / "deep/below/notes").write_text("one")
    return FakeStep("image.notes.text", sources=(Source("notes", path / "deep", "deep", TreeRules()),))


def tool(path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeStep:
    (path / "notes").write_text("one")
    monkeypatch.setitem(host.VERSIONS, "notes", lambda: notes_in(path / "notes"))
    return FakeStep("image.notes.text", tools=("notes",))


READS = {"notes": "file", "deep/below/notes": "tree", "./notes": "tool"}


@pytest.mark.parametrize(("name", "sort"), READS.items(), ids=READS.values())
def test_what_only_a_new_kind_of_step_reads_is_recorded_without_a_word_of_it_here(
    project: Project, monkeypatch: pytest.MonkeyPatch, name: str, sort: str
) -> None:
    """A kind of step, a source and a tool that no other code knows: a change of what they read is noticed."""
    makers: dict[str, Callable[[Path], FakeStep]] = {
        "file": file_source,
        "tree": tree_source,
        "tool": lambda path: tool(path, monkeypatch),
    }
    step = replace(makers[sort](project.path), outputs=("images/notes",))
    declare = steps.declare
    monkeypatch.setattr(steps, "declare", lambda manifest: (*declare(manifest), step))
    project.apply()
    assert project.is_current()
    (project.path / name).write_text("two")
    assert not project.is_current()
    project.apply()
    assert project.is_current()


def test_a_program_that_comes_before_the_one_that_was_found_ends_the_answer(
    built: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = tmp_path / "programs"
    first.mkdir()
    monkeypatch.setattr(process, "SEARCH_PATH", f"{first}{os.pathsep}{process.SEARCH_PATH}")
    time.sleep(0.03)
    (built.path / "vm.toml").touch()
    built.apply()
    assert built.is_current()
    (first / "mke2fs").symlink_to(process.find("mke2fs"))
    assert not built.is_current()


def test_every_variable_that_the_package_reads_is_known_to_matter_or_not() -> None:
    """Whoever reads another one has to say here whether a plan may depend on it."""
    readers = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if "environ" in path.read_text() or "expanduser" in path.read_text()
    }
    plans = {"model/request.py", "host/home.py", "host/process.py", "host/search.py"}
    only_look_up_libraries = {
        "uptodate/programs.py",
        "uptodate/check.py",
        "uptodate/command.py",
        "uptodate/record.py",
    }
    note_what_they_read = {"host/observed.py", "host/secrets.py"}
    only_print = {"report/display.py", "report/reporters.py", "report/github.py", "cli/output.py"}
    only_say_so_to_a_guest = {"sources/entrypoint.py", "sources/container_tools.py"}
    only_fetch = {
        "cache_registry/blobs.py",
        "cache_registry/cleaning.py",
        "cache_registry/download.py",
        "cache_registry/lookup.py",
        "cache_registry/upload.py",
        "commands/gc.py",
        "commands/doctor.py",
        "fetch/cache.py",
        "fetch/connection.py",
        "fetch/foreign_files.py",
        "fetch/image_builders.py",
        "fetch/mmdebstrap.py",
        "fetch/mmdebstrap_program.py",
        "formats/oci/skopeo.py",
        "sources/container_registry.py",
        "sources/source.py",
    }
    only_work_on_clusters = {  # which no record answers for
        "cluster/child.py",
        "cluster/digests.py",
        "cluster/kept_files.py",
        "cluster/scheduler.py",
        "cluster/worker.py",
    }
    only_start = {"host/supervisor.py", "running/at_once.py"}
    only_ask_where_the_cache_is = {  # another cache has another record
        "host/remembered.py",
        "sources/dockerfile.py",
    }
    only_complete = {"completion/names.py"}
    assert readers == (
        plans
        | only_complete
        | note_what_they_read
        | only_look_up_libraries
        | only_print
        | only_say_so_to_a_guest
        | only_fetch
        | only_start
        | only_work_on_clusters
        | only_ask_where_the_cache_is
    )


@pytest.mark.parametrize(("age_ns", "is_settled"), [(basis.TICK_NS - 1, False), (basis.TICK_NS + 1, True)])
def test_a_file_so_young_that_it_may_change_unseen_is_not_recorded(
    project: Project, age_ns: int, *, is_settled: bool
) -> None:
    (project.path / "vm.toml").touch()
    looked_at = basis.Basis((project.path / "vm.toml").stat().st_ctime_ns + age_ns)
    with looked_at.recording():
        manifest.load(project.request().manifests)
    assert looked_at.is_settled() == is_settled


class Meddler(RecordingReporter):
    """Edits a file as soon as the plan is made."""

    def planned(self, plan: Plan) -> None:  # noqa: ARG002  # that it was made is enough
        Path("dotfiles/vimrc").write_text("set compatible\n")


def test_what_changes_after_it_was_planned_is_not_taken_for_what_was(built: Project) -> None:
    (built.path / "bangerbuild.lock").write_text("version = 1\n")
    time.sleep(0.03)
    pipeline.apply(
        pipeline.load_request(built.request(), lambda _: None), options=AT_ONCE, reporter=Meddler()
    )
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
    load = pipeline.load_request

    def meddled(*arguments: object) -> object:
        loaded = load(*arguments)  # type: ignore[arg-type]  # passed through
        with Path("vm.toml").open("a") as file:
            file.write('[vm.more]\nimage = "tree"\n')
        return loaded

    (built.path / "bangerbuild.lock").write_text("version = 1\n")
    with monkeypatch.context() as patch:
        patch.setattr(pipeline, "load_request", meddled)
        built.apply()
    assert not built.is_current()
    assert not built.is_to_be_kept()
