"""Directories for what is under way: kept while somebody uses them, removed when nobody does."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

from bangerbuild.fetch import scratch

if TYPE_CHECKING:
    from pathlib import Path

HOLD = """
import sys, pathlib
from bangerbuild.fetch import scratch
with scratch.directory(pathlib.Path(sys.argv[1])) as path:
    (path / "file").write_text("")
    print(path.name, flush=True)
    sys.stdin.read()
"""


def test_one_is_there_until_the_end_and_then_nothing_of_it(tmp_path: Path) -> None:
    with scratch.directory(tmp_path) as path:
        (path / "file").write_text("")
        assert [*tmp_path.iterdir()] == [path]
    assert [*tmp_path.iterdir()] == []


def test_another_process_keeps_its_own_until_it_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        name = other.stdout.readline().strip()
        scratch.sweep(tmp_path)
        with scratch.directory(tmp_path) as own:
            assert {path.name for path in tmp_path.iterdir()} == {name, own.name}
        other.kill()
    scratch.sweep(tmp_path)
    assert [*tmp_path.iterdir()] == []


def test_a_link_is_not_followed_and_what_is_not_there_is_no_trouble(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/file").write_text("")
    (tmp_path / "parent").mkdir()
    (tmp_path / "parent/link").symlink_to(tmp_path / "elsewhere")
    scratch.sweep(tmp_path / "parent")
    scratch.sweep(tmp_path / "absent")
    assert (tmp_path / "elsewhere/file").exists()
