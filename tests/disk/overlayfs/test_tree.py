from __future__ import annotations

import shutil
from io import BytesIO
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.errors import FilesystemError, GuestPathError
from bangerbuild.tree import EntryType
from tests.disk.ext4_tools import assert_clean, debugfs, make_ext4
from tests.disk.filesystems import make_node, opened
from tests.disk.overlayfs.joined import (
    KINDS,
    MIB,
    Edit,
    KernelEditor,
    OurEditor,
    is_whiteout,
    joined,
    kernel_joined,
    make_upper,
    seen_by_kernel,
    seen_by_us,
    upper_tree,
)
from tests.properties import SHARED_FIXTURES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from bangerbuild.disk.overlayfs.tree import JoinedTree
    from tests.disk.overlayfs.joined import Seen

LOWER = "-O", "^has_journal,^resize_inode", "-N", "256"


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lower disk without files."""
    return make_ext4(tmp_path_factory.mktemp("empty") / "lower.ext4", *LOWER, size="8M")


@pytest.fixture(scope="module")
def empty_upper(empty: Path) -> Path:
    return make_upper(empty.with_name("upper.ext4"), empty)


@pytest.fixture
def lower(empty: Path, tmp_path: Path) -> Path:
    """One with a little of everything."""
    disk = tmp_path / "lower.ext4"
    shutil.copy(empty, disk)
    with opened(disk) as fs:
        fs.make_directory("/etc/ssh", mode=0o750, uid=7, gid=8, mtime_ns=5_000_000_007)
        fs.set_xattr("/etc/ssh", "user.kept", b"yes")
        fs.write_file("/etc/ssh/key", b"secret", mode=0o600, mtime_ns=11)
        fs.write_file("/etc/passwd", b"root:x:0:0::/root:/bin/sh\n", mtime_ns=12)
        fs.link("/etc/passwd-", "/etc/passwd")
        fs.make_directory("/usr/lib")
        fs.make_symlink("/lib", "usr/lib")
        fs.write_file("/usr/lib/library", b"\x7fELF" * 5000)
        make_node(fs, "/pipe", EntryType.FIFO)
        make_node(fs, "/hidden", EntryType.CHARACTER_DEVICE)
    return disk


@pytest.fixture
def disk(lower: Path, tmp_path: Path) -> Path:
    return make_upper(tmp_path / "upper.ext4", lower)


def edited(lower: Path, disk: Path, use: Callable[[JoinedTree], object]) -> dict[str, Seen]:
    """What the upper tree holds after an edit; e2fsck has judged the disk."""
    with joined(lower, disk, writable=True) as tree:
        use(tree)
    assert_clean(disk)
    return upper_tree(disk)


paths = st.lists(st.sampled_from("ab"), min_size=1, max_size=3).map(lambda names: "/" + "/".join(names))
edits = st.lists(st.builds(Edit, st.sampled_from(KINDS), paths, st.integers(0, 999), paths), max_size=12)


@settings(SHARED_FIXTURES, max_examples=40)
@given(below=edits, first=edits, then=edits)
@example(below=[Edit("directory", "/b/b")], first=[], then=[Edit("directory", "/b/b")])
@example(
    below=[Edit("write", "/a/a"), Edit("link", "/b/b", other="/a/a")],
    first=[],
    then=[Edit("link", "/b/b", other="/a/a")],
)
def test_edits_leave_in_the_upper_tree_what_the_kernel_leaves(  # noqa: PLR0917  # what is made, and the edits
    empty: Path,
    empty_upper: Path,
    tmp_path: Path,
    below: Sequence[Edit],
    first: Sequence[Edit],
    then: Sequence[Edit],
) -> None:
    """A guest goes first, so that there are whiteouts, opaque directories and copies of a kernel's making."""
    lower, kernels, ours = (tmp_path / name for name in ("lower.ext4", "kernels.ext4", "ours.ext4"))
    shutil.copy(empty, lower)
    shutil.copy(empty_upper, kernels)
    with opened(lower) as fs:
        for edit in below:
            edit.make(OurEditor(fs))
    with kernel_joined(lower, kernels, tmp_path) as point:
        for edit in first:
            edit.make(KernelEditor(point))
    shutil.copy(kernels, ours)
    with kernel_joined(lower, kernels, tmp_path) as point:
        before = seen_by_kernel(point)
        with joined(lower, ours) as tree:
            assert seen_by_us(tree.walk()) == before
        for edit in then:
            edit.make(KernelEditor(point))
        after = seen_by_kernel(point)
    with joined(lower, ours, writable=True) as tree:
        for edit in then:
            edit.make(OurEditor(tree))
    assert_clean(ours)
    assert upper_tree(ours) == upper_tree(kernels)
    with joined(lower, ours) as tree:
        assert seen_by_us(tree.walk()) == after
    with kernel_joined(lower, ours, tmp_path) as point:
        assert seen_by_kernel(point) == after
        for edit in first:
            edit.make(KernelEditor(point))
    with joined(lower, ours) as tree, kernel_joined(lower, kernels, tmp_path) as point:
        for edit in first:
            edit.make(KernelEditor(point))
        assert seen_by_us(tree.walk()) == seen_by_kernel(point)


def test_a_copied_up_directory_has_all_that_the_lower_one_has_and_its_content_stays_below(
    lower: Path, disk: Path
) -> None:
    found = edited(lower, disk, lambda tree: tree.write_file("/etc/ssh/config", b"x", mode=0o640))
    assert sorted(found) == ["upper", "upper/etc", "upper/etc/ssh", "upper/etc/ssh/config"]
    copy = found["upper/etc/ssh"]
    assert (copy.mode, copy.owner, copy.xattrs) == (0o750, (7, 8), {"user.kept": b"yes"})
    with joined(lower, disk) as tree:
        there = tree.stat("/etc/ssh")
        assert there is not None
        assert (there.mtime_ns, there.links) == (5_000_000_007, 1)
        assert tree.listdir("/etc/ssh") == ["config", "key"]
        assert tree.read("/etc/ssh/key") == b"secret"


def test_a_removed_name_of_the_lower_tree_is_a_whiteout_and_one_of_the_upper_tree_is_gone(
    lower: Path, disk: Path
) -> None:
    def use(tree: JoinedTree) -> None:
        tree.write_file("/etc/new", b"x")
        tree.remove("/etc/new")
        tree.remove("/etc/passwd")
        assert tree.read("/etc/passwd") is None
        assert tree.read("/etc/passwd-") is not None

    found = edited(lower, disk, use)
    assert sorted(found) == ["upper", "upper/etc", "upper/etc/passwd"]
    assert is_whiteout(found["upper/etc/passwd"])
    assert found["upper/etc/passwd"].mode == 0


def test_a_whiteout_whose_inode_overlayfs_shares_is_unlinked_and_the_others_stay(
    lower: Path, disk: Path
) -> None:
    with opened(disk) as fs:
        fs.make_directory("/upper/etc")
        fs.make_directory("/work/work")
        make_node(fs, "/work/work/#2", EntryType.CHARACTER_DEVICE, mode=0)
        fs.link("/upper/etc/passwd", "/work/work/#2")
        fs.link("/upper/etc/passwd-", "/work/work/#2")
    found = edited(lower, disk, lambda tree: tree.write_file("/etc/passwd", b"new"))
    assert found["upper/etc/passwd"].content == b"new"
    assert is_whiteout(found["upper/etc/passwd-"])
    with RawFile(disk) as blocks, Filesystem(blocks) as fs:
        left = fs.stat("/work/work/#2", follow=False)
        assert left is not None
        assert (left.type, left.device, left.links) == (EntryType.CHARACTER_DEVICE, (0, 0), 2)


def test_a_directory_in_the_place_of_a_whiteout_is_opaque(lower: Path, disk: Path) -> None:
    def use(tree: JoinedTree) -> None:
        tree.remove("/etc/ssh", recursive=True)
        tree.write_file("/etc/ssh/own", b"x")
        assert tree.listdir("/etc/ssh") == ["own"]

    assert edited(lower, disk, use)["upper/etc/ssh"].xattrs == {"trusted.overlay.opaque": b"y"}


def test_a_directory_with_names_of_either_tree_is_not_removed_unless_all_is_to_go(
    lower: Path, disk: Path
) -> None:
    with joined(lower, disk, writable=True) as tree:
        with pytest.raises(GuestPathError, match="not empty"):
            tree.remove("/etc/ssh")
        tree.remove("/etc/ssh/key")
        assert tree.remove("/etc/ssh")
        with pytest.raises(GuestPathError, match="is the root"):
            tree.remove("/", recursive=True)


@pytest.mark.parametrize(
    ("name", "value"),
    [("redirect", b"/usr"), ("metacopy", b""), ("whiteout", b""), ("opaque", b"x")],
)
def test_what_a_mount_without_redirects_and_metacopies_does_not_follow_is_refused_by_name(
    lower: Path, disk: Path, name: str, value: bytes
) -> None:
    with opened(disk) as fs:
        fs.make_directory("/upper/etc")
        fs.make_directory("/upper/moved")
        fs.set_xattr("/upper/moved", f"trusted.overlay.{name}", value)
    with joined(lower, disk) as tree:
        with pytest.raises(FilesystemError, match=rf"'/moved/file' in .*trusted\.overlay\.{name}") as caught:
            tree.read("/moved/file")
        assert "copy it to a new name" in str(caught.value.hint)
        assert tree.read("/etc/ssh/key") == b"secret"


def test_attributes_that_a_file_of_the_lower_tree_has_already_copy_nothing_up(
    lower: Path, disk: Path
) -> None:
    assert list(edited(lower, disk, lambda tree: tree.set_attributes("/etc/ssh", mode=0o750, uid=7))) == [
        "upper"
    ]
    assert "upper/etc/ssh" in edited(lower, disk, lambda tree: tree.set_attributes("/etc/ssh", uid=9))


def test_a_file_that_is_copied_up_keeps_its_content_holes_and_attributes_and_loses_its_other_names(
    lower: Path, disk: Path
) -> None:
    size = 4 * MIB
    with opened(lower) as fs:
        data = BytesIO(b"a" * 4096 + b"z" * 100)
        extents = ((8192, 4096), (size - 100, 100))
        fs.write_file("/holes", data, size_bytes=size, data_extents=extents, mtime_ns=9)
        content = fs.read("/holes")

    def use(tree: JoinedTree) -> None:
        tree.set_attributes("/holes", mode=0o600)
        tree.set_attributes("/etc/passwd-", mode=0o600)
        tree.set_xattr("/usr/lib/library", "user.note", b"x")
        tree.link("/second", "/etc/ssh/key")

    found = edited(lower, disk, use)
    assert (found["upper/holes"].content, found["upper/holes"].mtime_ns) == (content, 9)
    assert found["upper/second"] == found["upper/etc/ssh/key"]
    assert found["upper/usr/lib/library"].xattrs == {"user.note": b"x"}
    with joined(lower, disk) as tree:
        copied, other, both = (tree.stat(path) for path in ("/etc/passwd-", "/etc/passwd", "/second"))
        assert copied
        assert other
        assert both
        assert (copied.mode, copied.links, other.mode) == (0o600, 1, 0o644)
        assert both.links == 2
        assert both == tree.stat("/etc/ssh/key")
    blocks = [line for line in debugfs(disk, "stat /upper/holes").split(b"\n") if b"Blockcount" in line]
    assert b"Blockcount: 16" in blocks[0]


def test_a_path_may_go_up_again_from_a_parent_that_is_made_on_the_way(lower: Path, disk: Path) -> None:
    found = edited(lower, disk, lambda tree: tree.write_file("/etc/a/../a/../b/../a/file", b"x"))
    assert sorted(found)[-3:] == ["upper/etc/a", "upper/etc/a/file", "upper/etc/b"]


def test_a_whiteout_in_the_lower_tree_hides_nothing_and_is_not_seen(lower: Path, disk: Path) -> None:
    with joined(lower, disk) as tree:
        assert "hidden" not in (tree.listdir("/") or ())
        assert tree.stat("/hidden") is None


def test_attributes_of_overlayfs_in_a_guest_are_stored_under_another_name(lower: Path, disk: Path) -> None:
    """A guest may join trees of its own in a tree that is joined."""
    name = "trusted.overlay.opaque"
    found = edited(lower, disk, lambda tree: tree.set_xattr("/etc/ssh", name, b"y"))
    assert found["upper/etc/ssh"].xattrs == {"user.kept": b"yes", "trusted.overlay.overlay.opaque": b"y"}
    with joined(lower, disk, writable=True) as tree:
        assert tree.get_xattrs("/etc/ssh") == {"user.kept": b"yes", name: b"y"}
        assert tree.read("/etc/ssh/key") == b"secret"
        tree.remove_xattr("/etc/ssh", name)
        assert name not in tree.get_xattrs("/etc/ssh")


def test_no_fstab_can_call_it_by_a_name(lower: Path, disk: Path) -> None:
    with joined(lower, disk) as tree:
        assert tree.tags == frozenset()


@pytest.mark.parametrize("name", ["upper", "work"])
def test_a_disk_without_its_directories_is_no_upper_disk(lower: Path, disk: Path, name: str) -> None:
    with opened(disk) as fs:
        fs.remove(f"/{name}", recursive=True)
    with joined(lower, disk) as tree, pytest.raises(FilesystemError, match=f"no directory '{name}'"):
        tree.stat("/etc")
