"""An inode of the host as an entry of a tree: what is taken, and what is set instead."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from bangerbuild.errors import SourceError
from bangerbuild.formats.acl import ACCESS, default_acl
from bangerbuild.formats.hostentry import TreeRules, host_entry, host_xattrs, taken_xattrs
from bangerbuild.tree import Entry, EntryType
from tests.formats.tarmaking import set_xattr


def found(mode: int, **fields: int) -> os.stat_result:
    """What stat may say of an inode."""
    values = {"uid": 1000, "gid": 100, "size": 5, "mtime": 7, **fields}
    return os.stat_result(
        (mode, 1, 1, 1, values["uid"], values["gid"], values["size"], 0, values["mtime"], 0),
        {"st_mtime_ns": values["mtime"] * 10**9, "st_rdev": fields.get("rdev", 0)},
    )


def entry(mode: int, rules: TreeRules, **fields: int) -> Entry:
    return host_entry("name", found(mode, **fields), rules, {})


FILE = stat.S_IFREG | 0o4751
DEVICE = stat.S_IFCHR | 0o600


def test_an_entry_has_the_hosts_bits_and_time_and_belongs_to_root() -> None:
    made = entry(FILE, TreeRules())
    assert (made.type, made.mode, made.uid, made.gid) == (EntryType.FILE, 0o4751, 0, 0)
    assert (made.size_bytes, made.mtime_ns) == (5, 7 * 10**9)


def test_owners_are_kept_on_demand() -> None:
    made = entry(FILE, TreeRules(keep_owner=True))
    assert (made.uid, made.gid) == (1000, 100)


def test_one_time_may_be_set_for_all() -> None:
    assert entry(FILE, TreeRules(mtime_s=3)).mtime_ns == 3 * 10**9
    assert entry(FILE, TreeRules(mtime_s=0)).mtime_ns == 0


def test_a_mode_for_files_is_one_for_files_only() -> None:
    rules = TreeRules(file_mode=0)
    assert entry(FILE, rules).mode == 0
    assert entry(stat.S_IFDIR | 0o750, rules).mode == 0o750


def test_a_mode_may_be_a_change_of_the_hosts_for_files_and_for_directories() -> None:
    rules = TreeRules(file_mode="u=rwX,go=rX", directory_mode="g+s")
    assert entry(stat.S_IFREG | 0o700, rules).mode == 0o755
    assert entry(stat.S_IFREG | 0o600, rules).mode == 0o644
    assert entry(stat.S_IFDIR | 0o700, rules).mode == 0o2700
    assert entry(stat.S_IFLNK | 0o777, rules).mode == 0o777


def test_the_top_may_have_a_mode_of_its_own() -> None:
    rules = TreeRules(top_mode=0o755, directory_mode=0o700)
    assert host_entry("", found(stat.S_IFDIR | 0o777), rules, {}).mode == 0o755
    assert host_entry("etc", found(stat.S_IFDIR | 0o777), rules, {}).mode == 0o700
    assert host_entry("", found(FILE), rules, {}).mode == 0o4751


def test_an_acl_follows_another_mode_as_it_follows_chmod() -> None:
    acl = default_acl("user::rwx,user:7:rw-,group::r--,mask::rw-,other::r--")
    made = host_entry("name", found(stat.S_IFREG | 0o764), TreeRules(file_mode=0o640), {ACCESS: acl})
    wanted = default_acl("user::rw-,user:7:rw-,group::r--,mask::r--,other::---")
    assert made.xattrs == {ACCESS: wanted}
    assert host_entry("name", found(stat.S_IFREG | 0o764), TreeRules(), {ACCESS: acl}).xattrs == {ACCESS: acl}


def test_only_files_have_a_size_and_only_devices_a_number() -> None:
    device = entry(DEVICE, TreeRules(keep_owner=True), rdev=os.makedev(4, 64))
    assert (device.device, device.size_bytes) == ((4, 64), 0)
    directory = entry(stat.S_IFDIR | 0o755, TreeRules(), rdev=os.makedev(4, 64))
    assert (directory.device, directory.size_bytes) == ((0, 0), 0)


def test_what_is_no_stat_is_handed_through() -> None:
    made = host_entry("l", found(stat.S_IFLNK | 0o777), TreeRules(), {"user.a": b"1"}, target="to")
    assert (made.type, made.target, made.xattrs) == (EntryType.SYMLINK, "to", {"user.a": b"1"})


@pytest.mark.parametrize(
    ("rules", "taken"),
    [
        (TreeRules(), {"file", "directory", "symlink", "fifo"}),
        (TreeRules(keep_owner=True), {"file", "directory", "symlink", "fifo", "device"}),
        (TreeRules(specials=False), {"file", "directory", "symlink"}),
        (TreeRules(keep_owner=True, specials=False), {"file", "directory", "symlink"}),
    ],
)
def test_sockets_are_never_taken_and_devices_only_with_their_owners(
    rules: TreeRules, taken: set[str]
) -> None:
    types = {
        "file": EntryType.FILE,
        "directory": EntryType.DIRECTORY,
        "symlink": EntryType.SYMLINK,
        "fifo": EntryType.FIFO,
        "socket": EntryType.SOCKET,
        "device": EntryType.BLOCK_DEVICE,
    }
    assert {name for name, type_ in types.items() if rules.takes(type_)} == taken
    assert rules.takes(EntryType.CHARACTER_DEVICE) == rules.takes(EntryType.BLOCK_DEVICE)


def test_attributes_worth_taking_are_taken_in_order_of_an_open_file_or_a_path(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    for name in ("user.b", "user.a"):
        set_xattr(path, name, b"1")
    assert list(host_xattrs(os.fsencode(path), "it")) == ["user.a", "user.b"]
    with path.open("rb") as file:
        assert host_xattrs(file.fileno(), "it") == {"user.a": b"1", "user.b": b"1"}


def test_the_hosts_own_labels_stay_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["security.selinux", "trusted.overlay.opaque", "security.capability", "system.posix_acl_access"]
    monkeypatch.setattr(os, "listxattr", lambda _where, **_options: names)
    monkeypatch.setattr(os, "getxattr", lambda _where, name, **_options: name.encode())
    assert host_xattrs(b"x", "it").keys() == {"security.capability", "system.posix_acl_access"}
    assert taken_xattrs(dict.fromkeys(names, b"")).keys() == host_xattrs(b"x", "it").keys()
    assert taken_xattrs(None) == {}


def test_a_symlinks_own_attributes_are_read_and_not_its_targets(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    set_xattr(tmp_path / "file", "user.a", b"1")
    (tmp_path / "link").symlink_to("file")
    assert host_xattrs(os.fsencode(tmp_path / "link"), "it") == {}


def test_a_filesystem_without_attributes_has_none() -> None:
    assert host_xattrs(os.fsencode(Path("/proc/self/status")), "it") == {}


def test_attributes_that_can_not_be_read_are_told_by_name(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="'it' vanished"):
        host_xattrs(os.fsencode(tmp_path / "missing"), "it")
