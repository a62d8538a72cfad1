"""Whatever is edited: where the fast answer is "current", a plan is empty. And after an apply it is."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bangerbuild.errors import BangerError
from tests.uptodate.edits import ARTIFACTS, NOTICED, UNNOTICED, UNSEEN, YOUNG, artifact, edited
from tests.uptodate.project import Project, write_project

ALL = NOTICED | UNNOTICED | UNSEEN | YOUNG
APPLY = "apply"
TARGETS = (("--target", "vm.boxed"), ("--target", "image.tree", "--target", "vm.raw.root"))


def assert_current_means_nothing_to_do(project: Project) -> None:
    if project.is_current():
        assert project.is_to_be_kept()


def test_right_after_an_apply_that_built_everything_the_answer_is_current(built: Project) -> None:
    assert built.is_current()
    assert built.is_to_be_kept()


def test_right_after_an_apply_that_did_nothing_it_still_is(built: Project) -> None:
    built.apply()
    assert built.is_current()


def test_before_the_first_apply_there_is_none(project: Project) -> None:
    assert not project.is_current()


@pytest.mark.parametrize("edit", NOTICED)
def test_what_a_plan_notices_is_never_current(built: Project, edit: str) -> None:
    NOTICED[edit](built)
    assert not built.is_current()
    assert not built.is_to_be_kept()


@pytest.mark.parametrize("edit", UNNOTICED)
def test_what_a_plan_looks_into_is_current_once_it_did(built: Project, edit: str) -> None:
    UNNOTICED[edit](built)
    assert not built.is_current()
    built.apply()
    assert built.is_current()
    assert built.is_to_be_kept()


@pytest.mark.parametrize("edit", YOUNG)
def test_what_the_store_is_not_sure_of_is_not_current(built: Project, edit: str) -> None:
    YOUNG[edit](built)
    assert not built.is_current()
    built.apply()
    assert_current_means_nothing_to_do(built)


@pytest.mark.parametrize("edit", UNSEEN)
def test_what_no_plan_depends_on_changes_nothing(built: Project, edit: str) -> None:
    UNSEEN[edit](built)
    assert built.is_current()
    assert built.is_to_be_kept()


@pytest.mark.parametrize("targets", TARGETS)
@pytest.mark.parametrize("edit", NOTICED)
def test_a_part_is_current_only_if_its_own_plan_is_empty(
    project: Project, edit: str, targets: tuple[str, ...]
) -> None:
    part = replace(project, arguments=targets)
    part.apply()
    assert part.is_current()
    with suppress(StopIteration, FileNotFoundError):  # the part has no such artifact
        NOTICED[edit](part)
    assert_current_means_nothing_to_do(part)


GUESTS = {"vms/web/work.ext4": "vm.web.work", "vms/raw/data.ext4": "vm.raw.disk.data"}
"""Disks that are made anew only on demand."""


@pytest.mark.parametrize("name", ARTIFACTS)
def test_what_was_made_again_is_current(built: Project, name: str) -> None:
    artifact(name, lambda path: path.unlink())(built)
    if "images/tree" not in name:  # what stands on it is a guest's
        if name in GUESTS:
            built.apply(GUESTS[name])
        built.apply()
        assert built.is_current()


def test_what_grew_is_current_only_once_a_plan_says_so(built: Project) -> None:
    edited("vm.toml", 'size = "16MiB"', 'size = "32MiB"')(built)
    built.apply()
    assert_current_means_nothing_to_do(built)
    built.apply()
    assert built.is_current()


def test_each_setting_of_variables_has_an_answer_of_its_own(built: Project) -> None:
    (built.path / "v.toml").write_text('greeting = "file"\n')
    by_file = replace(built, arguments=("--var-file", "v.toml"))
    assert not by_file.is_current()
    by_file.apply()
    assert by_file.is_current()
    assert not built.is_current()
    assert not replace(built, arguments=("--var", "greeting=file")).is_current()
    edited("v.toml", "file", "disk")(by_file)
    assert not by_file.is_current()
    assert not by_file.is_to_be_kept()


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(events=st.lists(st.sampled_from([APPLY, *ALL]), min_size=2, max_size=8))
def test_whatever_happens_in_whatever_order_current_means_that_a_plan_is_empty(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, events: list[str]
) -> None:
    where = tmp_path_factory.mktemp("events")
    project = Project(where / "project", where / "home")
    write_project(project.path, project.home)
    monkeypatch.setenv("HOME", str(project.home))
    monkeypatch.chdir(project.path)
    project.apply()
    for event in (*events, APPLY):
        with suppress(BangerError, AssertionError, OSError, StopIteration):  # it is in the way of another
            project.apply() if event == APPLY else ALL[event](project)
        assert_current_means_nothing_to_do(project)
