from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk.overlayfs import upper
from bangerbuild.errors import ToolError
from tests.disk.ext4_tools import assert_clean, make_ext4
from tests.disk.filesystems import opened
from tests.disk.overlayfs.joined import BASE, MIB, kernel_joined, make_upper, upper_tree

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def lower(tmp_path: Path) -> Path:
    disk = make_ext4(tmp_path / "lower.ext4", size="8M")
    with opened(disk) as fs:
        fs.set_attributes("/", mode=0o751, uid=3, gid=4)
        fs.set_xattr("/", "user.note", b"top")
    return disk


def test_an_empty_one_is_small_and_its_top_is_the_lower_ones(lower: Path, tmp_path: Path) -> None:
    disk = make_upper(tmp_path / "upper.ext4", lower, upper.DEFAULT_BYTES)
    assert_clean(disk)
    assert disk.stat().st_size == 1024 * MIB
    assert disk.stat().st_blocks * 512 <= 160 << 10
    (top,) = upper_tree(disk).values()
    assert (top.mode, top.owner, top.xattrs) == (0o751, (3, 4), {"user.note": b"top"})


def test_it_is_known_by_its_beginning_which_holds_the_name_of_the_lower_disk(
    lower: Path, tmp_path: Path
) -> None:
    disk = make_upper(tmp_path / "upper.ext4", lower)
    with disk.open("rb") as file:
        assert file.readline() == b"bangerbuild overlay upper\n"
    head = disk.read_bytes()[:4096]
    assert upper.is_marked(head)
    assert upper.lower_name(head) == BASE
    assert upper.lower_name(lower.read_bytes()[:4096]) is None
    with kernel_joined(lower, disk, tmp_path) as point:
        (point / "file").write_text("x")
    assert upper.lower_name(disk.read_bytes()[:4096]) == BASE


def test_one_that_is_too_small_for_an_ext4_is_refused(lower: Path, tmp_path: Path) -> None:
    with pytest.raises(ToolError):
        make_upper(tmp_path / "upper.ext4", lower, 64 << 10)
