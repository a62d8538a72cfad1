from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk import clone
from bangerbuild.disk.sparse_template import SparseFile, SparseTemplate
from bangerbuild.disk.template import locate
from tests.disk.ext4_tools import assert_clean, debugfs, make_ext4
from tests.disk.filesystems import opened

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    return make_ext4(tmp_path / "disk.ext4")


def written(disk: Path, target: Path, *contents: bytes) -> Path:
    """A copy of a disk with a file for each content, written by libext2fs."""
    clone.sparse_copy(disk, target)
    with opened(target) as fs:
        for number, content in enumerate(contents):
            fs.write_file(f"/etc/{number}", content, mtime_ns=10**9 * (1 + len(content)))
    return target


def template(disk: Path, count: int) -> SparseTemplate:
    with opened(disk) as fs:
        files = [found for number in range(count) if (found := locate(fs, f"/etc/{number}"))]
        superblock = fs.nodes.handle.superblock()
    return SparseTemplate(SparseFile(disk), superblock, files)


def test_a_file_that_is_instantiated_has_the_bytes_that_libext2fs_writes_and_its_digest_is_told(
    disk: Path, tmp_path: Path
) -> None:
    first = written(disk, tmp_path / "first", b"a" * 10, b"b" * 9000)
    wanted = written(disk, tmp_path / "wanted", b"other", b"c" * 8193)
    made = tmp_path / "made"
    clone.sparse_copy(disk, made)
    contents = (b"other", b"c" * 8193)
    told = template(first, 2).instantiate(made, [(one, 10**9 * (1 + len(one))) for one in contents])
    assert made.read_bytes() == wanted.read_bytes()
    assert told == clone.digest(made)
    assert_clean(made)
    assert debugfs(made, "cat /etc/0") == b"other"


def test_holes_stay_holes(disk: Path, tmp_path: Path) -> None:
    first = written(disk, tmp_path / "first", b"a")
    made = tmp_path / "made"
    clone.sparse_copy(disk, made)
    template(first, 1).instantiate(made, [(b"b", 10**9)])
    assert made.stat().st_blocks <= first.stat().st_blocks + 8


def test_a_range_is_found_in_the_part_that_it_lies_in(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        for offset in (0, 3 * MIB):
            file.seek(offset)
            file.write(os.urandom(65536))
        file.truncate(8 * MIB)
    sparse = SparseFile(path)
    (place,) = sparse.placed(3 * MIB + 100, 50)
    assert sparse.packed()[place] == path.read_bytes()[3 * MIB + 100 : 3 * MIB + 150]
