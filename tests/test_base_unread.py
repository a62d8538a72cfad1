"""A base that has been built from once is not opened again: what stat says of it is enough."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests import PROJECT
from tests.disk.ext4_tools import make_ext4

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import CommandLine

OPENED = """
import sys
opened = []
sys.addaudithook(lambda event, about: event == "open" and opened.append(str(about[0])))
from bangerbuild.cli import run
sys.argv = ["bangerbuild", *sys.argv[1:]]
try:
    sys.exit(run())
finally:
    print(*opened, sep="\\n")
"""
"""Prints what a process opens, after what it prints by itself."""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A base with holes and the manifest of an image and a VM on it."""
    make_ext4(tmp_path / "base.ext4", size="1G")
    (tmp_path / "vm.toml").write_text(
        '[image.base.rootfs]\next4 = "base.ext4"\n[vm.v]\nimage = "base"\n[vm.v.guest]\nsshd = false\n'
    )
    return tmp_path


def opened_by(project: Path, *arguments: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", OPENED, *arguments],
        cwd=project,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return [line for line in done.stdout.splitlines() if "base.ext4" in line or "rootfs.ext4" in line]


def test_a_base_is_opened_by_the_first_run_and_by_no_other(project: Path, cli: CommandLine) -> None:
    assert any("base.ext4" in name for name in opened_by(project, "apply", "-q"))
    assert opened_by(project, "plan") == []
    assert opened_by(project, "apply") == []
    assert "4 kept" in cli("apply", cwd=project).stdout


def test_a_base_that_was_changed_is_opened_again(project: Path) -> None:
    opened_by(project, "apply", "-q")
    (project / "base.ext4").touch()
    assert any("base.ext4" in name for name in opened_by(project, "plan"))
