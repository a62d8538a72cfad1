"""Names of extended attributes that ext4 has numbers for, and ACLs in the kernel's form."""

from __future__ import annotations

import pytest

from bangerbuild.disk.attributes import acl_from_disk, check_name
from bangerbuild.errors import FilesystemError


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
