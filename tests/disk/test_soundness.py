"""Directories and attributes that libext2fs would follow into a crash or a loop are refused before."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk import nodes, soundness, walk
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.directory import is_list_of_names
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.inode import Inode
from bangerbuild.errors import FilesystemError
from tests.disk.ext4_tools import NOW, debugfs, make_ext4
from tests.hostile.damage import make_target, regions
from tests.hostile.roots import debugfs_write

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BARE = ("-O", "^metadata_csum")
LAST_NAME = 8
"""As many bytes as libext2fs leaves out when it checks a block of names."""


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return make_target(tmp_path / "target.ext4", *BARE)


def refuse(path: Path, message: str, use: Callable[[Filesystem], object]) -> None:
    """What is asked for is refused in these words, with a hint, and nothing is written."""
    before = path.read_bytes()
    with RawFile(path, writable=True) as blocks:
        disk = Filesystem(blocks, writable=True, now=NOW)
        with pytest.raises(FilesystemError, match=message) as caught:
            use(disk)
        disk.abandon()
    assert f"'{path}'" in caught.value.brief
    assert caught.value.hint
    assert path.read_bytes() == before


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


def entries(*lengths: int, ino: int = 12, name: bytes = b"abc") -> bytes:
    """Entries of these lengths, one behind the other."""
    packed = (struct.pack("<IHBB", ino, length, len(name), 1) + name for length in lengths)
    return b"".join(entry.ljust(length, b"\0") for entry, length in zip(packed, lengths, strict=True))


@pytest.mark.parametrize(
    ("data", "is_list"),
    [
        (entries(12, 500, 512), True),
        (entries(12, 1012, ino=0, name=b""), True),
        (entries(12, 1000).ljust(1024, b"\0"), False),  # 12 bytes that are no entry
        (entries(12, 1004).ljust(1024, b"\0"), False),  # 8 bytes that are no entry
        (entries(12, 1008).ljust(1024, b"\0"), False),
        (entries(13, 1011), False),
        (entries(8, 1016, name=b""), False),
        (entries(12, 1012, name=b""), False),
        (entries(12, 1012, name=b"n" * 5), False),
        (bytes(1024), False),
        (b"\xff" * 1024, False),
    ],
)
def test_a_block_of_names_is_full_of_them_to_its_very_end(data: bytes, *, is_list: bool) -> None:
    assert is_list_of_names(data) == is_list


@pytest.mark.parametrize("stated", [0, 65535])
def test_the_one_length_that_does_not_fit_in_16_bits_is_known(stated: int) -> None:
    data = bytearray(65536)
    struct.pack_into("<IHBB", data, 0, 0, stated, 0, 0)
    assert is_list_of_names(bytes(data))


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


def set_extra(raw: bytearray, attributes: bytes) -> None:
    """Put attributes into an inode, behind 32 bytes of other fields."""
    struct.pack_into("<H", raw, 0x80, 32)
    raw[160:164] = struct.pack("<I", 0xEA020000)
    raw[164 : 164 + len(attributes)] = attributes


def attribute(name: bytes, place: int, size: int, ino: int = 0) -> bytes:
    """An entry of the user's, from the format's description alone."""
    head = struct.pack("<BBHIII", len(name), 1, place, ino, size, 0)
    return (head + name).ljust((16 + len(name) + 3) & ~3, b"\0")


LISTS = {
    "without an end": b"".join(attribute(b"abcdefg", 0, 0) for _ in range(3)) + attribute(b"ab", 0, 0),
    "ending in the middle": attribute(b"a" * 60, 0, 0) + b"\1\1\0\0",
    "too full to be padded": b"".join(attribute(bytes([97 + i]), 88, 1) for i in range(4)) + b"\0" * 4,
    "with a value beyond the inode": attribute(b"a", 90, 8) + b"\0" * 4,
    "with a value in an inode that is none": attribute(b"a", 0, 8, ino=1 << 30) + b"\0" * 4,
}


@pytest.mark.parametrize("kind", LISTS)
@pytest.mark.parametrize(
    "use",
    [
        lambda disk: disk.get_xattrs("/etc/passwd"),
        lambda disk: disk.set_xattr("/etc/passwd", "user.b", b"c"),
        lambda disk: disk.remove_xattr("/etc/passwd", "user.b"),
    ],
    ids=["read", "set", "remove"],
)
def test_attributes_that_cannot_lie_so_are_refused(
    kind: str, use: Callable[[Filesystem], object], target: Path
) -> None:
    with RawFile(target, writable=True) as blocks, Filesystem(blocks, writable=True, now=NOW) as disk:
        ino = disk.nodes.child(disk.nodes.child(2, b"etc"), b"passwd")
        inode = disk.nodes.inode(ino)
        set_extra(inode.raw, LISTS[kind])
        disk.nodes.save(ino, inode)
    refuse(target, r"'/etc/passwd'", use)


def test_attributes_in_a_block_that_is_none_are_refused(target: Path) -> None:
    debugfs_write(target, "set_inode_field /etc/passwd file_acl 100")
    refuse(target, "block 100, which holds none", lambda disk: disk.get_xattrs("/etc/passwd"))
    debugfs_write(target, "set_inode_field /etc/passwd file_acl 5000")
    refuse(target, "said to lie at block 5000 of 4096", lambda disk: disk.get_xattrs("/etc/passwd"))


# inodes


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


def test_a_tree_deeper_than_any_path_is_not_walked(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "MAX_PATH_BYTES", 2)
    refuse(target, r"'/etc'.* directories within directories", lambda disk: list(disk.walk()))


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


def test_a_file_larger_than_any_can_be_is_damage(target: Path) -> None:
    def grow(disk: Filesystem) -> None:
        ino = disk.nodes.child(disk.nodes.child(2, b"etc"), b"passwd")
        inode = Inode(disk.nodes.handle.read_inode(ino))
        inode.size_bytes = 1 << 60
        disk.nodes.save(ino, inode)

    with RawFile(target, writable=True) as blocks, Filesystem(blocks, writable=True, now=NOW) as disk:
        grow(disk)
    refuse(target, "a file says it has", lambda disk: list(disk.read_chunks("/etc/passwd") or ()))


def test_a_walk_of_directories_in_inodes_meets_each_once(tmp_path: Path) -> None:
    path = make_ext4(tmp_path / "disk.ext4", "-O", "inline_data", size="16M")
    debugfs_write(path, "mkdir /a", "mkdir /a/b", "mkdir /a/b/c")
    with RawFile(path) as blocks, Filesystem(blocks) as disk:
        assert [entry.path for entry in disk.walk()] == ["", "a", "a/b", "a/b/c", "lost+found"]
