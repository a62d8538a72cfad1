"""Paths on a disk that the guest mounts somewhere below its root."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bangerbuild.disk.resolve import ResolvedPath, Rules, resolve
from bangerbuild.errors import GuestPathError
from bangerbuild.tree import DiskMount
from tests.disk.test_resolve import NODES, MemoryTree, Node

WORK = DiskMount("/root", frozenset({"/data", "/root/cache"}))


def find(
    root: dict[str, Node], path: str, place: DiskMount = WORK, *, follow: bool = False
) -> ResolvedPath | None:
    return resolve(MemoryTree(root), 2, path, Rules(follow_last=follow, place=place))


def landed(root: dict[str, Node], path: str, place: DiskMount = WORK, *, follow: bool = False) -> str:
    found = find(root, path, place, follow=follow)
    assert found is not None
    return found.path


def refused(root: dict[str, Node], path: str, place: DiskMount = WORK, *, follow: bool = False) -> str:
    with pytest.raises(GuestPathError) as caught:
        find(root, path, place, follow=follow)
    return caught.value.brief


def test_a_path_is_the_guests_and_starts_at_the_top_of_the_disk() -> None:
    tree = MemoryTree({"a": {"b": None}})
    found = resolve(tree, 2, "/root/a/b", Rules(place=WORK))
    assert found is not None
    assert (found.path, found.name, tree.nodes[found.directory]) == ("/root/a/b", b"b", {"b": None})


@pytest.mark.parametrize("path", ["/root", "/root/", "//root/.", "/root/a/.."])
def test_the_mount_point_is_the_top_of_the_disk(path: str) -> None:
    tree = MemoryTree({"a": {}})
    found = resolve(tree, 2, path, Rules(place=WORK))
    assert found is not None
    assert (found.ino, found.directory, found.path) == (2, 0, "/root")


@pytest.mark.parametrize("path", ["/etc/fstab", "/", "/rooted/a", "/roo", "/data/root/a"])
def test_a_path_elsewhere_is_refused(path: str) -> None:
    assert refused({}, path) == f"'{path}' leads to '{path}', which lies on another disk"


def test_an_absolute_symlink_that_stays_below_the_mount_point_is_followed_on_the_disk() -> None:
    assert landed({"link": "/root/a", "a": {"b": None}}, "/root/link/b") == "/root/a/b"


@pytest.mark.parametrize("target", ["/a", "/etc", "/", "/rooted", "/data"])
def test_an_absolute_symlink_off_the_disk_is_refused_by_its_target(target: str) -> None:
    brief = refused({"link": target, "a": {}}, "/root/link/b")
    assert brief == f"'/root/link/b' leads to '{target}', which lies on another disk"


def test_a_symlink_at_the_end_is_not_followed_wherever_it_points() -> None:
    assert landed({"link": "/etc/passwd"}, "/root/link") == "/root/link"
    assert refused({"link": "/etc/passwd"}, "/root/link", follow=True).endswith("lies on another disk")


@pytest.mark.parametrize("target", ["..", "../etc", "a/../../etc", "../root"])
def test_dots_out_of_the_disk_are_refused(target: str) -> None:
    brief = refused({"link": target, "a": {}}, "/root/link/b")
    assert brief == "'/root/link/b' leads to '/root/..', which lies on another disk"


def test_dots_within_the_disk_are_followed() -> None:
    assert landed({"a": {"link": "../b"}, "b": {"c": None}}, "/root/a/link/c") == "/root/b/c"


def test_a_disk_mounted_inside_this_one_is_another_disk() -> None:
    tree: dict[str, Node] = {"cache": {"x": None}, "link": "cache", "cached": {"x": None}}
    for path in ("/root/cache/x", "/root/link/x"):
        assert refused(tree, path) == f"'{path}' leads to '/root/cache/x', which lies on another disk"
    assert landed(tree, "/root/cached/x") == "/root/cached/x"
    assert landed(tree, "/root/cache") == "/root/cache"


def test_a_file_on_the_way_is_named_as_the_guest_names_it() -> None:
    assert refused({"a": None}, "/root/a/b") == "'/root/a' is on the way to '/root/a/b' and is no directory"


def test_missing_parents_are_made_below_the_top_of_the_disk() -> None:
    root: dict[str, Node] = {}
    tree = MemoryTree(root)
    found = resolve(tree, 2, "/srv/data/a/b/c", Rules(make_directory=tree.make, place=DiskMount("/srv/data")))
    assert found is not None
    assert (found.path, root) == ("/srv/data/a/b/c", {"a": {"b": {}}})


PATHS = st.lists(st.sampled_from(["a", "b", "c", ".", ""]), min_size=1, max_size=6).map("/".join)
MOUNTS = st.sampled_from(["/m", "/m/n", "/a/b"])


@settings(max_examples=300)
@given(root=st.dictionaries(st.sampled_from(["a", "b", "c"]), NODES, max_size=3), path=PATHS, mount=MOUNTS)
def test_a_mounted_disk_is_followed_like_a_root_or_refused(
    root: dict[str, Node], path: str, mount: str
) -> None:
    """Against the same tree as a directory of a whole guest, in which nothing else is."""
    whole: Node = root
    for name in reversed(mount.strip("/").split("/")):
        whole = {name: whole}
    assert isinstance(whole, dict)
    try:
        here = find(root, f"{mount}/{path}", DiskMount(mount))
    except GuestPathError as err:
        if "lies on another disk" not in err.brief:
            with pytest.raises(GuestPathError):
                find(whole, f"{mount}/{path}", DiskMount())
        return
    there = find(whole, f"{mount}/{path}", DiskMount())
    assert (here.path if here else None) == (there.path if there else None)
