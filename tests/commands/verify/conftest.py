"""A project that is built, and what verifies it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.commands.verify.verified import DB, SEED, WEB, Verified
from tests.projects import DEBIAN, Project, write_tar
from tests.steps.guest_disks import IMAGE
from tests.stores import opened_by_another

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A VM on a snapshot with a work disk cloned from a seed, one on raw disks; built."""
    write_tar(tmp_path / "root.tar", DEBIAN)
    (tmp_path / "skel").mkdir()
    (tmp_path / "skel/.profile").write_text("umask 022\n")
    made = Project(tmp_path)
    made.write(IMAGE + SEED + WEB + DB)
    made.build()
    return made


@pytest.fixture
def verified(project: Project) -> Verified:
    return Verified(project)


@pytest.fixture
def disk(project: Project) -> Callable[[str], Path]:
    """A file in the directories of the VMs."""
    return (project.store / "vms").joinpath


@pytest.fixture
def in_use(project: Project) -> Iterator[str]:
    """A process that has the data disk open."""
    with opened_by_another(project.store / "vms/db/data.ext4") as pid:
        yield str(pid)
