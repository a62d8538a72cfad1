"""Files of other users of one's own namespace are removed in it."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from bangerbuild.fetch import foreign_files
from bangerbuild.host import process

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_what_is_ones_own_is_removed_and_what_is_not_there_is_no_trouble(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    for _ in range(2):
        foreign_files.remove(tmp_path / "a")
    assert [*tmp_path.iterdir()] == []


def test_what_is_left_is_removed_by_the_first_program_that_knows_the_namespace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tree/sub").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/podman").write_text('#!/bin/sh\n[ "$1" = unshare ] && shift && exec "$@"\n')
    (tmp_path / "bin/podman").chmod(0o755)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(shutil, "rmtree", lambda *_args, **_options: None)
    monkeypatch.setattr(process, "SEARCH_PATH", "/nowhere")
    foreign_files.remove(tmp_path / "tree")
    assert (tmp_path / "tree").is_dir()
    monkeypatch.setattr(process, "SEARCH_PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    monkeypatch.setattr(foreign_files, "_PROGRAMS", ("there-is-none", "podman"))
    foreign_files.remove(tmp_path / "tree")
    assert not (tmp_path / "tree").exists()
