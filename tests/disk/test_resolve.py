from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bangerbuild.disk.resolve import ResolvedPath, Rules, resolve
from bangerbuild.errors import GuestPathError
from bangerbuild.tree import DiskMount, EntryType

Node = dict[str, "Node"] | str | None
"""A directory, a symlink's text, or None for a file."""


class MemoryTree:
    """A tree of dicts, with the numbers a Tree needs."""

    def __init__(self, root: dict[str, Node]) -> None:
        self.nodes: list[Node] = [None, None, root]

    def child(self, directory: int, name: bytes) -> int:
        node = self.nodes[directory]
        assert isinstance(node, dict)
        key = name.decode()
        if key not in node:
            return 0
        self.nodes.append(node[key])
        return len(self.nodes) - 1

    def kind(self, ino: int) -> EntryType:
        node = self.nodes[ino]
        if isinstance(node, dict):
            return EntryType.DIRECTORY
        return EntryType.FILE if node is None else EntryType.SYMLINK

    def symlink(self, ino: int) -> bytes:
        node = self.nodes[ino]
        assert isinstance(node, str)
        return node.encode()

    def make(self, directory: int, name: bytes, _path: str) -> int:
        node = self.nodes[directory]
        assert isinstance(node, dict)
        node[name.decode()] = {}
        return self.child(directory, name)


def find(
    root: dict[str, Node], path: str, *, follow: bool = False, mounts: frozenset[str] = frozenset()
) -> ResolvedPath | None:
    return resolve(MemoryTree(root), 2, path, Rules(follow_last=follow, place=DiskMount(others=mounts)))


class AbsentError(Exception):
    """The model's word for a parent that is not there."""


class BadError(Exception):
    """The model's word for a path that leads nowhere."""


def names(path: str) -> list[str]:
    return [part for part in path.split("/") if part not in ("", ".")]


def node_at(root: dict[str, Node], at: tuple[str, ...]) -> Node:
    node: Node = root
    for part in at:
        assert isinstance(node, dict)
        node = node[part]
    return node


def model(root: dict[str, Node], at: tuple[str, ...], rest: list[str], follow: bool, budget: int = 40) -> str:  # noqa: FBT001 - recursion is shorter so
    """Where a path leads, by textbook recursion over text; raises AbsentError or BadError."""
    if not rest:
        return "/" + "/".join(at)
    name, rest = rest[0], rest[1:]
    here = node_at(root, at)
    if not isinstance(here, dict):
        raise BadError
    if name == "..":
        return model(root, at[:-1], rest, follow, budget)
    if name not in here and rest:
        raise AbsentError
    there = here.get(name)
    if isinstance(there, str) and (rest or follow):
        if not budget:
            raise BadError
        start = () if there.startswith("/") else at
        return model(root, start, [*names(there), *rest], follow, budget - 1)
    return model(root, (*at, name), rest, follow, budget) if rest else "/" + "/".join((*at, name))


NAMES = st.sampled_from(["a", "b", "c"])
PATHS = st.lists(st.sampled_from(["a", "b", "c", "..", ".", ""]), min_size=1, max_size=6).map("/".join)
TARGETS = st.one_of(PATHS, PATHS.map("/".__add__)).filter(bool)
NODES: st.SearchStrategy[Node] = st.recursive(
    st.one_of(st.none(), TARGETS), lambda inner: st.dictionaries(NAMES, inner, max_size=3), max_leaves=12
)


@settings(max_examples=300)
@given(root=st.dictionaries(NAMES, NODES, max_size=3), path=PATHS, follow=st.booleans())
def test_paths_lead_where_a_simple_model_says(root: dict[str, Node], path: str, follow: bool) -> None:  # noqa: FBT001 - drawn by hypothesis
    try:
        expected: str | None = model(root, (), names(path), follow)
    except AbsentError:
        expected = None
    except BadError:
        with pytest.raises(GuestPathError):
            find(root, "/" + path, follow=follow)
        return
    found = find(root, "/" + path, follow=follow)
    assert (found.path if found else None) == expected


@given(root=st.dictionaries(NAMES, NODES, max_size=3), path=PATHS)
def test_missing_parents_are_made_where_the_path_then_leads(root: dict[str, Node], path: str) -> None:
    tree = MemoryTree(root)
    try:
        found = resolve(tree, 2, "/" + path, Rules(make_directory=tree.make))
    except GuestPathError:
        return
    assert found is not None
    again = resolve(tree, 2, found.path, Rules())
    assert again is not None
    assert again.path == found.path


def test_an_absolute_symlink_starts_at_the_guests_root() -> None:
    found = find({"etc": {"alt": "/usr/alt"}, "usr": {"alt": {"x": None}}}, "/etc/alt/x")
    assert found is not None
    assert found.path == "/usr/alt/x"


def test_dots_never_leave_the_root() -> None:
    found = find({"up": "../../../../..", "etc": {"passwd": None}}, "/up/../etc/passwd")
    assert found is not None
    assert found.path == "/etc/passwd"


def test_the_last_component_is_followed_only_if_asked() -> None:
    tree: dict[str, Node] = {"link": "file", "file": None}
    last, followed = find(tree, "/link"), find(tree, "/link", follow=True)
    assert last is not None
    assert followed is not None
    assert (last.path, followed.path) == ("/link", "/file")


def test_forty_symlinks_are_followed_and_one_more_is_a_loop() -> None:
    chain: dict[str, Node] = {f"l{i}": f"l{i + 1}" for i in range(41)}
    chain["l41"] = None
    assert find(chain, "/l1", follow=True)
    with pytest.raises(GuestPathError, match="'/l0' goes through more than 40 symlinks"):
        find(chain, "/l0", follow=True)


def test_a_file_on_the_way_is_named() -> None:
    with pytest.raises(
        GuestPathError, match="'/etc/passwd' is on the way to '/link/passwd/x' and is no directory"
    ):
        find({"link": "etc", "etc": {"passwd": None}}, "/link/passwd/x")


@pytest.mark.parametrize("path", ["", "etc/passwd", "/a\0b"])
def test_a_path_that_is_not_absolute_is_refused(path: str) -> None:
    with pytest.raises(GuestPathError, match="is no absolute path"):
        find({}, path)


def test_a_name_over_255_bytes_is_refused() -> None:
    with pytest.raises(GuestPathError, match="a name of 256 bytes"):
        find({}, "/" + "ä" * 128)


def test_a_path_below_another_disks_mount_point_is_refused_through_symlinks_too() -> None:
    tree: dict[str, Node] = {"root": {}, "home": "root", "etc": {}}
    mounts = frozenset({"/root"})
    with pytest.raises(GuestPathError, match="'/home/x' leads to '/root/x', which lies on another disk"):
        find(tree, "/home/x", mounts=mounts)
    assert find(tree, "/root", mounts=mounts)
    assert find(tree, "/root/../etc", mounts=mounts)
