"""Removal gives back all that a name had taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import GuestPathError
from tests.disk.ext4_tools import assert_clean, debugfs

if TYPE_CHECKING:
    from pathlib import Path

from tests.disk.filesystems import opened


def test_removal_gives_everything_back(disk: Path) -> None:
    def free() -> list[str]:
        lines = debugfs(disk, "show_super_stats -h").decode().splitlines()
        return [line for line in lines if line.startswith(("Free blocks", "Free inodes"))]

    with opened(disk) as fs:
        fs.make_directory("/keep")
    before = free()
    with opened(disk) as fs:
        fs.write_file("/keep/tree/a/b/file", bytes(3_000_000), xattrs={"user.x": b"v" * 1000})
        fs.make_symlink("/keep/tree/slow", "x" * 100)
        fs.link("/keep/other", "/keep/tree/a/b/file")
    with opened(disk) as fs:
        with pytest.raises(GuestPathError, match=r"is a directory in .* that is not empty"):
            fs.remove("/keep/tree")
        assert fs.remove("/keep/tree", recursive=True)
        assert len(fs.read("/keep/other") or b"") == 3_000_000
        assert fs.remove("/keep/other")
        assert not fs.remove("/keep/other")
        with pytest.raises(GuestPathError, match="is the root"):
            fs.remove("/", recursive=True)
    assert free() == before
    assert_clean(disk)
