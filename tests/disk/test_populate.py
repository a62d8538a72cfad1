from __future__ import annotations

import errno
import io
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.populate import populate
from bangerbuild.errors import FilesystemError, SourceError
from bangerbuild.tree import Entry, EntryType
from tests.disk.ext4_tools import NOW, assert_clean, clone, debugfs, debugfs_errors, make_ext4
from tests.properties import SHARED_FIXTURES

if TYPE_CHECKING:
    from pathlib import Path

SECOND = 1_000_000_000
LARGEST_BYTES = ((1 << 32) - 1) * 4096


def file(path: str, content: bytes = b"", mode: int = 0o644, **more: object) -> Entry:
    return Entry(path, EntryType.FILE, mode, size_bytes=len(content), content=io.BytesIO(content), **more)  # type: ignore[arg-type] # whatever an Entry takes


def directory(path: str, mode: int = 0o755, **more: object) -> Entry:
    return Entry(path, EntryType.DIRECTORY, mode, **more)  # type: ignore[arg-type] # whatever an Entry takes


def symlink(path: str, target: str) -> Entry:
    return Entry(path, EntryType.SYMLINK, 0o777, target=target)


def hole(size_bytes: int) -> Entry:
    return Entry("hole", EntryType.FILE, size_bytes=size_bytes, content=io.BytesIO(), data_extents=())


def link(path: str, target: str) -> Entry:
    return Entry(path, EntryType.HARD_LINK, target=target)


def fill(disk: Path, *entries: Entry) -> None:
    with (
        RawFile(disk, writable=True, durable=False) as blocks,
        Filesystem(blocks, writable=True, now=NOW) as fs,
    ):
        populate(fs, entries)


def tree(disk: Path) -> dict[str, tuple[str, bytes | str | None]]:
    with RawFile(disk) as blocks, Filesystem(blocks) as fs:
        return {
            entry.path: (entry.type.value, entry.content.read() if entry.content else entry.target or None)
            for entry in fs.walk()
            if entry.path not in ("", "lost+found")
        }


def test_a_tree_of_every_type_is_written_with_all_its_attributes(disk: Path) -> None:
    acl = bytes.fromhex("02000000 0100 0600 ffffffff 0400 0400 ffffffff 2000 0400 ffffffff")
    fill(
        disk,
        directory("", 0o751, uid=1, gid=2, mtime_ns=3 * SECOND),
        directory("etc", 0o700, uid=70_000, mtime_ns=-5 * SECOND, xattrs={"user.d": b"dir"}),
        file("etc/passwd", b"root", 0o4755, uid=5, gid=6, mtime_ns=4_000_000_000 * SECOND + 9),
        file("bin", b"x", xattrs={"security.capability": b"\1" * 20, "system.posix_acl_access": acl}),
        symlink("etc/short", "passwd"),
        symlink("etc/long", "p" * 300),
        link("etc/again", "etc/passwd"),
        Entry("dev", EntryType.CHARACTER_DEVICE, 0o666, device=(1, 3)),
        Entry("disk", EntryType.BLOCK_DEVICE, 0o660, device=(259, 70_000)),
        Entry("fifo", EntryType.FIFO, 0o600),
        Entry("socket", EntryType.SOCKET, 0o600),
    )
    assert_clean(disk)
    passwd = debugfs(disk, "stat /etc/again").decode()
    assert "Mode:  04755" in passwd
    assert "Links: 2" in passwd
    assert "User:     5   Group:     6" in passwd
    assert "mtime: 0xee6b2800:00000025" in passwd
    etc = debugfs(disk, "stat /etc").decode()
    assert "Type: directory    Mode:  0700" in etc
    assert "User: 70000" in etc
    assert "mtime: 0xfffffffb:00000000" in etc
    assert "Mode:  0751" in debugfs(disk, "stat /").decode()
    assert debugfs(disk, "cat /etc/long") == b"p" * 300
    assert "Device major/minor number: 01:03" in debugfs(disk, "stat /dev").decode()
    assert "major/minor number: 259:70000" in debugfs(disk, "stat /disk").decode()
    assert debugfs(disk, "ea_get -V /etc user.d").strip() == b"dir"
    assert [b"FIFO" in debugfs(disk, "stat /fifo"), b"socket" in debugfs(disk, "stat /socket")] == [
        True,
        True,
    ]
    with RawFile(disk) as blocks, Filesystem(blocks) as fs:
        assert fs.get_xattrs("/bin") == {"security.capability": b"\1" * 20, "system.posix_acl_access": acl}


def test_a_directory_of_many_names_is_whole(tmp_path: Path) -> None:
    disk = make_ext4(tmp_path / "disk.ext4", "-N", "30000", size="256M")
    fill(disk, *(file(f"many/{i:05}-{'n' * 40}") for i in range(20_000)))
    assert_clean(disk)
    listed = debugfs(disk, "ls -p /many").decode()
    assert listed.count("n" * 40) == 20_000


def test_parents_that_come_late_or_never_are_made_and_then_take_their_attributes(disk: Path) -> None:
    fill(disk, file("a/b/c", b"x"), directory("a", 0o700, uid=7))
    assert_clean(disk)
    assert "Mode:  0700" in debugfs(disk, "stat /a").decode()
    assert "User:     7" in debugfs(disk, "stat /a").decode()
    assert "Mode:  0755" in debugfs(disk, "stat /a/b").decode()
    assert debugfs(disk, "cat /a/b/c") == b"x"


def test_a_later_entry_of_a_name_wins(disk: Path) -> None:
    fill(
        disk,
        file("f", b"old" * 5000),
        file("f", b"new"),
        file("was-file"),
        directory("was-file"),
        directory("was-empty"),
        symlink("was-empty", "f"),
        file("one", b"1"),
        link("two", "one"),
        file("one", b"other"),
        link("two", "two"),
    )
    assert_clean(disk)
    assert tree(disk) == {
        "f": ("file", b"new"),
        "was-file": ("directory", None),
        "was-empty": ("symlink", "f"),
        "one": ("file", b"other"),
        "two": ("file", b"1"),
    }


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([file("d/f"), file("d")], "'d' is a file, but a directory was there before"),
        ([file("lost+found")], "'lost\\+found' is a file, but a directory was there before"),
        ([file("f"), file("f/x")], "'f/x' lies below 'f', which is no directory"),
        ([symlink("l", "/etc"), file("l/x")], "'l/x' lies below 'l', which is no directory"),
        ([link("a", "b")], "'a' is a hard link to 'b', which is not there yet"),
        ([directory("b"), link("a", "b")], "'a' is a hard link to 'b', which is a directory"),
        ([file("a/../b")], "'a/../b' holds '..', which is no name"),
        ([file("a//b")], "'a//b' holds '', which is no name"),
        ([file("a/" + "x" * 256)], "has a name of 256 bytes"),
        ([file("")], "the top of the tree is a file"),
        ([symlink("l", "")], "'l' is a symlink of 0 bytes"),
        ([symlink("l", "x" * 4096)], "'l' is a symlink of 4096 bytes"),
        (
            [Entry("f", EntryType.FILE, size_bytes=10, content=io.BytesIO(b"abc"))],
            "'f' ends after 3 of 10 bytes",
        ),
        ([Entry("f", EntryType.FILE, size_bytes=10)], "'f' has 10 bytes, but no content"),
        ([hole(LARGEST_BYTES + 1)], "'hole' has 17592186040321 bytes; a file in ext4 has 17592186040320 at"),
    ],
)
def test_an_entry_that_no_tree_can_hold_is_named(entries: list[Entry], message: str, disk: Path) -> None:
    with pytest.raises(SourceError, match=message):
        fill(disk, *entries)


def test_the_largest_file_that_ext4_holds_is_taken(disk: Path) -> None:
    fill(disk, hole(LARGEST_BYTES))
    assert_clean(disk)
    assert b"Size: 17592186040320" in debugfs(disk, "stat /hole")


def test_parents_may_lie_as_deep_as_a_path_goes(disk: Path) -> None:
    path = "d/" * 2000 + "f"
    fill(disk, file(path, b"deep"))
    assert_clean(disk)
    assert debugfs(disk, f"cat /{path}") == b"deep"


def test_holes_take_no_blocks(disk: Path) -> None:
    extents = ((0, 100), (5000, 3000), (9000, 10), (40_000_000, 5000))
    data = bytes(i % 250 + 1 for i in range(sum(length for _, length in extents)))
    size = 50_000_000
    expected, at = bytearray(size), 0
    for offset, length in extents:
        expected[offset : offset + length] = data[at : at + length]
        at += length
    fill(
        disk,
        Entry(
            "sparse", EntryType.FILE, 0o644, size_bytes=size, content=io.BytesIO(data), data_extents=extents
        ),
        Entry("empty", EntryType.FILE, 0o644, size_bytes=size, content=io.BytesIO(b""), data_extents=()),
    )
    assert_clean(disk)
    assert debugfs(disk, "cat /sparse") == expected
    assert f"Size: {size}" in debugfs(disk, "stat /sparse").decode()
    assert "Blockcount: 40" in debugfs(disk, "stat /sparse").decode()
    assert "Blockcount: 0" in debugfs(disk, "stat /empty").decode()


@pytest.mark.parametrize("extents", [((0, 11),), ((5, 2), (4, 1)), ((8, 5),)])
def test_data_where_there_cannot_be_any_is_an_error(extents: tuple[tuple[int, int], ...], disk: Path) -> None:
    entry = Entry("f", EntryType.FILE, size_bytes=10, content=io.BytesIO(bytes(20)), data_extents=extents)
    with pytest.raises(SourceError, match="'f' has data from"):
        fill(disk, entry)


def test_lost_and_found_is_kept_and_can_be_named(disk: Path) -> None:
    fill(disk, directory("lost+found", 0o711), file("f"))
    assert_clean(disk)
    assert "Mode:  0711" in debugfs(disk, "stat /lost+found").decode()
    assert "Size: 16384" in debugfs(disk, "stat /lost+found").decode()


def test_files_under_lost_and_found_are_kept_too(disk: Path) -> None:
    fill(disk, file("lost+found/f", b"x"))
    assert_clean(disk)
    assert debugfs(disk, "cat /lost+found/f") == b"x"


def test_a_file_of_many_extents_is_whole(disk: Path) -> None:
    pieces = tuple((i * 8192, 4096) for i in range(600))
    data = os.urandom(600 * 4096)
    entry = Entry("f", EntryType.FILE, size_bytes=600 * 8192, content=io.BytesIO(data), data_extents=pieces)
    fill(disk, entry)
    assert_clean(disk)
    got = debugfs(disk, "cat /f")
    assert b"".join(got[offset : offset + length] for offset, length in pieces) == data


def test_a_filesystem_too_small_for_the_tree_names_the_entry(tmp_path: Path) -> None:
    disk = make_ext4(tmp_path / "disk.ext4", size="8M")
    with pytest.raises(
        FilesystemError, match=r"cannot write 'big' to .*: no space left in the guest filesystem"
    ):
        fill(disk, file("small"), file("big", bytes(10 << 20)))


def test_a_filesystem_that_holds_something_is_not_filled(disk: Path) -> None:
    fill(disk, file("f"))
    with pytest.raises(FilesystemError, match=r"is not empty: it holds 'f'"):
        fill(disk, file("g"))


def test_a_filesystem_without_extents_is_not_filled(tmp_path: Path) -> None:
    disk = make_ext4(tmp_path / "disk.ext2", "-t", "ext2")
    with pytest.raises(FilesystemError, match="needs extent and filetype"):
        fill(disk, file("g"))


def test_names_that_are_replaced_give_their_inodes_and_blocks_back(tmp_path: Path) -> None:
    disk = make_ext4(tmp_path / "disk.ext4", "-N", "64", size="16M")
    fill(disk, *(file("same", bytes([index]) * 500_000) for index in range(200)))
    assert_clean(disk)
    assert tree(disk) == {"same": ("file", bytes([199]) * 500_000)}


def test_a_filesystem_without_inodes_for_the_tree_names_the_entry(tmp_path: Path) -> None:
    disk = make_ext4(tmp_path / "disk.ext4", "-N", "64", size="16M")
    with pytest.raises(FilesystemError, match=r"cannot write 'f53' to .*: no free inodes left in"):
        fill(disk, *(file(f"f{index}") for index in range(100)))


def test_attributes_between_many_files_are_set(tmp_path: Path) -> None:
    disk = make_ext4(tmp_path / "disk.ext4", "-O", "orphan_file")
    large = {f"user.a{index}": bytes([index]) * 300 for index in range(9)}
    fill(
        disk,
        *(
            file(f"d/{index:03}", b"x" * index, xattrs={"user.n": b"%d" % index} if index % 7 == 0 else {})
            for index in range(300)
        ),
        file("d/many", b"x", xattrs=large),
        directory("d", xattrs={"user.d": b"top"}),
    )
    assert_clean(disk)
    with RawFile(disk) as blocks, Filesystem(blocks) as fs:
        found = {index: fs.get_xattrs(f"/d/{index:03}") for index in range(300)}
        assert {index: own for index, own in found.items() if own} == {
            index: {"user.n": b"%d" % index} for index in range(0, 300, 7)
        }
        assert fs.get_xattrs("/d/many") == large
        assert fs.read("/d/299") == b"x" * 299


def test_a_host_without_room_is_told(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(FilesystemError, match="No space left on device") as raised:
        fill(disk, *(file(f"f{index}", bytes(1 << 20)) for index in range(40)))
    assert raised.value.code == errno.ENOSPC


def test_the_same_tree_gives_the_same_bytes(blank: Path, tmp_path: Path) -> None:
    made = []
    for name in ("a", "b"):
        path = tmp_path / name
        path.write_bytes(blank.read_bytes())
        fill(path, file("x/y", b"1" * 9000, xattrs={"user.b": b"1", "user.a": b"2"}), symlink("l", "x" * 90))
        made.append(path.read_bytes())
    assert made[0] == made[1]


@pytest.mark.parametrize(
    "options", ["-O ^metadata_csum", "-b 1024", "-b 65536", "-I 128", "-O ^has_journal,^flex_bg"]
)
def test_other_kinds_of_ext4_are_filled_cleanly(options: str, tmp_path: Path) -> None:
    disk = make_ext4(tmp_path / "disk.ext4", *options.split())
    fill(disk, *(file(f"d/{'n' * 100}{i}", b"x" * i * 100) for i in range(300)), symlink("l", "t" * 200))
    assert_clean(disk)
    assert debugfs(disk, f"cat /d/{'n' * 100}299") == b"x" * 29_900
    assert b"not found" in debugfs_errors(disk, "stat /d/none")


NAMES = st.sampled_from(["a", "b", "c"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
ENTRIES = st.lists(
    st.tuples(PATHS, st.sampled_from(["file", "directory", "symlink"]), st.integers(0, 9000)), max_size=12
)


@settings(SHARED_FIXTURES, max_examples=30)
@given(drawn=ENTRIES)
def test_any_tree_is_clean_and_holds_what_tar_would_leave(
    blank: Path, tmp_path_factory: pytest.TempPathFactory, drawn: list[tuple[str, str, int]]
) -> None:
    disk = tmp_path_factory.mktemp("any") / "disk.ext4"
    clone(blank, disk)
    model: dict[str, tuple[str, bytes | str | None]] = {}
    entries = []
    for path, kind, size in drawn:
        parents = ["/".join(path.split("/")[:i]) for i in range(1, len(path.split("/")))]
        if any(model.get(parent, ("directory", None))[0] != "directory" for parent in parents):
            continue
        if kind != "directory" and any(known.startswith(path + "/") for known in model):
            continue
        model.update(dict.fromkeys(parents, ("directory", None)))
        content = bytes([size % 251]) * size
        values: dict[str, tuple[Entry, bytes | str | None]] = {
            "file": (file(path, content), content),
            "directory": (directory(path), None),
            "symlink": (symlink(path, "t" * (size % 100 + 1)), "t" * (size % 100 + 1)),
        }
        entries.append(values[kind][0])
        model[path] = (kind, values[kind][1])
    fill(disk, *entries)
    assert_clean(disk)
    assert tree(disk) == {
        path: (kind, value if value != "" else None) for path, (kind, value) in model.items()
    }
