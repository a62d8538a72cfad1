"""One row for each kind of filesystem there is: written by the engine, judged by e2fsck and debugfs."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.overlay import SnapshotStore
from bangerbuild.errors import FilesystemError
from bangerbuild.tree import EntryType
from tests.disk.ext4_tools import (
    NOW,
    assert_clean,
    change_superblock,
    debugfs,
    debugfs_errors,
    make_ext4,
    merge,
)

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
        fs.make_node("/dev/null", EntryType.CHARACTER_DEVICE, mode=0o666, device=(1, 3))
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


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        ("-O quota", "not kept up to date: quota", r"tune2fs -O \^quota"),
        ("-O quota,project", "not kept up to date: quota, project", r"tune2fs -O \^quota,\^project"),
        ("-O mmp", "mmp: another host may have it mounted", r"tune2fs -O \^mmp"),
    ],
)
def test_a_feature_that_writing_would_break_is_refused_by_name(
    options: str, message: str, hint: str, tmp_path: Path
) -> None:
    path = make_ext4(tmp_path / "disk.ext4", *options.split())
    before = path.read_bytes()
    with RawFile(path, writable=True) as blocks, pytest.raises(FilesystemError, match=message) as caught:
        Filesystem(blocks, writable=True)
    assert caught.value.hint is not None

    assert re.match(hint, caught.value.hint)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("fields", "message", "hint"),
    [
        ({"feature_incompat": 0x2C6}, "has an unreplayed journal", "e2fsck -p"),
        ({"state": 3}, "is marked as having errors", "e2fsck -f"),
        ({"state": 0}, "is marked as having errors", "e2fsck -f"),
        ({"last_orphan": 12}, "has orphaned inodes", "e2fsck -p"),
        ({"feature_incompat": 0x2C2 | 0x1000}, "not supported: dirdata", None),
        ({"feature_incompat": 0x2C2 | 0x80000000}, "not supported: 0x80000000", None),
        ({"blocks_count": 1 << 20}, "is cut short: its filesystem has 4294967296 bytes", "put the whole"),
    ],
)
def test_a_filesystem_that_is_not_in_order_is_refused_with_the_command_to_run(
    fields: dict[str, int], message: str, hint: str | None, disk: Path
) -> None:
    change_superblock(disk, **fields)
    with RawFile(disk) as blocks, pytest.raises(FilesystemError, match=message) as caught:
        Filesystem(blocks)
    assert (caught.value.hint or "").startswith(hint or "")
    assert bool(caught.value.hint) == bool(hint)


def test_an_unreplayed_journal_does_not_keep_anyone_from_reading_who_says_so(disk: Path) -> None:
    change_superblock(disk, feature_incompat=0x2C6)
    with RawFile(disk, writable=True) as blocks:
        with Filesystem(blocks, allow_unclean=True) as fs:
            assert fs.listdir("/") == ["lost+found"]
        with pytest.raises(FilesystemError, match="unreplayed journal"):
            Filesystem(blocks, writable=True, allow_unclean=True)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "it is empty"),
        (b"\x1f\x8b" + bytes(5000), "it looks like a gzip stream"),
        (b"QFI\xfb" + bytes(5000), "it looks like a qcow2 disk image"),
        (b"\xfd7zXZ\0" + bytes(5000), "it looks like an xz stream"),
        (b"\x28\xb5\x2f\xfd" + bytes(5000), "it looks like a zstd stream"),
        (b"hsqs" + bytes(5000), "it looks like a squashfs image"),
        (bytes(257) + b"ustar" + bytes(5000), "it looks like a tarball"),
        (b"SnAp" + bytes(5000), "it looks like a dm-snapshot store"),
        (bytes(5000), "it begins with zeros"),
        (b"hello", "its magic number is missing"),
    ],
)
def test_a_file_that_is_no_ext4_is_told_for_what_it_is(content: bytes, kind: str, tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(content)
    with (
        RawFile(tmp_path / "disk") as blocks,
        pytest.raises(FilesystemError, match=f"no ext4 filesystem: {kind}"),
    ):
        Filesystem(blocks)


def test_a_truncated_image_is_refused(disk: Path) -> None:
    with disk.open("r+b") as file:
        file.truncate(40 << 20)
    with RawFile(disk) as blocks, pytest.raises(FilesystemError, match="is cut short"):
        Filesystem(blocks)


def test_a_superblock_that_libext2fs_refuses_is_a_plain_error(disk: Path) -> None:
    with disk.open("r+b") as file:
        file.seek(1024 + 0x78)
        file.write(b"another label")  # the checksum is that of the old one
    with RawFile(disk) as blocks, pytest.raises(FilesystemError, match="cannot open") as caught:
        Filesystem(blocks)
    assert caught.value.code
    assert (caught.value.hint or "").startswith("e2fsck -f")


@pytest.mark.parametrize(("flag", "kind"), [(0x40000000, "a case-folding"), (0x800, "an encrypted")])
def test_names_are_not_written_into_directories_whose_names_mean_something_else(
    flag: int, kind: str, tmp_path: Path
) -> None:
    path = make_ext4(tmp_path / "disk.ext4", "-O", "casefold,encrypt")
    with RawFile(path, writable=True) as blocks:
        with Filesystem(blocks, writable=True, now=NOW) as fs:
            fs.make_directory("/odd")
            inode = fs.nodes.inode(fs.nodes.child(2, b"odd"))
            inode.flags |= flag
            fs.nodes.save(fs.nodes.child(2, b"odd"), inode)
        with (
            pytest.raises(FilesystemError, match=f"names can't be written into {kind} directory"),
            Filesystem(blocks, writable=True, now=NOW) as fs,
        ):
            fs.write_file("/odd/file", b"x")
