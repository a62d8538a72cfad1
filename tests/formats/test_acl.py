from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

import pytest

from bangerbuild.formats.acl import ACCESS, access_acl, check_binary, default_acl, with_mode
from bangerbuild.formats.format_error import FormatError
from tests.need import lacking

if TYPE_CHECKING:
    from pathlib import Path

NO_ID = 0xFFFFFFFF


def unpacked(acl: bytes) -> list[tuple[int, int, int]]:
    assert acl[:4] == struct.pack("<I", 2)
    return [struct.unpack_from("<HHI", acl, offset) for offset in range(4, len(acl), 8)]


def test_an_acl_becomes_the_kernels_entries_sorted_by_tag_and_id() -> None:
    acl = access_acl(
        "user::rwx\nother::r--\nuser:2000:-w-\nuser:7:r-x\ngroup::r-x\ngroup:50:--x\nmask::rwx\n"
    )

    assert acl is not None
    assert unpacked(acl) == [
        (0x01, 7, NO_ID),
        (0x02, 5, 7),
        (0x02, 2, 2000),
        (0x04, 5, NO_ID),
        (0x08, 1, 50),
        (0x10, 7, NO_ID),
        (0x20, 4, NO_ID),
    ]


@pytest.mark.parametrize(
    "named",
    [
        "user:bob:rw-:1001",
        "u:1001:rw-",
        "user:1001:rw-:1001",
        "user:1001:rw-\t#effective:r--",
        " user:1001:rw- ",
    ],
)
def test_every_way_to_write_a_named_user_means_the_same(named: str) -> None:
    acl = access_acl(f"user::rwx,{named},group::r--,mask::r--,other::---")

    assert acl is not None
    assert (0x02, 6, 1001) in unpacked(acl)


def test_a_mask_and_others_may_be_written_in_two_fields() -> None:
    assert access_acl("u::rwx,u:1:rwx,g::r--,mask:r--,other:---") == access_acl(
        "user::rwx,user:1:rwx,group::r--,mask::r--,other::---"
    )


def test_root_is_the_one_name_that_means_a_number() -> None:
    acl = access_acl("user::rwx,user:root:rwx,group::r--,mask::r--,other::---")

    assert acl is not None
    assert (0x02, 7, 0) in unpacked(acl)


def test_an_access_acl_that_says_no_more_than_the_mode_is_none() -> None:
    assert access_acl("user::rw-,group::r--,other::r--") is None


def test_a_default_acl_counts_even_if_it_names_nobody() -> None:
    assert len(unpacked(default_acl("user::rwx,group::r-x,other::r-x"))) == 3


@pytest.mark.parametrize(
    "text",
    [
        "",
        "user::rwx",
        "user::rwx,group::r--,other::r--,other::r--",
        "user::rwx,user:1:r--,user:1:rw-,group::r--,mask::rwx,other::---",
        "user::rwx,user:1:r--,group::r--,other::---",
        "user::rwq,group::r--,other::r--",
        "owner::rwx,group::r--,other::r--",
        "user::rwx,group::r--,other:5:r--",
        "user::rwx,user:1:r--:2:3,group::r--,mask::r--,other::---",
        "user::rwx,user:4294967295:r--,group::r--,mask::r--,other::---",
    ],
)
def test_what_is_no_acl_is_refused(text: str) -> None:
    with pytest.raises(FormatError):
        default_acl(text)


def test_a_user_known_by_name_alone_is_refused_with_the_way_to_get_numbers() -> None:
    with pytest.raises(FormatError, match="names user 'bob' without a number") as caught:
        default_acl("user::rwx,user:bob:rwx,group::r--,mask::r--,other::---")

    assert "--numeric-owner" in str(caught.value.hint)


GOOD = default_acl("user::rwx,user:1:rwx,group::r--,mask::r--,other::---")


def test_what_the_kernel_gives_is_no_damaged_acl() -> None:
    check_binary(GOOD)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"xx",
        GOOD[:4],
        GOOD[:-1],
        struct.pack("<I", 1) + GOOD[4:],
        GOOD[:-8] + struct.pack("<HHI", 3, 7, 0),
        GOOD[:-8] + struct.pack("<HHI", 0x20, 8, NO_ID),
    ],
)
def test_bytes_that_are_no_acl_are_told_as_such(value: bytes) -> None:
    with pytest.raises(FormatError, match="has a damaged ACL"):
        check_binary(value)


def test_a_chmod_changes_an_acl_as_the_kernel_does(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    try:
        os.setxattr(path, ACCESS, GOOD)
    except OSError as err:
        lacking(f"the temporary directory's filesystem holds no ACLs: {err.strerror}")
    for mode in range(0, 0o1000, 0o11):
        path.chmod(mode)
        assert os.getxattr(path, ACCESS) == with_mode(GOOD, mode), f"{mode:04o}"


def test_without_a_mask_the_groups_bits_are_its_own() -> None:
    acl = default_acl("user::rwx,group::r--,other::---")
    assert with_mode(acl, 0o421) == default_acl("user::r--,group::-w-,other::--x")
