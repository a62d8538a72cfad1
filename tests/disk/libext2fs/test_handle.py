"""An open handle: every code is an error, and times are the caller's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.libext2fs import library, open_handle
from bangerbuild.errors import FilesystemError
from tests.disk.ext4_tools import NOW, debugfs

if TYPE_CHECKING:
    from pathlib import Path


def test_every_code_that_is_not_zero_is_an_error_with_the_librarys_text(disk: Path) -> None:
    with RawFile(disk) as blocks:
        handle = open_handle(blocks, writable=False, now=NOW)
        with pytest.raises(FilesystemError, match="Illegal inode number") as caught:
            handle.read_inode(1 << 30)
        handle.abandon()
    assert caught.value.code == library.CODE_BASE + 41


def test_a_disk_opened_for_reading_is_not_written_by_the_library(disk: Path) -> None:
    with RawFile(disk) as blocks:
        handle = open_handle(blocks, writable=False, now=NOW)
        raw = handle.read_inode(2)
        with pytest.raises(FilesystemError, match=r"[Rr]ead-only|read only"):
            handle.write_inode(2, raw)
        handle.abandon()


def test_times_are_the_callers_even_where_the_environment_says_otherwise(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("E2FSPROGS_FAKE_TIME", "5")
    with RawFile(disk, writable=True, durable=False) as blocks:
        handle = open_handle(blocks, writable=True, now=NOW + 1)
        handle.count_inode(handle.new_inode(2, 0o100644), 1, directory=False)
        handle.close()
    written = next(
        line for line in debugfs(disk, "show_super_stats -h").decode().splitlines() if "Last write" in line
    )
    assert "Nov 14" in written
    assert "2023" in written
