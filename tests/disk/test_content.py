"""File content: in many pieces, with holes, from streams that may be too short."""

from __future__ import annotations

import io
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.content import FileData
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.inode import Inode
from bangerbuild.errors import SourceError
from tests.disk.ext4_tools import NOW, assert_clean, debugfs, make_ext4
from tests.disk.filesystems import SECOND, noise, opened, refuse
from tests.need import need

if TYPE_CHECKING:
    from pathlib import Path


def test_content_comes_from_a_stream_and_one_too_short_is_told(disk: Path) -> None:
    content = noise(1, 3_333_333)
    with opened(disk) as fs:
        fs.write_file("/f", io.BytesIO(content + b"more"), size_bytes=len(content))
        fs.write_file("/empty", io.BytesIO(b""), size_bytes=0)
        assert b"".join(fs.read_chunks("/f") or ()) == content
        assert fs.read("/empty") == b""
    assert debugfs(disk, "cat /f") == content
    assert_clean(disk)
    with pytest.raises(SourceError, match="the content of '/g' ends after 3 of 10 bytes"), opened(disk) as fs:
        fs.write_file("/g", io.BytesIO(b"abc"), size_bytes=10)


def test_a_file_in_many_pieces_is_written_and_read(disk: Path) -> None:
    content = noise(2, 20_000_000)
    with opened(disk) as fs:
        for i in range(3500):
            fs.write_file(f"/d/{i}", b"x" * 9000)
        for i in range(0, 3500, 2):
            fs.remove(f"/d/{i}")
        free = fs.nodes.superblock.free_blocks
        assert free
        fs.write_file("/holes-filled", content)
        fs.write_file("/again", content[: 4096 * 900])
    assert_clean(disk)
    assert debugfs(disk, "cat /holes-filled") == content
    assert len(debugfs(disk, "dump_extents /holes-filled").splitlines()) > 6
    with opened(disk) as fs:
        assert fs.read("/holes-filled") == content
        fs.remove("/holes-filled")
    assert_clean(disk)


def test_holes_and_unwritten_blocks_read_as_zeros(disk: Path, tmp_path: Path) -> None:
    (tmp_path / "sparse").write_bytes(b"start")
    with (tmp_path / "sparse").open("r+b") as file:
        file.seek(3_000_000)
        file.write(b"end")
        file.truncate(4_000_000)
    subprocess.run(
        [need("debugfs", "e2fsprogs"), "-w", "-R", f"write {tmp_path}/sparse sparse", disk],
        check=True,
        capture_output=True,
    )
    subprocess.run(
        [need("debugfs", "e2fsprogs"), "-w", "-R", "fallocate sparse 10 400", disk],
        check=True,
        capture_output=True,
    )
    with RawFile(disk) as blocks, Filesystem(blocks) as fs:
        assert fs.read("/sparse") == (tmp_path / "sparse").read_bytes()


def test_a_file_larger_than_any_can_be_is_damage(target: Path) -> None:
    def grow(disk: Filesystem) -> None:
        ino = disk.nodes.child(disk.nodes.child(2, b"etc"), b"passwd")
        inode = Inode(disk.nodes.handle.read_inode(ino))
        inode.size_bytes = 1 << 60
        disk.nodes.save(ino, inode)

    with RawFile(target, writable=True) as blocks, Filesystem(blocks, writable=True, now=NOW) as disk:
        grow(disk)
    refuse(target, "a file says it has", lambda disk: list(disk.read_chunks("/etc/passwd") or ()))


SPARSE_BYTES = 9 << 20
EXTENTS = ((5000, 70_000), (1 << 20, 1), (4 << 20, 4096), (SPARSE_BYTES - 10, 5))
FILESYSTEMS = {
    "default": (),
    "ext2": ("-t", "ext2"),
    "bigalloc": ("-O", "bigalloc", "-C", "16384"),
    "blocks of 1k": ("-b", "1024"),
    "blocks of 64k": ("-b", "65536"),
    "inline_data": ("-O", "inline_data"),
}


@pytest.mark.parametrize("options", FILESYSTEMS.values(), ids=FILESYSTEMS)
def test_what_is_no_data_becomes_holes_on_every_kind_of_filesystem(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    disk = make_ext4(tmp_path / "disk.ext4", *options)
    data = b"".join(noise(number, length) for number, (_, length) in enumerate(EXTENTS))
    whole, at = bytearray(SPARSE_BYTES), 0
    for offset, length in EXTENTS:
        whole[offset : offset + length] = data[at : at + length]
        at += length
    with opened(disk) as fs:
        fs.write_file(
            "/f", io.BytesIO(data), size_bytes=SPARSE_BYTES, data_extents=EXTENTS, mtime_ns=7 * SECOND
        )
        fs.write_file("/hole", io.BytesIO(b""), size_bytes=1 << 32, data_extents=())
        assert b"".join(fs.read_chunks("/f") or ()) == whole
    assert_clean(disk)
    assert debugfs(disk, "cat /f") == whole
    said = debugfs(disk, "stat /f").decode()
    assert f"Size: {SPARSE_BYTES}" in said
    assert "mtime: 0x00000007" in said
    blocks = re.search(r"Blockcount: (\d+)", said)
    assert blocks is not None
    assert int(blocks[1]) * 512 < 700_000
    said = debugfs(disk, "stat /hole").decode()
    assert f"Size: {1 << 32}" in said
    assert "Blockcount: 0" in said


@pytest.mark.parametrize("extents", [((5, 6),), ((0, 1), (0, 1)), ((3, -1),)])
def test_data_where_there_can_not_be_any_is_refused(disk: Path, extents: tuple[tuple[int, int], ...]) -> None:
    data = FileData("f", io.BytesIO(b"abc"), 10, extents)
    with pytest.raises(SourceError, match="'f' has data from"):
        data.stretches(4096)
