from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk.overlayfs.nodes import LOWER, is_lower
from bangerbuild.errors import FilesystemError
from bangerbuild.tree import EntryType
from tests.disk.ext4_tools import make_ext4
from tests.disk.filesystems import opened
from tests.disk.overlayfs.joined import joined, make_upper

if TYPE_CHECKING:
    from pathlib import Path


def test_files_of_both_trees_have_numbers_of_their_own_and_a_joined_directory_the_upper_ones(
    tmp_path: Path,
) -> None:
    lower = make_ext4(tmp_path / "lower.ext4", size="8M")
    with opened(lower) as fs:
        fs.write_file("/etc/below", b"x")
        fs.make_directory("/var")
    disk = make_upper(tmp_path / "upper.ext4", lower)
    with joined(lower, disk, writable=True) as tree:
        tree.write_file("/etc/above", b"x")
        stats = {path: tree.stat(path) for path in ("/", "/etc", "/etc/below", "/etc/above", "/var")}
    inos = {path: found.ino for path, found in stats.items() if found}
    assert len(set(inos.values())) == len(stats)
    assert {path for path, ino in inos.items() if is_lower(ino)} == {"/etc/below", "/var"}
    assert inos["/var"] > LOWER


def test_a_number_that_is_used_again_is_not_joined_with_what_the_old_directory_was(tmp_path: Path) -> None:
    lower = make_ext4(tmp_path / "lower.ext4", size="8M")
    with opened(lower) as fs:
        fs.write_file("/b/other", b"x")
    disk = make_upper(tmp_path / "upper.ext4", lower)
    with joined(lower, disk, writable=True) as tree:
        tree.write_file("/a/above", b"x")
        first = tree.stat("/a")
        assert tree.listdir("/a") == ["above"]
        tree.remove("/a", recursive=True)
        tree.write_file("/b/above", b"x")
        second = tree.stat("/b")
        assert first
        assert second
        assert first.ino == second.ino
        assert tree.listdir("/b") == ["above", "other"]
        assert tree.listdir("/") == ["b", "lost+found"]


def test_directories_may_be_deeper_than_calls_in_python(tmp_path: Path) -> None:
    lower = make_ext4(tmp_path / "lower.ext4", size="8M")
    disk = make_upper(tmp_path / "upper.ext4", lower, 64 << 20)
    deep = "/d" * 1500
    with opened(disk) as fs:
        fs.write_file(f"/upper{deep}/file", b"x")
    with joined(lower, disk, writable=True) as tree:
        assert tree.stat(f"{deep}/missing") is None
        assert tree.listdir(deep) == ["file"]
        tree.write_file(f"{deep}/new", b"x")
        tree.remove("/d", recursive=True)


def test_a_directory_that_a_guest_put_into_itself_is_damage_and_no_endless_loop(tmp_path: Path) -> None:
    lower = make_ext4(tmp_path / "lower.ext4", size="8M")
    disk = make_upper(tmp_path / "upper.ext4", lower)
    with opened(disk) as fs:
        fs.make_directory("/upper/loop")
        found = fs.stat("/upper/loop")
        assert found is not None
        fs.nodes.add_name(found.ino, b"again", found.ino, EntryType.DIRECTORY)
    with joined(lower, disk) as tree, pytest.raises(FilesystemError, match="is inside itself"):
        tree.read("/loop/again/again/file")
