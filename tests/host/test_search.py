from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from bangerbuild.host import search

if TYPE_CHECKING:
    from pathlib import Path


def test_a_program_is_found_where_a_shell_would_find_it(tmp_path: Path) -> None:
    for name in ("empty", "directory/tool", "plain", "first", "second"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "plain/tool").touch(0o644)
    for name in ("first", "second"):
        (tmp_path / name / "tool").touch(0o755)
    places = ":".join(
        str(tmp_path / name) for name in ("gone", "empty", "directory", "plain", "first", "second")
    )
    found = search.which("tool", places)
    assert found == str(tmp_path / "first/tool")
    assert found == shutil.which("tool", path=places)
    assert search.which("other", places) is None


def test_the_tools_of_the_system_are_looked_for_too() -> None:
    assert search.which("mke2fs")
