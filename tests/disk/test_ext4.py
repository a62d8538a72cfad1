from __future__ import annotations

import errno
import hashlib
import io
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.overlay import SnapshotStore
from bangerbuild.errors import FilesystemError, GuestPathError, SourceError
from bangerbuild.tree import ALONE, DiskMount, EntryType
from tests.disk.ext4_tools import NOW, assert_clean, clone, debugfs, make_ext4
from tests.need import need
from tests.properties import SHARED_FIXTURES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECOND = 1_000_000_000


def noise(seed: int, length: int) -> bytes:
    """Bytes that look like chance and are the same each time."""
    return hashlib.shake_256(bytes([seed])).digest(length)


@contextmanager
def opened(path: Path, place: DiskMount = ALONE) -> Iterator[Filesystem]:
    with (
        RawFile(path, writable=True, durable=False) as blocks,
        Filesystem(blocks, writable=True, now=NOW, place=place) as fs,
    ):
        yield fs


def test_a_file_is_read_through_symlinks_and_none_only_where_nothing_is(disk: Path) -> None:
    with opened(disk) as fs:
        fs.write_file("/etc/hosts", b"127.0.0.1\n")
        fs.make_symlink("/hosts", "/etc/../etc/hosts")
        fs.make_symlink("/dangling", "/nowhere/at/all")
        assert fs.read("/hosts") == b"127.0.0.1\n"
        assert fs.read("/dangling") is None
        assert fs.read("/nowhere/file") is None
        assert fs.exists("/hosts")
        assert not fs.exists("/dangling")
        assert fs.stat("/dangling", follow=False) is not None
        with pytest.raises(GuestPathError, match=r"'/etc' in .* is no regular file"):
            fs.read("/etc")


def test_a_stat_says_all_that_an_inode_knows(disk: Path) -> None:
    with opened(disk) as fs:
        fs.write_file("/f", b"abc", mode=0o4711, uid=70_001, gid=80_002, mtime_ns=5_000_000_000 * SECOND + 7)
        fs.make_symlink("/l", "f")
        fs.make_node("/tty", EntryType.CHARACTER_DEVICE, device=(4, 300), mode=0o620)
        stat, link, tty = fs.stat("/f"), fs.stat("/l", follow=False), fs.stat("/tty")
    assert stat is not None
    assert (stat.type, stat.mode, stat.uid, stat.gid) == (EntryType.FILE, 0o4711, 70_001, 80_002)
    assert (stat.size_bytes, stat.mtime_ns, stat.links) == (3, 5_000_000_000 * SECOND + 7, 1)
    assert link is not None
    assert (link.type, link.target) == (EntryType.SYMLINK, "f")
    assert tty is not None
    assert tty.device == (4, 300)
    described = debugfs(disk, "stat /f").decode()
    assert "mtime: 0x2a05f200:0000001d" in described
    assert "Mode:  04711" in described
    assert "Device major/minor number: 04:300" in debugfs(disk, "stat /tty").decode()
    assert_clean(disk)


def test_what_stands_at_the_target_is_replaced_and_its_other_names_are_untouched(disk: Path) -> None:
    with opened(disk) as fs:
        fs.write_file("/target", b"kept")
        fs.make_symlink("/a", "/target")
        fs.write_file("/first", b"shared")
        fs.link("/b", "/first")
        fs.make_node("/c", EntryType.FIFO)
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


def test_removal_gives_everything_back(disk: Path) -> None:
    def free() -> list[str]:
        lines = debugfs(disk, "show_super_stats -h").decode().splitlines()
        return [line for line in lines if line.startswith(("Free blocks", "Free inodes"))]

    with opened(disk) as fs:
        fs.make_directory("/keep")
    before = free()
    with opened(disk) as fs:
        fs.write_file("/keep/tree/a/b/file", bytes(3_000_000), xattrs={"user.x": b"v" * 1000})
        fs.make_symlink("/keep/tree/slow", "x" * 100)
        fs.link("/keep/other", "/keep/tree/a/b/file")
    with opened(disk) as fs:
        with pytest.raises(GuestPathError, match=r"is a directory in .* that is not empty"):
            fs.remove("/keep/tree")
        assert fs.remove("/keep/tree", recursive=True)
        assert len(fs.read("/keep/other") or b"") == 3_000_000
        assert fs.remove("/keep/other")
        assert not fs.remove("/keep/other")
        with pytest.raises(GuestPathError, match="is the root"):
            fs.remove("/", recursive=True)
    assert free() == before
    assert_clean(disk)


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


def test_content_comes_from_a_stream_and_one_too_short_is_told(disk: Path) -> None:
    content = noise(1, 3_333_333)
    with opened(disk) as fs:
        fs.write_file("/f", io.BytesIO(content + b"more"), size_bytes=len(content))
        fs.write_file("/empty", io.BytesIO(b""), size_bytes=0)
        assert b"".join(fs.read_chunks("/f") or ()) == content
        assert fs.read("/empty") == b""
    assert debugfs(disk, "cat /f") == content
    assert_clean(disk)
    with pytest.raises(SourceError, match="the content of '/g' ends after 3 of 10 bytes"), opened(disk) as fs:
        fs.write_file("/g", io.BytesIO(b"abc"), size_bytes=10)


def test_a_file_in_many_pieces_is_written_and_read(disk: Path) -> None:
    content = noise(2, 20_000_000)
    with opened(disk) as fs:
        for i in range(3500):
            fs.write_file(f"/d/{i}", b"x" * 9000)
        for i in range(0, 3500, 2):
            fs.remove(f"/d/{i}")
        free = fs.nodes.superblock.free_blocks
        assert free
        fs.write_file("/holes-filled", content)
        fs.write_file("/again", content[: 4096 * 900])
    assert_clean(disk)
    assert debugfs(disk, "cat /holes-filled") == content
    assert len(debugfs(disk, "dump_extents /holes-filled").splitlines()) > 6
    with opened(disk) as fs:
        assert fs.read("/holes-filled") == content
        fs.remove("/holes-filled")
    assert_clean(disk)


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
        pytest.raises(FilesystemError, match=r"'/f53' in .*: no space left in the guest filesystem"),
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
        assert store.exceptions == 0
    assert path.read_bytes() == before


def test_a_change_that_broke_off_keeps_the_rest_from_being_written(disk: Path) -> None:
    with (
        pytest.raises(FilesystemError, match=r"a change to .* broke off, so it is not written"),
        opened(disk) as fs,
        pytest.raises(FilesystemError, match="ext4 keeps no attribute"),
    ):
        fs.write_file("/f", b"x", xattrs={"odd.name": b""})


def test_a_filesystem_opened_for_reading_is_not_changed(disk: Path) -> None:
    with (
        RawFile(disk) as blocks,
        Filesystem(blocks) as fs,
        pytest.raises(FilesystemError, match="for reading only"),
    ):
        fs.write_file("/f", b"x")


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


def test_names_of_any_bytes_come_back_as_they_went_in(disk: Path) -> None:
    names = ["caf\u00e9", "\udcff\udcfe", "a b", "-rf", "x" * 255, "new\nline"]
    with opened(disk) as fs:
        for name in names:
            fs.write_file(f"/d/{name}", b"")
        assert fs.listdir("/d") == sorted(names)
        with pytest.raises(GuestPathError, match="a name of 256 bytes"):
            fs.write_file("/d/" + "x" * 256, b"")
    assert_clean(disk)


def test_a_walk_meets_every_name_once_with_all_that_is_known(disk: Path) -> None:
    with opened(disk) as fs:
        fs.write_file("/b/file", b"content", mode=0o600, uid=1, xattrs={"user.x": b"y"})
        fs.link("/a", "/b/file")
        fs.make_symlink("/b/link", "../a")
        fs.make_node("/dev", EntryType.BLOCK_DEVICE, device=(8, 1))
    with RawFile(disk) as blocks, Filesystem(blocks) as fs:
        entries = {}
        for entry in fs.walk():
            entries[entry.path] = (
                entry.type,
                entry.target,
                entry.content.read() if entry.content else None,
                entry,
            )
    assert list(entries) == ["", "a", "b", "b/file", "b/link", "dev", "lost+found"]
    assert entries["a"][:3] == (EntryType.FILE, "", b"content")
    assert entries["b/file"][:3] == (EntryType.HARD_LINK, "a", None)
    assert entries["b/link"][:3] == (EntryType.SYMLINK, "../a", None)
    assert entries["a"][3].xattrs == {"user.x": b"y"}
    assert entries["dev"][3].device == (8, 1)


def test_holes_and_unwritten_blocks_read_as_zeros(disk: Path, tmp_path: Path) -> None:
    (tmp_path / "sparse").write_bytes(b"start")
    with (tmp_path / "sparse").open("r+b") as file:
        file.seek(3_000_000)
        file.write(b"end")
        file.truncate(4_000_000)
    subprocess.run(
        [need("debugfs", "e2fsprogs"), "-w", "-R", f"write {tmp_path}/sparse sparse", disk],
        check=True,
        capture_output=True,
    )
    subprocess.run(
        [need("debugfs", "e2fsprogs"), "-w", "-R", "fallocate sparse 10 400", disk],
        check=True,
        capture_output=True,
    )
    with RawFile(disk) as blocks, Filesystem(blocks) as fs:
        assert fs.read("/sparse") == (tmp_path / "sparse").read_bytes()


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
