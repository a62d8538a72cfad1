"""Whatever is edited: where the fast answer is "current", a plan is empty. And after an apply it is."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bangerbuild.errors import BangerError
from tests.current.edits import NOTICED, UNNOTICED, edited, of
from tests.current.project import Project, write_project

if TYPE_CHECKING:
    from pathlib import Path

EDITS = NOTICED | UNNOTICED
LOST = {"store moved away", "database removed"}
"""After these a store knows of no disk, and `apply` may rather do nothing than lose one."""


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
def test_what_a_plan_does_not_notice_is_current_again_after_an_apply_at_the_latest(
    built: Project, edit: str
) -> None:
    UNNOTICED[edit](built)
    assert_current_means_nothing_to_do(built)
    with suppress(AssertionError):
        pass
    built.apply()
    assert_current_means_nothing_to_do(built)
