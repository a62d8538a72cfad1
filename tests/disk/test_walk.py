"""A walk meets every name once, and ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild.disk import walk
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.tree import EntryType
from tests.disk.ext4_tools import make_ext4
from tests.disk.filesystems import make_node, opened, refuse
from tests.hostile.roots import debugfs_write

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_a_walk_meets_every_name_once_with_all_that_is_known(disk: Path) -> None:
    with opened(disk) as fs:
        fs.write_file("/b/file", b"content", mode=0o600, uid=1, xattrs={"user.x": b"y"})
        fs.link("/a", "/b/file")
        fs.make_symlink("/b/link", "../a")
        make_node(fs, "/dev", EntryType.BLOCK_DEVICE, device=(8, 1))
    with RawFile(disk) as blocks, Filesystem(blocks) as fs:
        entries = {}
        for entry in fs.walk():
            entries[entry.path] = (
                entry.type,
                entry.target,
                entry.content.read() if entry.content else None,
                entry,
            )
    assert list(entries) == ["", "a", "b", "b/file", "b/link", "dev", "lost+found"]
    assert entries["a"][:3] == (EntryType.FILE, "", b"content")
    assert entries["b/file"][:3] == (EntryType.HARD_LINK, "a", None)
    assert entries["b/link"][:3] == (EntryType.SYMLINK, "../a", None)
    assert entries["a"][3].xattrs == {"user.x": b"y"}
    assert entries["dev"][3].device == (8, 1)


def test_a_tree_deeper_than_any_path_is_not_walked(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "MAX_PATH_BYTES", 2)
    refuse(target, r"'/etc'.* directories within directories", lambda disk: list(disk.walk()))


def test_a_walk_of_directories_in_inodes_meets_each_once(tmp_path: Path) -> None:
    path = make_ext4(tmp_path / "disk.ext4", "-O", "inline_data", size="16M")
    debugfs_write(path, "mkdir /a", "mkdir /a/b", "mkdir /a/b/c")
    with RawFile(path) as blocks, Filesystem(blocks) as disk:
        assert [entry.path for entry in disk.walk()] == ["", "a", "a/b", "a/b/c", "lost+found"]
