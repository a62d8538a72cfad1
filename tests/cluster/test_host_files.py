"""Files of the controller on a node: they arrive as they are, each content once, and nowhere else."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from bangerbuild.cluster import documents
from bangerbuild.cluster.documents import DocumentError
from bangerbuild.cluster.host_files import HostFiles, HostObject, ObjectEntry
from bangerbuild.cluster.kept_files import KeptFiles
from bangerbuild.errors import SourceError
from bangerbuild.formats.digest import tree_digest
from bangerbuild.formats.hostentry import TreeRules
from bangerbuild.model import HostPath, Source

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RULES = TreeRules()
TOP = ObjectEntry("", "directory", 0o755, 0)


@pytest.fixture
def node(tmp_path: Path) -> KeptFiles:
    return KeptFiles("run-1", tmp_path / "node")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    top = tmp_path / "tree"
    (top / "sub").mkdir(parents=True)
    (top / "a").write_text("the same\n")
    (top / "sub/b").write_text("the same\n")
    (top / "sub/c").write_bytes(bytes(10 << 20) + b"end")
    (top / "link").symlink_to("sub/b")
    os.link(top / "a", top / "z")
    (top / "empty").touch()
    os.mkfifo(top / "pipe")
    (top / "sub/b").chmod(0o4750)
    for number, name in enumerate(("a", "sub/b", "sub/c", "sub")):
        os.utime(top / name, ns=(1, 1_600_000_000_000_000_000 + number))
    return top


def made(path: Path, rules: TreeRules | None = RULES) -> HostObject:
    files = HostFiles([Source("role", path, "tree", rules)])
    return files.object_of(HostPath(path, "tree"))


def send(node: KeptFiles, one: HostObject) -> list[tuple[str, int]]:
    """Sends an object as `dispatch` does; digest and offset of each piece."""
    sent = []
    for digest in node.offer(one.listing):
        content = one.contents[digest]
        for offset, piece in content.pieces():
            node.take(digest, offset, piece, size_bytes=content.size_bytes, is_last=False)
            sent.append((digest, offset))
        node.take(digest, 0, b"", size_bytes=content.size_bytes, is_last=True)
    assert node.offer(one.listing) == []
    return sent


def stats(top: Path) -> Iterator[tuple[object, ...]]:
    for path in sorted(top.rglob("*")):
        found = path.lstat()
        yield path.relative_to(top), found.st_mode, found.st_mtime_ns, found.st_size, found.st_nlink > 1


def test_a_tree_arrives_with_its_modes_times_links_and_contents(node: KeptFiles, tree: Path) -> None:
    one = made(tree)
    send(node, one)
    there = node.path_of(one.key)
    assert tree_digest(there, RULES) == tree_digest(tree, RULES)
    assert [row[:4] for row in stats(there)] == [row[:4] for row in stats(tree)]
    assert (there / "z").samefile(there / "a")


def test_what_is_the_same_is_sent_once_and_zeros_never(node: KeptFiles, tree: Path) -> None:
    sent = send(node, made(tree))
    assert len(sent) == len({digest for digest, _ in sent}) == 3 - 1  # the empty file has no piece
    assert [offset for _, offset in sent if offset] == [8 << 20]
    (tree / "new").write_text("another\n")
    assert len(send(node, made(tree))) == 1


def test_an_object_that_is_there_is_not_lacked(node: KeptFiles, tree: Path) -> None:
    one = made(tree)
    assert node.lacking([one.key]) == [one.key]
    send(node, one)
    assert node.lacking([one.key]) == []


def test_the_same_files_are_the_same_object_wherever_they_lie(tree: Path, tmp_path: Path) -> None:
    before = made(tree).key
    tree.rename(tmp_path / "elsewhere")
    assert made(tmp_path / "elsewhere").key == before


def test_a_single_file_keeps_its_time_and_mode(node: KeptFiles, tree: Path) -> None:
    one = made(tree / "sub/b", None)
    send(node, one)
    found = node.path_of(one.key).stat()
    assert (found.st_mode, found.st_mtime_ns) == ((tree / "sub/b").stat().st_mode, 1_600_000_000_000_000_001)


def test_a_content_that_was_changed_on_the_way_is_refused_and_not_kept(node: KeptFiles, tree: Path) -> None:
    one = made(tree / "a", None)
    (digest,) = node.offer(one.listing)
    with pytest.raises(DocumentError, match="what was sent is not"):
        node.take(digest, 0, b"the Same\n", size_bytes=9, is_last=True)
    assert node.offer(one.listing) == [digest]


def test_a_file_that_changes_after_it_was_listed_is_not_sent(node: KeptFiles, tree: Path) -> None:
    one = made(tree / "a", None)
    (tree / "a").write_text("changed!\n")
    with pytest.raises(SourceError, match="changed while it was read"):
        send(node, one)


@pytest.mark.parametrize(
    "entries",
    [
        [TOP, ObjectEntry("../x", "file", 0o644, 0, "0" * 64)],
        [TOP, ObjectEntry("/etc/x", "file", 0o644, 0, "0" * 64)],
        [TOP, ObjectEntry("a/b", "directory", 0o755, 0)],
        [
            TOP,
            ObjectEntry("a", "symlink", 0o777, 0, target="/etc"),
            ObjectEntry("a/b", "directory", 0o755, 0),
        ],
        [TOP, ObjectEntry("a", "hard link", 0o644, 0, target="../../x")],
        [TOP, ObjectEntry("a", "socket", 0o644, 0)],
        [TOP, ObjectEntry("a", "directory", 0o100755, 0)],
        [TOP, ObjectEntry("a", "file", 0o644, 0, "../../../x")],
        [TOP, replace(TOP)],
        [ObjectEntry("a", "directory", 0o755, 0)],
    ],
    ids=lambda entries: "-".join(entry.path.replace("/", "_") or "top" for entry in entries),
)
def test_a_listing_that_leads_elsewhere_is_refused(
    node: KeptFiles, tmp_path: Path, entries: list[ObjectEntry]
) -> None:
    listing = [documents.encoded(one, documents.NOTHING_LOCAL) for one in entries]
    with pytest.raises(DocumentError):
        node.offer(documents.written({"entries": listing}))
    assert not (tmp_path / "node").exists()


@pytest.mark.parametrize("run", ["", "../x", "a/b", "A" * 70])
def test_a_run_whose_name_is_no_name_is_refused(run: str) -> None:
    with pytest.raises(DocumentError, match="names no run"):
        KeptFiles(run)


def test_what_was_not_used_for_long_is_removed(
    node: KeptFiles, tree: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    used, unused = made(tree / "a", None), made(tree)
    send(node, unused)
    send(node, used)
    old = 1_000_000_000
    os.utime(tmp_path / "node/objects" / unused.key, (old, old))
    monkeypatch.setattr(time, "time", lambda: tmp_path.stat().st_ctime + 1e7)
    node.lacking([used.key])
    os.utime(tmp_path / "node/objects" / used.key, (4e9, 4e9))
    node.clean()
    assert node.lacking([used.key, unused.key]) == [unused.key]
