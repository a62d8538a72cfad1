from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk import clone
from bangerbuild.disk.sparse_disk import SparseDisk
from bangerbuild.errors import FilesystemError
from tests.disk.ext4_tools import assert_clean, make_ext4
from tests.disk.filesystems import opened

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20


def test_a_file_that_is_read_and_made_again_has_the_same_bytes_and_holes(tmp_path: Path) -> None:
    path = make_ext4(tmp_path / "disk.ext4")
    with opened(path) as fs:
        fs.write_file("/file", b"x" * 10_000)
    made = tmp_path / "made.ext4"
    SparseDisk.of_file(path, path.stat().st_size, "disk").instantiate(made)
    assert clone.digest(made) == clone.digest(path)
    assert made.stat().st_blocks <= path.stat().st_blocks
    assert made.stat().st_mode & 0o777 == 0o600
    assert_clean(made)


def test_a_smaller_file_is_a_disk_with_zeros_at_its_end(tmp_path: Path) -> None:
    path = tmp_path / "small"
    path.write_bytes(b"a" * 5000)
    disk = SparseDisk.of_file(path, MIB, "disk")
    assert disk.read(0, MIB) == b"a" * 5000 + bytes(MIB - 5000)


def test_what_is_written_is_read_across_chunks_and_a_copy_does_not_change_with_it() -> None:
    disk = SparseDisk(MIB, "disk")
    data = os.urandom(9000)
    disk.write(4000, data)
    copy = disk.copy("copy")
    disk.write(8000, b"other")
    assert copy.read(3990, 9020) == bytes(10) + data + bytes(10)
    assert disk.read(7990, 20) == data[3990:4000] + b"other" + data[4005:4010]
    assert disk.differing(copy) == {1}
    with pytest.raises(FilesystemError, match="'copy' ends before"):
        copy.write(MIB - 1, b"ab")
    with pytest.raises(FilesystemError, match="'copy' ends before"):
        copy.read(MIB - 1, 2)


def test_zeros_take_no_memory_but_where_something_was_or_is_to_be_kept() -> None:
    disk = SparseDisk(MIB, "disk")
    disk.write(0, bytes(MIB))
    assert disk.pack().packed() == b""
    disk.write(4096, b"a" * 4096)
    assert disk.pack().packed() == b"a" * 4096
    disk.write(4096, bytes(4096))
    assert disk.pack().packed() == bytes(4096)
    disk.keep(20_000, 1)
    assert disk.pack().numbers == [1, 4]


def test_a_range_is_found_where_it_is_packed() -> None:
    disk = SparseDisk(8 * MIB, "disk")
    for offset in (0, 3 * MIB):
        disk.write(offset, os.urandom(65536))
    packed = disk.pack()
    (place,) = packed.placed(3 * MIB + 100, 5000)
    assert packed.packed()[place] == disk.read(3 * MIB + 100, 5000)
    assert packed.runs == ((0, slice(0, 65536)), (3 * MIB, slice(65536, 131072)))
    assert packed.runs_of([1, 2, 768]) == ((4096, slice(4096, 12288)), (3 * MIB, slice(65536, 69632)))
