"""Directories and attributes that libext2fs would follow into a crash or a loop are refused before."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk import nodes, soundness
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.errors import FilesystemError
from tests.disk.ext4_tools import NOW, make_ext4
from tests.disk.filesystems import refuse
from tests.hostile.damage import regions
from tests.hostile.roots import debugfs_write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LAST_NAME = 8
"""As many bytes as libext2fs leaves out when it checks a block of names."""


def write_into_etc(disk: Filesystem) -> None:
    disk.write_file("/etc/new", b"x")


def list_etc(disk: Filesystem) -> None:
    disk.listdir("/etc")


def look_below_etc(disk: Filesystem) -> None:
    disk.stat("/etc/ssh/sshd_config")


@pytest.mark.parametrize("use", [write_into_etc, list_etc, look_below_etc])
@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ("set_inode_field /etc block[0] 0", "an extent tree leads where it can't"),
        ("set_inode_field /etc block[4] 0x8005", "has a hole"),
        ("set_inode_field /etc size 0", "says it has 0 bytes"),
        ("set_inode_field /etc size 4095", "says it has 4095 bytes"),
        ("set_inode_field /etc size 0x4000000", "says it has 67108864 bytes"),
        ("set_inode_field /etc size 0x20000000", "has a directory of 536870912 bytes"),
    ],
)
def test_a_directory_that_is_not_mapped_as_one_is_refused(
    target: Path, request_: str, message: str, use: Callable[[Filesystem], object]
) -> None:
    debugfs_write(target, request_)
    refuse(target, message, use)


def test_a_directory_too_large_to_be_searched_is_refused(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(soundness, "MOST_DIRECTORY_BYTES", 4096)
    refuse(target, "has a directory of .* bytes: more than 4096 are not read", list_etc)


def test_a_directory_of_more_names_than_fit_in_memory_is_refused(
    target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "MOST_NAMES", 100)
    refuse(target, "has a directory of more than 100 names", list_etc)


def test_a_block_that_ends_before_its_end_is_not_written_into(target: Path) -> None:
    """libext2fs would split it up to its end, and meet an entry of no length there, for ever."""
    part = regions(target)["names of a directory"]
    data = bytearray(target.read_bytes())
    at = part.offset
    while at + (length := int.from_bytes(data[at + 4 : at + 6], "little")) < sum(part):
        at += length
    struct.pack_into("<H", data, at + 4, sum(part) - at - LAST_NAME)
    data[sum(part) - LAST_NAME : sum(part)] = bytes(LAST_NAME)
    target.write_bytes(data)
    refuse(target, "holds no list of names", write_into_etc)
    with RawFile(target) as blocks, Filesystem(blocks) as disk:
        assert "hostname" in (disk.listdir("/etc") or ())


def test_a_directory_that_was_looked_at_once_is_not_looked_at_again(target: Path) -> None:
    with RawFile(target, writable=True) as blocks, Filesystem(blocks, writable=True, now=NOW) as disk:
        disk.write_file("/etc/new", b"x")
        part = regions(target)["names of a directory"]
        blocks.write(part.offset, bytes(64))  # nobody does this while the disk is ours
        disk.nodes.refuse_to_name(disk.nodes.child(2, b"etc"))


def test_a_directory_in_an_inode_holds_names_or_is_refused(tmp_path: Path) -> None:
    path = make_ext4(tmp_path / "disk.ext4", "-O", "^metadata_csum,inline_data", size="16M")
    debugfs_write(path, "mkdir /small")
    with RawFile(path) as blocks, Filesystem(blocks) as disk:
        assert disk.listdir("/small") == []
    debugfs_write(path, "set_inode_field /small block[2] 1")
    refuse(path, r"'/small'.* holds no list of names", lambda disk: disk.listdir("/small"))


# attributes


# inodes


def test_what_libext2fs_would_only_complain_of_is_an_error(
    target: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with RawFile(target, writable=True) as blocks:
        disk = Filesystem(blocks, writable=True, now=NOW)
        with pytest.raises(FilesystemError, match="Illegal block range"):
            disk.nodes.handle.free_run(1 << 40, 3)
        with pytest.raises(FilesystemError, match="Illegal inode number"):
            disk.nodes.handle.count_inode(1 << 30, -1, directory=False)
        disk.abandon()
    assert capfd.readouterr().err == ""
