"""Inodes as they are given out, counted and taken back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.errors import FilesystemError, GuestPathError
from tests.disk.ext4_tools import NOW, debugfs, make_ext4
from tests.disk.filesystems import opened, refuse
from tests.hostile.roots import debugfs_write

if TYPE_CHECKING:
    from pathlib import Path


def test_a_name_of_an_inode_that_counts_none_is_not_taken_away(target: Path) -> None:
    debugfs_write(target, "set_inode_field /etc/passwd links_count 0")
    refuse(target, "has a name, but counts none", lambda disk: disk.write_file("/etc/passwd", b"x"))


def test_a_file_whose_blocks_lead_off_the_disk_is_not_replaced(target: Path) -> None:
    debugfs_write(target, "set_inode_field /etc/passwd block[5] 0xFFFFFF")
    refuse(target, "an extent tree leads", lambda disk: disk.write_file("/etc/passwd", b"x"))


def test_a_replaced_file_gives_all_its_blocks_back(target: Path) -> None:
    def free() -> int:
        stats = debugfs(target, "stats -h").decode()
        return int(stats.partition("Free blocks:")[2].split()[0])

    before = free()
    blocks = len(debugfs(target, "blocks /etc/hosts").split())
    with RawFile(target, writable=True) as raw, Filesystem(raw, writable=True, now=NOW) as disk:
        disk.remove("/etc/hosts")
    assert free() == before + blocks


def test_an_inode_in_use_that_is_not_marked_so_is_not_given_away(target: Path) -> None:
    with RawFile(target, writable=True) as blocks:
        disk = Filesystem(blocks, writable=True, now=NOW)
        etc = disk.nodes.child(2, b"etc")
        disk.nodes.kind(etc)
        disk.nodes.handle.count_inode(etc, -1, directory=True)
        with pytest.raises(FilesystemError, match=f"inode {etc} is in use, but not marked so"):
            exhaust_inodes(disk)
        disk.abandon()


def exhaust_inodes(disk: Filesystem) -> None:
    for number in range(2000):
        disk.write_file(f"/{number}", b"")


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


def test_a_directory_with_64999_subdirectories_stops_counting_its_links(tmp_path: Path) -> None:
    path = make_ext4(tmp_path / "disk.ext4", size="64M")
    with opened(path) as fs:
        fs.make_directory("/d")
        ino = fs.nodes.child(2, b"d")
        inode = fs.nodes.inode(ino)
        inode.links = 64_999
        fs.nodes.save(ino, inode)
        fs.make_directory("/d/last")
        stat = fs.stat("/d")
        assert stat is not None
        assert stat.links == 1
        fs.remove("/d/last")
        assert fs.nodes.inode(ino).links == 1


def test_a_file_with_65000_names_gets_no_more(disk: Path) -> None:
    with opened(disk) as fs:
        fs.write_file("/f", b"")
        inode = fs.nodes.inode(fs.nodes.child(2, b"f"))
        inode.links = 65_000
        fs.nodes.save(fs.nodes.child(2, b"f"), inode)
        with pytest.raises(GuestPathError, match="has 65000 names already"):
            fs.link("/g", "/f")
