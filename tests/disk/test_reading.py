"""What is asked of an open filesystem by guest paths."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.errors import FilesystemError, GuestPathError
from bangerbuild.tree import EntryType
from tests.disk.ext4_tools import assert_clean, debugfs

if TYPE_CHECKING:
    from pathlib import Path

from tests.disk.filesystems import SECOND, make_node, opened


def test_a_file_is_read_through_symlinks_and_none_only_where_nothing_is(disk: Path) -> None:
    with opened(disk) as fs:
        fs.write_file("/etc/hosts", b"127.0.0.1\n")
        fs.make_symlink("/hosts", "/etc/../etc/hosts")
        fs.make_symlink("/dangling", "/nowhere/at/all")
        assert fs.read("/hosts") == b"127.0.0.1\n"
        assert fs.read("/dangling") is None
        assert fs.read("/nowhere/file") is None
        assert fs.exists("/hosts")
        assert not fs.exists("/dangling")
        assert fs.stat("/dangling", follow=False) is not None
        with pytest.raises(GuestPathError, match=r"'/etc' in .* is no regular file"):
            fs.read("/etc")


def test_a_stat_says_all_that_an_inode_knows(disk: Path) -> None:
    with opened(disk) as fs:
        fs.write_file("/f", b"abc", mode=0o4711, uid=70_001, gid=80_002, mtime_ns=5_000_000_000 * SECOND + 7)
        fs.make_symlink("/l", "f")
        make_node(fs, "/tty", EntryType.CHARACTER_DEVICE, device=(4, 300), mode=0o620)
        stat, link, tty = fs.stat("/f"), fs.stat("/l", follow=False), fs.stat("/tty")
    assert stat is not None
    assert (stat.type, stat.mode, stat.uid, stat.gid) == (EntryType.FILE, 0o4711, 70_001, 80_002)
    assert (stat.size_bytes, stat.mtime_ns, stat.links) == (3, 5_000_000_000 * SECOND + 7, 1)
    assert link is not None
    assert (link.type, link.target) == (EntryType.SYMLINK, "f")
    assert tty is not None
    assert tty.device == (4, 300)
    described = debugfs(disk, "stat /f").decode()
    assert "mtime: 0x2a05f200:0000001d" in described
    assert "Mode:  04711" in described
    assert "Device major/minor number: 04:300" in debugfs(disk, "stat /tty").decode()
    assert_clean(disk)


def test_a_filesystem_opened_for_reading_is_not_changed(disk: Path) -> None:
    with (
        RawFile(disk) as blocks,
        Filesystem(blocks) as fs,
        pytest.raises(FilesystemError, match="for reading only"),
    ):
        fs.write_file("/f", b"x")


def test_names_of_any_bytes_come_back_as_they_went_in(disk: Path) -> None:
    names = ["caf\u00e9", "\udcff\udcfe", "a b", "-rf", "x" * 255, "new\nline"]
    with opened(disk) as fs:
        for name in names:
            fs.write_file(f"/d/{name}", b"")
        assert fs.listdir("/d") == sorted(names)
        with pytest.raises(GuestPathError, match="a name of 256 bytes"):
            fs.write_file("/d/" + "x" * 256, b"")
    assert_clean(disk)
