"""One row for each kind of filesystem there is: written by the engine, judged by e2fsck and debugfs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.snapshot_store import SnapshotStore
from bangerbuild.errors import FilesystemError
from bangerbuild.tree import EntryType
from tests.disk.ext4_tools import (
    NOW,
    assert_clean,
    debugfs,
    debugfs_errors,
    make_ext4,
    merge,
)
from tests.disk.filesystems import make_node

if TYPE_CHECKING:
    from pathlib import Path

    from bangerbuild.disk.blocks import Blocks

BIG = bytes(range(251)) * 13_000
LONG_TARGET = "/" + "t" * 150

WRITABLE = {
    "default": "",
    "bigalloc": "-O bigalloc -C 16384",
    "no metadata_csum": "-O ^metadata_csum",
    "uninit_bg": "-O ^metadata_csum,uninit_bg",
    "blocks of 1k": "-b 1024",
    "blocks of 2k": "-b 2048",
    "blocks of 64k": "-b 65536",
    "no 64bit": "-O ^64bit",
    "orphan_file": "-O orphan_file",
    "casefold": "-O casefold",
    "encrypt": "-O encrypt",
    "ea_inode": "-O ea_inode",
    "verity": "-O verity",
    "metadata_csum_seed": "-O metadata_csum_seed",
    "large_dir": "-O large_dir",
    "inodes of 128 bytes": "-I 128",
    "inodes of 512 bytes": "-I 512",
    "no journal": "-O ^has_journal",
    "no flex_bg": "-O ^flex_bg",
    "meta_bg": "-O meta_bg,^resize_inode",
    "sparse_super2": "-O sparse_super2",
    "fast_commit": "-O fast_commit",
    "inline_data": "-O inline_data",
    "no filetype": "-O ^filetype",
    "no dir_index": "-O ^dir_index",
    "ext2": "-t ext2",
    "ext3": "-t ext3",
}
IN_BLOCKS_OF_4K = [row for row in WRITABLE if not row.startswith("blocks of")]


def fill(blocks: Blocks) -> None:
    """Everything a patch does, twice over: write, replace, make, link, remove."""
    with Filesystem(blocks, writable=True, now=NOW) as fs:
        fs.write_file("/etc/app/app.conf", b"port = 79\n", mode=0o600)
        fs.write_file("/etc/app/app.conf", b"port = 80\n", mode=0o640, uid=1000, gid=70_000)
        fs.write_file("/usr/big", BIG, xattrs={"user.note": b"hello", "security.capability": bytes(20)})
        fs.make_symlink("/etc/short", "app")
        fs.make_symlink("/etc/long", LONG_TARGET)
        fs.write_file("/etc/short/through-link", b"x")
        make_node(fs, "/dev/null", EntryType.CHARACTER_DEVICE, mode=0o666, device=(1, 3))
        fs.link("/usr/big-too", "/usr/big")
        fs.set_xattr("/etc", "user.large", b"v" * 600)
        for i in range(200):
            fs.write_file(f"/many/a-name-to-fill-the-directory-{i:03}", b"%d" % i)
        for i in range(0, 200, 2):
            fs.remove(f"/many/a-name-to-fill-the-directory-{i:03}")
        fs.make_directory("/gone/below/deep")
        fs.write_file("/gone/below/file", BIG, xattrs={"user.large": b"v" * 600})
        fs.make_symlink("/gone/long", LONG_TARGET)
        fs.remove("/gone", recursive=True)
        fs.write_file("/usr/lone", BIG)
        fs.remove("/usr/lone")


def judge(path: Path) -> None:
    """What another program finds of it."""
    assert_clean(path)
    assert debugfs(path, "cat /etc/app/app.conf") == b"port = 80\n"
    assert debugfs(path, "cat /usr/big-too") == BIG
    assert debugfs(path, "cat /etc/app/through-link") == b"x"
    assert debugfs(path, "cat /many/a-name-to-fill-the-directory-199") == b"199"
    described = debugfs(path, "stat /etc/app/app.conf").decode()
    assert "Mode:  0640" in described
    assert "User:  1000   Group: 70000" in described
    assert 'Fast link dest: "app"' in debugfs(path, "stat /etc/short").decode()
    assert debugfs(path, "cat /etc/long") == LONG_TARGET.encode()
    assert "Device major/minor number: 01:03" in debugfs(path, "stat /dev/null").decode()
    assert "Links: 2" in debugfs(path, "stat /usr/big").decode()
    assert debugfs(path, "ea_get -V /usr/big user.note").strip() == b"hello"
    listed = debugfs(path, "ls -p /many").decode().splitlines()
    assert sum("a-name-to-fill" in line and not line.startswith("/0/") for line in listed) == 100
    assert b"File not found" in debugfs_errors(path, "stat /gone")


@pytest.mark.parametrize("row", WRITABLE)
def test_every_kind_of_filesystem_is_written_cleanly(row: str, tmp_path: Path) -> None:
    path = make_ext4(tmp_path / "disk.ext4", *WRITABLE[row].split())
    with RawFile(path, writable=True) as blocks:
        fill(blocks)
    judge(path)
    with RawFile(path) as blocks, Filesystem(blocks) as fs:
        assert fs.read("/usr/big") == BIG
        assert fs.get_xattrs("/etc") == {"user.large": b"v" * 600}
        assert len(fs.listdir("/many") or []) == 100


@pytest.mark.parametrize("row", IN_BLOCKS_OF_4K)
def test_every_kind_of_filesystem_is_written_cleanly_through_a_store(row: str, tmp_path: Path) -> None:
    path = make_ext4(tmp_path / "base.ext4", *WRITABLE[row].split())
    before = path.read_bytes()
    with RawFile(path) as base:
        with SnapshotStore.create(base, tmp_path / "s.cow", durable=False) as store:
            fill(store)
        with SnapshotStore(base, tmp_path / "s.cow") as store:
            merged = merge(path, store, tmp_path / "merged.ext4")
            with Filesystem(store) as fs:
                assert fs.read("/usr/big-too") == BIG
    judge(merged)
    assert path.read_bytes() == before


def test_a_superblock_that_libext2fs_refuses_is_a_plain_error(disk: Path) -> None:
    with disk.open("r+b") as file:
        file.seek(1024 + 0x78)
        file.write(b"another label")  # the checksum is that of the old one
    with RawFile(disk) as blocks, pytest.raises(FilesystemError, match="cannot open") as caught:
        Filesystem(blocks)
    assert caught.value.code
    assert (caught.value.hint or "").startswith("e2fsck -f")
