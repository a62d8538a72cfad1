from __future__ import annotations

import pytest

from bangerbuild.errors import FilesystemError, SourceError
from bangerbuild.guest.owners import Owners
from tests.guest.view import DictView, guest

USERS = """\
# comment:x:7:7
root:x:0:0:root:/root:/bin/bash
www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin
twice:x:40:40::/:
twice:x:41:41::/:
+::::::
broken:x
worse:x:abc:1:::
"""
GROUP = "root:x:0:\nwww-data:x:34:a,b\nadm:x:4:\n"
GUEST = guest({"/etc/passwd": USERS, "/etc/group": GROUP})


@pytest.mark.parametrize(
    ("owner", "expected"),
    [
        ("root:root", (0, 0)),
        ("1000:100", (1000, 100)),
        ("0:4294967294", (0, 4294967294)),
        ("www-data:www-data", (33, 34)),
        ("www-data:adm", (33, 4)),
        ("twice:0", (40, 0)),
    ],
)
def test_names_come_from_the_guest_and_numbers_are_taken_as_they_are(
    owner: str, expected: tuple[int, int]
) -> None:
    assert Owners(GUEST).ids(owner) == expected


def test_root_is_0_whatever_the_guest_says() -> None:
    odd = guest({"/etc/passwd": "root:x:5:5:::\n", "/etc/group": "root:x:5:\n"})
    assert Owners(odd).ids("root:root") == (0, 0)


def test_root_and_numbers_need_no_passwd() -> None:
    unreadable = FilesystemError("must not be read")
    view = DictView(broken={"/etc/passwd": unreadable, "/etc/group": unreadable})
    assert Owners(view).ids("root:1") == (0, 1)


def test_a_name_that_is_not_ascii_is_found() -> None:
    assert Owners(guest({"/etc/passwd": "jürgen:x:8:8:::"})).ids("jürgen:0") == (8, 0)


@pytest.mark.parametrize("owner", ["nobody:root", "broken:0", "worse:0", "+:0", "# comment:0", "²:0"])
def test_an_unknown_user_is_an_error_that_names_user_and_table(owner: str) -> None:
    with pytest.raises(SourceError) as caught:
        Owners(GUEST).ids(owner)
    name = owner.partition(":")[0]
    assert caught.value.brief == f"owner '{owner}': '{name}' is not in the guest's /etc/passwd"
    assert caught.value.hint


def test_an_unknown_group_is_an_error_that_names_the_group_file() -> None:
    with pytest.raises(SourceError, match=r"'wheel' is not in the guest's /etc/group"):
        Owners(GUEST).ids("root:wheel")


def test_a_guest_without_passwd_knows_no_names() -> None:
    with pytest.raises(SourceError, match="not in the guest's /etc/passwd"):
        Owners(guest()).ids("www-data:0")


@pytest.mark.parametrize("owner", ["root", "root:", ":root", ""])
def test_half_an_owner_is_an_error(owner: str) -> None:
    with pytest.raises(SourceError, match="not of the form 'user:group'"):
        Owners(GUEST).ids(owner)


def test_an_id_that_no_inode_can_hold_is_an_error() -> None:
    with pytest.raises(SourceError, match="4294967295 is past 4294967294"):
        Owners(GUEST).ids("0:4294967295")


def test_an_unreadable_passwd_is_not_taken_for_one_without_the_name() -> None:
    view = DictView(broken={"/etc/passwd": FilesystemError("bad block")})
    with pytest.raises(FilesystemError, match="bad block"):
        Owners(view).ids("www-data:0")
