from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk import clone
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.sparse_disk import SparseDisk
from bangerbuild.disk.sparse_template import SparseTemplate
from bangerbuild.disk.template import locate
from tests.disk.ext4_tools import assert_clean, debugfs, make_ext4
from tests.disk.filesystems import opened

if TYPE_CHECKING:
    from pathlib import Path


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


def in_memory(disk: Path) -> SparseDisk:
    return SparseDisk.of_file(disk, disk.stat().st_size, disk.name)


def template(disk: Path, under: Path, count: int) -> SparseTemplate:
    held = in_memory(disk)
    with opened(disk) as fs:
        files = [found for number in range(count) if (found := locate(fs, f"/etc/{number}"))]
        superblock = fs.nodes.handle.superblock()
    for at, length in (span for file in files for span in file.spans):
        held.keep(at, length)
    return SparseTemplate(held, in_memory(under), superblock, files)


def test_a_file_that_is_instantiated_has_the_bytes_that_libext2fs_writes_and_its_digest_is_told(
    disk: Path, tmp_path: Path
) -> None:
    first = written(disk, tmp_path / "first", b"a" * 10, bytes(9000))
    wanted = written(disk, tmp_path / "wanted", b"other", b"c" * 8193)
    made = tmp_path / "made"
    clone.sparse_copy(disk, made)
    contents = (b"other", b"c" * 8193)
    told = template(first, disk, 2).instantiate(made, [(one, 10**9 * (1 + len(one))) for one in contents])
    assert made.read_bytes() == wanted.read_bytes()
    assert told == clone.digest(made)
    assert_clean(made)
    assert debugfs(made, "cat /etc/0") == b"other"


def test_what_a_file_holds_already_is_not_written_again_and_holes_stay_holes(
    disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = written(disk, tmp_path / "first", b"a")
    made = tmp_path / "made"
    clone.sparse_copy(disk, made)
    asked = template(first, disk, 1)
    sizes: list[int] = []
    write = RawFile.write

    def counted(self: RawFile, offset: int, data: bytes | bytearray) -> None:
        sizes.append(len(data))
        write(self, offset, data)

    monkeypatch.setattr(RawFile, "write", counted)
    asked.instantiate(made, [(b"b", 10**9)])
    assert made.stat().st_blocks <= first.stat().st_blocks + 8
    assert 0 < sum(sizes) <= made.stat().st_blocks * 512 // 2
