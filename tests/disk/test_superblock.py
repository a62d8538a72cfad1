"""Superblocks: read as dumpe2fs reads them, and refused where writing or reading would do harm."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.superblock import parse_superblock, read_superblock
from bangerbuild.errors import FilesystemError
from tests.disk.ext4_tools import (
    change_superblock,
    debugfs,
    make_ext4,
)
from tests.need import need

if TYPE_CHECKING:
    from pathlib import Path


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


@pytest.mark.parametrize("features", ["quota", "quota,project"])
def test_the_command_of_the_hint_takes_such_a_feature_off(features: str, tmp_path: Path) -> None:
    path = make_ext4(tmp_path / "disk.ext4", "-O", features)
    follow_the_hint(path)
    with RawFile(path, writable=True) as blocks, Filesystem(blocks, writable=True):
        pass


def test_the_command_of_the_hint_makes_a_filesystem_writable(tmp_path: Path) -> None:
    path = make_ext4(tmp_path / "disk.ext4")
    debugfs_write(path, "feature read-only")
    follow_the_hint(path)
    with RawFile(path, writable=True) as blocks, Filesystem(blocks, writable=True):
        pass


def test_the_commands_of_the_hint_give_each_file_blocks_of_its_own(tmp_path: Path) -> None:
    """As images for Android share them; mke2fs makes none."""
    path = make_ext4(tmp_path / "disk.ext4", "-O", "^64bit,^extent,quota")
    (tmp_path / "file").write_text("content")
    for name in ("one", "two"):
        debugfs_write(path, f"write {tmp_path}/file {name}")
    shared = debugfs(path, "blocks one").decode().strip()
    debugfs_write(path, f"set_inode_field two block[0] {shared}")
    debugfs_write(path, "feature shared_blocks")
    follow_the_hint(path)
    with RawFile(path, writable=True) as blocks, Filesystem(blocks, writable=True) as fs:
        assert fs.read("/one") == fs.read("/two") == b"content"
    assert debugfs(path, "blocks one") != debugfs(path, "blocks two")


def debugfs_write(path: Path, request: str) -> None:
    subprocess.run([need("debugfs", "e2fsprogs"), "-w", "-R", request, path], check=True, capture_output=True)


def follow_the_hint(path: Path) -> None:
    """Run the commands that a refusal to write names; there is no terminal for questions."""
    with RawFile(path, writable=True) as blocks, pytest.raises(FilesystemError) as caught:
        Filesystem(blocks, writable=True)
    for command in str(caught.value.hint).split(", then "):
        typed = command.replace("e2fsck -f", "e2fsck -fy")
        done = subprocess.run(["/bin/sh", "-c", typed], capture_output=True, check=False)
        assert done.returncode < 4, done.stderr


@pytest.mark.parametrize(
    ("fields", "message", "hint"),
    [
        ({"feature_incompat": 0x2C6}, "has an unreplayed journal", "e2fsck -p"),
        ({"state": 3}, "is marked as having errors", "e2fsck -f"),
        ({"state": 0}, "is marked as having errors", "e2fsck -f"),
        ({"last_orphan": 12}, "has orphaned inodes", "e2fsck -p"),
        ({"feature_incompat": 0x2C2 | 0x1000}, "not supported: dirdata", "mount it"),
        ({"feature_incompat": 0x2C2 | 0x80000000}, "not supported: 0x80000000", "mount it"),
        ({"feature_incompat": 0x2C2 | 0x8}, "is the journal of another ext4", "give that filesystem"),
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


@pytest.mark.parametrize(
    "options", ["", "-b 1024", "-I 128", "-O ^64bit", "-t ext3", "-L name -O inline_data"]
)
def test_a_superblock_is_read_as_dumpe2fs_reads_it(options: str, tmp_path: Path) -> None:
    disk = make_ext4(tmp_path / "disk.ext4", *options.split())
    said = subprocess.run([need("dumpe2fs"), "-h", disk], capture_output=True, text=True, check=True).stdout
    lines = dict(line.split(":", 1) for line in said.splitlines() if ":" in line)
    with RawFile(disk) as blocks:
        found = read_superblock(blocks, writable=False)
    label = lines["Filesystem volume name"].strip()
    assert found.label == ("" if label == "<none>" else label)
    assert found.uuid == lines["Filesystem UUID"].strip()
    assert found.is_clean
    assert found.has_extents == ("extent" in lines["Filesystem features"].split())
    assert {
        "Block count": found.blocks,
        "Block size": found.block_bytes,
        "Inode size": found.inode_bytes,
        "Free blocks": found.free_blocks,
        "Free inodes": found.free_inodes,
        "Inode count": found.inodes,
        "First block": found.first_data_block,
    } == {name: int(lines[name]) for name in (
        "Block count", "Block size", "Inode size", "Free blocks", "Free inodes", "Inode count", "First block",
    )}  # fmt: skip


def test_bytes_that_hold_no_superblock_are_none() -> None:
    assert parse_superblock(bytes(1024)) is None
