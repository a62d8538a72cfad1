from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bangerbuild.disk.attributes import acl_from_disk, check_name
from bangerbuild.disk.directory import Name, dots, pack_blocks
from bangerbuild.disk.inode import Inode
from bangerbuild.errors import FilesystemError
from bangerbuild.tree import EntryType

SECOND = 1_000_000_000


def new_inode(inode_bytes: int = 256) -> Inode:
    return Inode.new(inode_bytes, EntryType.FILE, 1_700_000_000)


@given(st.integers(-(1 << 31) * SECOND, ((1 << 34) - (1 << 31)) * SECOND - 1))
def test_every_time_from_1901_to_2446_is_kept_to_the_nanosecond(time_ns: int) -> None:
    inode = new_inode()
    inode.mtime_ns = time_ns
    assert inode.mtime_ns == time_ns


@pytest.mark.parametrize(("inode_bytes", "last"), [(256, (1 << 34) - (1 << 31) - 1), (128, (1 << 31) - 1)])
def test_a_time_no_inode_can_hold_becomes_the_nearest_second(inode_bytes: int, last: int) -> None:
    inode = new_inode(inode_bytes)
    inode.mtime_ns = (1 << 40) * SECOND
    assert inode.mtime_ns == last * SECOND
    inode.mtime_ns = -(1 << 40) * SECOND
    assert inode.mtime_ns == -(1 << 31) * SECOND


@given(st.integers(0, (1 << 12) - 1), st.integers(0, (1 << 20) - 1))
def test_every_device_number_is_kept(major: int, minor: int) -> None:
    inode = new_inode()
    inode.device = (major, minor)
    assert inode.device == (major, minor)


@given(st.integers(0, (1 << 32) - 1), st.integers(0, (1 << 32) - 1), st.integers(0, 0o7777))
def test_owners_above_65535_and_modes_do_not_disturb_each_other(uid: int, gid: int, mode: int) -> None:
    inode = new_inode()
    inode.uid, inode.gid, inode.mode = uid, gid, mode
    assert (inode.uid, inode.gid, inode.mode, inode.type) == (uid, gid, mode, EntryType.FILE)


def test_an_acl_on_disk_becomes_the_kernels_form() -> None:
    disk = bytes.fromhex("01000000 0100 0600 0200 0400 e8030000 0400 0400 1000 0600 2000 0400")
    kernel = bytes.fromhex(
        "02000000 0100 0600 ffffffff 0200 0400 e8030000 0400 0400 ffffffff"
        "1000 0600 ffffffff 2000 0400 ffffffff"
    )
    assert acl_from_disk(disk) == kernel


@pytest.mark.parametrize("damaged", ["", "01000000 0200 0400", "03000000 0100 0600"])
def test_a_damaged_acl_is_an_error(damaged: str) -> None:
    with pytest.raises(FilesystemError, match="POSIX ACL"):
        acl_from_disk(bytes.fromhex(damaged))


@pytest.mark.parametrize("name", ["", "user.", "btrfs.x", "system.data", "user.a\0b", "user." + "x" * 251])
def test_an_attribute_ext4_has_no_number_for_is_refused(name: str) -> None:
    with pytest.raises(FilesystemError, match="ext4 keeps no attribute"):
        check_name(name)


def unpack(block: bytes) -> list[tuple[bytes, int]]:
    """The names in a directory block, read without our packer."""
    found, at = [], 0
    while at < len(block):
        ino, length = (
            int.from_bytes(block[at : at + 4], "little"),
            int.from_bytes(block[at + 4 : at + 6], "little"),
        )
        assert length % 4 == 0 or length == 65535
        assert length >= 8 + block[at + 6]
        if ino:
            found.append((block[at + 8 : at + 8 + block[at + 6]], ino))
        at += 65536 if length == 65535 else length
    assert at == len(block)
    return found


@given(
    names=st.lists(st.binary(min_size=1, max_size=255), max_size=200),
    block_bytes=st.sampled_from([1024, 4096, 65536]),
    checksum=st.booleans(),
)
def test_all_names_are_in_the_blocks_of_a_directory_in_their_order(
    names: list[bytes],
    block_bytes: int,
    checksum: bool,  # noqa: FBT001 - drawn by hypothesis
) -> None:
    entries = [Name(name, 11 + i, 1) for i, name in enumerate(names)]
    blocks = list(pack_blocks(block_bytes, [*dots(2, 2), *entries], checksum=checksum))
    assert {len(block) for block in blocks} == {block_bytes}
    assert all(block.endswith(b"\0\0\0\0\x0c\0\0\xde\0\0\0\0") for block in blocks) or not checksum
    assert [pair for block in blocks for pair in unpack(block)] == [
        (b".", 2),
        (b"..", 2),
        *((name, 11 + i) for i, name in enumerate(names)),
    ]


def test_a_directory_block_without_names_is_one_free_entry() -> None:
    assert unpack(next(pack_blocks(65536, [], checksum=False))) == []
