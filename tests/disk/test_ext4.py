from __future__ import annotations

import errno
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.snapshot_store import SnapshotStore
from bangerbuild.errors import FilesystemError, GuestPathError
from bangerbuild.tree import DiskMount, EntryType
from tests.disk.ext4_tools import NOW, assert_clean, clone, debugfs, make_ext4
from tests.disk.filesystems import SECOND, make_node, opened
from tests.need import need
from tests.properties import SHARED_FIXTURES

if TYPE_CHECKING:
    from pathlib import Path


def test_what_stands_at_the_target_is_replaced_and_its_other_names_are_untouched(disk: Path) -> None:
    with opened(disk) as fs:
        fs.write_file("/target", b"kept")
        fs.make_symlink("/a", "/target")
        fs.write_file("/first", b"shared")
        fs.link("/b", "/first")
        make_node(fs, "/c", EntryType.FIFO)
        for name in "abc":
            fs.write_file(f"/{name}", b"new")
    assert_clean(disk)
    assert debugfs(disk, "cat /target") == b"kept"
    assert debugfs(disk, "cat /first") == b"shared"
    assert "Links: 1" in debugfs(disk, "stat /first").decode()
    assert [debugfs(disk, f"cat /{name}") for name in "abc"] == [b"new"] * 3


def test_a_directory_at_the_target_is_an_error_that_changes_nothing(disk: Path) -> None:
    with opened(disk) as fs:
        fs.write_file("/d/inside", b"x")
    with opened(disk) as fs:
        fs.write_file("/f", b"x")
        for path in ("/d", "/", "/d/.."):
            with pytest.raises(GuestPathError, match="is a directory"):
                fs.write_file(path, b"y")
        with pytest.raises(GuestPathError, match="is a directory"):
            fs.make_symlink("/d", "y")
        with pytest.raises(GuestPathError, match="is a directory"):
            fs.link("/d", "/f")
    assert_clean(disk)
    assert debugfs(disk, "cat /d/inside") == b"x"


def test_a_file_on_the_way_is_named(disk: Path) -> None:
    with opened(disk) as fs:
        fs.write_file("/etc/passwd", b"x")
        with pytest.raises(GuestPathError, match="'/etc/passwd' is on the way to '/etc/passwd/x'"):
            fs.write_file("/etc/passwd/x", b"y")
        with pytest.raises(GuestPathError, match="'/etc/passwd' is in the way"):
            fs.make_directory("/etc/passwd")


def test_missing_parents_are_made_for_root_and_existing_ones_keep_what_they_are(disk: Path) -> None:
    with opened(disk) as fs:
        fs.make_directory("/home", mode=0o2750, uid=5, gid=6)
        fs.make_directory("/home", mode=0o755)
        fs.write_file("/home/user/.config/file", b"x")
        home, made = fs.stat("/home"), fs.stat("/home/user/.config")
    assert home is not None
    assert made is not None
    assert (home.mode, home.uid, home.gid) == (0o2750, 5, 6)
    assert (made.mode, made.uid, made.gid) == (0o755, 0, 0)
    assert_clean(disk)


def test_a_path_never_leaves_the_guest(disk: Path, tmp_path: Path) -> None:
    (tmp_path / "host").write_bytes(b"host")
    with opened(disk) as fs:
        fs.make_symlink("/out", f"../../../../..{tmp_path}")
        fs.write_file("/out/host", b"guest")
        assert fs.stat(f"{tmp_path}/host") is not None
    assert (tmp_path / "host").read_bytes() == b"host"


def test_a_path_below_another_disks_mount_point_is_refused(disk: Path) -> None:
    with opened(disk, DiskMount(others=frozenset({"/root"}))) as fs:
        fs.make_directory("/root")
        with pytest.raises(GuestPathError, match="lies on another disk"):
            fs.write_file("/root/x", b"x")


def test_extended_attributes_come_and_go_and_acls_keep_the_kernels_form(disk: Path) -> None:
    acl = bytes.fromhex(
        "02000000 0100 0600 ffffffff 0200 0400 e8030000 0400 0400 ffffffff"
        "1000 0600 ffffffff 2000 0400 ffffffff"
    )
    with opened(disk) as fs:
        fs.write_file("/f", b"x", xattrs={"system.posix_acl_access": acl, "user.a": b""})
        fs.set_xattr("/f", "trusted.b", b"2" * 900)
        fs.set_xattr("/f", "user.a", b"1")
        assert fs.get_xattrs("/f") == {
            "system.posix_acl_access": acl,
            "user.a": b"1",
            "trusted.b": b"2" * 900,
        }
        fs.remove_xattr("/f", "trusted.b")
        fs.remove_xattr("/f", "user.none")
        assert set(fs.get_xattrs("/f")) == {"system.posix_acl_access", "user.a"}
    assert_clean(disk)
    assert b"user.a" in debugfs(disk, "ea_list /f")
    assert b"user:1000:r--" in debugfs(disk, "ea_list /f") or b"posix_acl_access" in debugfs(
        disk, "ea_list /f"
    )


def test_an_attribute_without_room_is_named_and_the_disk_is_not_written(disk: Path) -> None:
    with (
        pytest.raises(FilesystemError, match=r"no room for the attribute 'user\.big' of 5000 bytes"),
        opened(disk) as fs,
    ):
        fs.write_file("/f", b"x", xattrs={"user.big": b"v" * 5000})
    with RawFile(disk) as blocks, Filesystem(blocks) as fs:
        assert fs.stat("/f") is None


def test_attributes_change_without_touching_the_content(disk: Path) -> None:
    with opened(disk) as fs:
        fs.write_file("/f", b"content")
        fs.make_symlink("/l", "f")
        fs.set_attributes("/l", mode=0o600, uid=1, gid=2, mtime_ns=3 * SECOND)
        stat = fs.stat("/f")
        assert stat is not None
        assert (stat.mode, stat.uid, stat.gid, stat.mtime_ns) == (0o600, 1, 2, 3 * SECOND)
        assert fs.read("/f") == b"content"
        with pytest.raises(GuestPathError, match="is not there"):
            fs.set_attributes("/none", mode=0)


def test_a_full_guest_is_one_plain_message_with_a_code(tmp_path: Path) -> None:
    path = make_ext4(tmp_path / "small.ext4", "-N", "64", size="8M")
    with (
        pytest.raises(
            FilesystemError, match=r"'/big' in .*: no space left in the guest filesystem"
        ) as caught,
        opened(path) as fs,
    ):
        fs.write_file("/big", bytes(20 << 20))
    assert caught.value.code not in (None, errno.EIO)
    with (
        pytest.raises(FilesystemError, match=r"'/f53' in .*: no free inodes left in the guest filesystem"),
        opened(path) as fs,
    ):
        fill_inodes(fs)


def fill_inodes(fs: Filesystem) -> None:
    for i in range(100):
        fs.write_file(f"/f{i}", b"")


def test_a_full_guest_leaves_base_and_store_as_they_were(tmp_path: Path) -> None:
    path = make_ext4(tmp_path / "small.ext4", size="8M")
    before = path.read_bytes()
    with RawFile(path) as base, SnapshotStore.create(base, tmp_path / "s.cow") as store:
        fs = Filesystem(store, writable=True, now=NOW)
        fs.write_file("/a", b"a")
        with pytest.raises(FilesystemError, match="no space left"):
            fs.write_file("/big", bytes(20 << 20))
        with pytest.raises(FilesystemError, match="broke off"):
            fs.close()
    with RawFile(path) as base, SnapshotStore(base, tmp_path / "s.cow") as store:
        assert store.changed_count == 0
    assert path.read_bytes() == before


def test_a_change_that_broke_off_keeps_the_rest_from_being_written(disk: Path) -> None:
    with (
        pytest.raises(FilesystemError, match=r"a change to .* broke off, so it is not written"),
        opened(disk) as fs,
        pytest.raises(FilesystemError, match="ext4 keeps no attribute"),
    ):
        fs.write_file("/f", b"x", xattrs={"odd.name": b""})


def test_an_indexed_directory_stays_indexed_and_clean(disk: Path) -> None:
    with opened(disk) as fs:
        for i in range(400):
            fs.write_file(f"/d/{'n' * 60}{i}", b"")
    done = subprocess.run([need("e2fsck", "e2fsprogs"), "-fyD", disk], capture_output=True, check=False)
    assert done.returncode in (0, 1)
    assert b"0x81000" in debugfs(disk, "stat /d")
    with opened(disk) as fs:
        for i in range(400, 900):
            fs.write_file(f"/d/{'n' * 60}{i}", b"")
        for i in range(0, 900, 3):
            assert fs.remove(f"/d/{'n' * 60}{i}")
        assert len(fs.listdir("/d") or ()) == 600
    assert_clean(disk)
    assert b"0x81000" in debugfs(disk, "stat /d")


def test_the_same_changes_give_the_same_bytes(blank: Path, tmp_path: Path) -> None:
    made = []
    for name in ("a", "b"):
        path = tmp_path / name
        path.write_bytes(blank.read_bytes())
        with opened(path) as fs:
            fs.write_file("/d/f", b"x", xattrs={"user.b": b"1", "user.a": b"2"})
            fs.make_symlink("/l", "y" * 100)
            fs.write_file("/d/f", b"z")
            fs.remove("/l")
        made.append(path.read_bytes())
    assert made[0] == made[1]


class Broken(RawFile):
    """A disk that fails after some writes."""

    writes_left = 5

    def write(self, offset: int, data: bytes | bytearray) -> None:
        if not self.writes_left:
            raise OSError(errno.EIO, "the cable is out")
        self.writes_left -= 1
        super().write(offset, data)


def test_an_exception_in_a_callback_comes_out_as_it_was(disk: Path) -> None:
    with (
        Broken(disk, writable=True) as broken,
        pytest.raises(OSError, match="the cable is out"),
        Filesystem(broken, writable=True, now=NOW) as fs,
    ):
        fs.write_file("/a/b/c/d", bytes(10_000))
    with RawFile(disk) as blocks, Filesystem(blocks) as fs:
        assert fs.listdir("/") is not None


PATHS = st.lists(st.sampled_from(["a", "b", "c", "long-name-" + "x" * 200]), min_size=1, max_size=3).map(
    lambda parts: "/" + "/".join(parts)
)
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), PATHS, st.integers(0, 20_000)),
        st.tuples(st.just("mkdir"), PATHS, st.just(0)),
        st.tuples(st.just("remove"), PATHS, st.just(0)),
    ),
    max_size=25,
)


@settings(SHARED_FIXTURES, max_examples=30)
@given(operations=OPERATIONS)
def test_any_order_of_changes_leaves_a_clean_disk_with_what_a_dict_would_hold(
    blank: Path, tmp_path_factory: pytest.TempPathFactory, operations: list[tuple[str, str, int]]
) -> None:
    path = tmp_path_factory.mktemp("any") / "disk.ext4"
    clone(blank, path)
    model: dict[str, bytes | None] = {"/lost+found": None}
    with opened(path) as fs:
        for kind, where, size in operations:
            above = ["/".join(where.split("/")[:i]) for i in range(2, len(where.split("/")))]
            content = bytes([size % 251]) * size
            blocked = any(model.get(parent) is not None for parent in above)
            try:
                if kind == "write":
                    fs.write_file(where, content)
                    assert not blocked
                    model.update(dict.fromkeys(above))
                    model[where] = content
                elif kind == "mkdir":
                    fs.make_directory(where)
                    assert not blocked
                    model.update(dict.fromkeys([*above, where]))
                else:
                    removed = fs.remove(where, recursive=True)
                    assert removed == (where in model)
                    model = {k: v for k, v in model.items() if k != where and not k.startswith(where + "/")}
            except GuestPathError:
                is_directory = where in model and model[where] is None
                assert blocked or (is_directory if kind == "write" else where in model)
    assert_clean(path)
    with RawFile(path) as blocks, Filesystem(blocks) as fs:
        found = {"/" + e.path: e.content.read() if e.content else None for e in fs.walk() if e.path}
    assert found == model
