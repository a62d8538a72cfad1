from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bangerbuild.errors import SourceError
from bangerbuild.formats.directory import read_file_entry, walk_directory
from bangerbuild.formats.hostentry import TreeRules
from bangerbuild.formats.totals import measure
from bangerbuild.tree import Entry, EntryType
from tests.formats.tarmaking import set_xattr
from tests.need import lacking, need

if TYPE_CHECKING:
    from collections.abc import Iterator

ALL = TreeRules(keep_owner=True)


@pytest.fixture
def top(tmp_path: Path) -> Path:
    top = tmp_path / "top"
    top.mkdir(mode=0o750)
    top.chmod(0o750)
    return top


def by_path(top: Path, rules: TreeRules = ALL) -> dict[str, Entry]:
    return {entry.path: entry for entry in walk_directory(top, rules)}


def contents(top: Path, rules: TreeRules = ALL) -> dict[str, bytes]:
    return {
        entry.path: entry.content.read() for entry in walk_directory(top, rules) if entry.content is not None
    }


WAITING: list[Iterator[Entry]] = []
"""Walks that are not over: a content is only good for as long as its walk stands still."""


def read_file(top: Path) -> BinaryIO:
    """The content of the one file in `top`."""
    walk = walk_directory(top, ALL)
    WAITING.append(walk)
    return next(entry.content for entry in walk if entry.content)


def test_entries_come_sorted_by_bytes_and_depth_first(top: Path) -> None:
    for name in ("b/x", "b/a", "a", "b-c", "é", "B"):
        (top / name).parent.mkdir(exist_ok=True)
        (top / name).touch()

    assert list(by_path(top)) == ["", "B", "a", "b", "b/a", "b/x", "b-c", "é"]


def test_modes_are_the_hosts_whatever_the_umask_is(top: Path) -> None:
    (top / "tool").touch()
    (top / "tool").chmod(0o4777)
    old = os.umask(0o077)
    try:
        found = by_path(top)
    finally:
        os.umask(old)

    assert (found[""].mode, found["tool"].mode) == (0o750, 0o4777)


def test_a_mode_for_files_leaves_directories_alone(top: Path) -> None:
    (top / "file").touch(mode=0o644)

    found = by_path(top, TreeRules(file_mode=0o600))

    assert (found[""].mode, found["file"].mode) == (0o750, 0o600)


@pytest.mark.root
def test_owners_are_0_unless_they_are_to_be_kept(top: Path) -> None:
    (top / "file").touch()
    try:
        os.chown(top / "file", 1234, 567)
    except PermissionError:
        lacking("giving a file away needs root")

    kept, plain = by_path(top)["file"], by_path(top, TreeRules())["file"]

    assert (kept.uid, kept.gid) == (1234, 567)
    assert (plain.uid, plain.gid) == (0, 0)


def test_times_are_the_hosts_or_the_one_that_is_set(top: Path) -> None:
    (top / "file").touch()
    os.utime(top / "file", ns=(0, 1_234_567_890_123_456_789))

    assert by_path(top)["file"].mtime_ns == 1_234_567_890_123_456_789
    assert {entry.mtime_ns for entry in walk_directory(top, TreeRules(mtime_s=946684800))} == {
        946684800 * 10**9
    }


def test_symlinks_below_the_top_are_never_followed_and_the_top_is(top: Path, tmp_path: Path) -> None:
    (top / "up").symlink_to("..")
    (top / "dangling").symlink_to("//no/./where/")
    (tmp_path / "link").symlink_to("top")

    found = by_path(tmp_path / "link")

    assert {path: entry.target for path, entry in found.items() if path} == {
        "up": "..",
        "dangling": "//no/./where/",
    }
    assert found["up"].type is EntryType.SYMLINK


def test_a_further_name_is_a_hard_link_to_the_first_that_is_taken(top: Path) -> None:
    (top / "a").write_text("x")
    (top / "b").hardlink_to(top / "a")
    (top / "c").hardlink_to(top / "a")

    found = by_path(top, TreeRules(exclude=("a",)))

    assert found["b"].type is EntryType.FILE
    assert (found["c"].type, found["c"].target, found["c"].content) == (EntryType.HARD_LINK, "b", None)


def test_contents_read_whole_and_in_pieces(top: Path) -> None:
    data = bytes(range(256)) * 5000
    (top / "file").write_bytes(data)

    assert contents(top) == {"file": data}
    content = read_file(top)
    pieces = list(iter(lambda: content.read(1000), b""))
    assert b"".join(pieces) == data
    assert {len(piece) for piece in pieces[:-1]} == {1000}


def test_sparse_files_yield_their_data_and_say_where_it_lies(top: Path) -> None:
    with (top / "sparse").open("wb") as file:
        file.truncate(10 << 20)
        os.pwrite(file.fileno(), b"a" * 4096, 1 << 20)
        os.pwrite(file.fileno(), b"b" * 4096, 5 << 20)

    entry = by_path(top)["sparse"]

    if entry.data_extents is None or len(entry.data_extents) == 1:
        lacking("the temporary directory's filesystem keeps no holes")
    assert entry.size_bytes == 10 << 20
    assert entry.data_extents == ((1 << 20, 4096), (5 << 20, 4096))
    assert contents(top)["sparse"] == b"a" * 4096 + b"b" * 4096


def test_a_file_that_is_all_hole_yields_nothing(top: Path) -> None:
    with (top / "sparse").open("wb") as file:
        file.truncate(10 << 20)

    assert by_path(top)["sparse"].data_extents == ()
    assert contents(top)["sparse"] == b""


def test_xattrs_and_acls_worth_taking_are_taken(top: Path) -> None:
    (top / "file").touch()
    set_xattr(top / "file", "user.note", b"hi")
    acl = "u::rw-,u:1234:rw-,g::r--,m::rw-,o::---"
    subprocess.run([need("setfacl", "acl"), "--set", acl, str(top / "file")], check=True)
    if os.geteuid() == 0:
        set_xattr(top / "file", "trusted.host", b"stays")

    xattrs = by_path(top)["file"].xattrs

    assert xattrs == {
        name: os.getxattr(top / "file", name) for name in ("user.note", "system.posix_acl_access")
    }
    assert by_path(top, TreeRules(xattrs=False))["file"].xattrs == {}


@pytest.fixture
def specials(top: Path) -> Iterator[Path]:
    os.mkfifo(top / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(top / "socket"))
        yield top


def test_sockets_are_skipped_and_told(specials: Path) -> None:
    skipped: list[tuple[str, EntryType]] = []

    found = list(walk_directory(specials, ALL, skipped=lambda path, type_: skipped.append((path, type_))))

    assert [entry.path for entry in found] == ["", "fifo"]
    assert skipped == [("socket", EntryType.SOCKET)]


def test_fifos_are_skipped_too_where_only_plain_files_are_wanted(specials: Path) -> None:
    skipped: list[str] = []

    found = list(
        walk_directory(specials, TreeRules(specials=False), skipped=lambda path, _: skipped.append(path))
    )

    assert [entry.path for entry in found] == [""]
    assert skipped == ["fifo", "socket"]


def test_what_is_excluded_is_not_told_as_skipped(specials: Path) -> None:
    skipped: list[str] = []

    list(
        walk_directory(specials, TreeRules(exclude=("socket",)), skipped=lambda path, _: skipped.append(path))
    )

    assert skipped == []


@pytest.mark.root
def test_devices_are_taken_only_where_owners_are_kept(top: Path) -> None:
    try:
        os.mknod(top / "null", 0o20666, os.makedev(1, 3))
    except PermissionError:
        lacking("making device nodes needs root")

    assert by_path(top)["null"].device == (1, 3)
    assert "null" not in by_path(top, TreeRules())


@pytest.mark.parametrize(
    ("exclude", "left"),
    [
        (("*.pyc",), ["", "build", "build/out", "keep", "keep/build", "src", "src/a.py"]),
        (("build/",), ["", "keep", "keep/x.pyc", "src", "src/a.py", "src/a.pyc"]),
        (("/build",), ["", "keep", "keep/build", "keep/x.pyc", "src", "src/a.py", "src/a.pyc"]),
        (("*.pyc", "!x.pyc", "build"), ["", "keep", "keep/x.pyc", "src", "src/a.py"]),
        (("keep", "!keep/build", "src", "build"), [""]),
        (("# a comment", "", "*"), [""]),
    ],
)
def test_exclusion_is_that_of_gitignore(top: Path, exclude: tuple[str, ...], left: list[str]) -> None:
    for name in ("build/out", "keep/build/", "keep/x.pyc", "src/a.py", "src/a.pyc"):
        (top / name).parent.mkdir(exist_ok=True)
        (top / name).mkdir() if name.endswith("/") else (top / name).touch()

    assert list(by_path(top, TreeRules(exclude=exclude))) == left


def test_an_excluded_directory_is_not_even_opened(top: Path) -> None:
    (top / "secret").mkdir()
    (top / "secret").chmod(0)

    assert by_unprivileged(top, exclude="secret") == "ok"


def test_a_pattern_that_is_none_is_told(top: Path) -> None:
    with pytest.raises(SourceError, match="`exclude` holds no gitignore pattern"):
        by_path(top, TreeRules(exclude=("!",)))


@pytest.mark.parametrize("kind", ["file", "directory", "sparse"])
def test_what_may_not_be_read_is_told_by_its_name_with_a_way_out(top: Path, kind: str) -> None:
    path = top / "secret"
    if kind == "directory":
        path.mkdir()
    else:
        path.write_bytes(b"x")
        os.truncate(path, 1 << 20 if kind == "sparse" else 1)
    path.chmod(0)

    told = by_unprivileged(top)

    assert told == (
        f"'{path}' can't be read: permission denied | make it readable, or leave it out with `exclude`"
    )


WALK = """
import sys
from pathlib import Path
from bangerbuild.errors import SourceError
from bangerbuild.formats.directory import walk_directory
from bangerbuild.formats.hostentry import TreeRules
try:
    for entry in walk_directory(Path(sys.argv[1]), TreeRules(exclude=tuple(sys.argv[2:]))):
        entry.content and entry.content.read()
    print("ok")
except SourceError as err:
    print(err.brief, "|", err.hint)
"""


def by_unprivileged(top: Path, exclude: str | None = None) -> str:
    """What a user without privileges meets; root, who may read everything, lays them down first."""
    command = [sys.executable, "-c", WALK, str(top), *([exclude] if exclude else [])]
    if os.geteuid() == 0:
        command = [need("setpriv", "util-linux"), "--bounding-set=-all", "--inh-caps=-all", *command]
    walked = subprocess.run(
        command, check=True, capture_output=True, text=True, env=os.environ | python_path()
    )
    return walked.stdout.strip()


def python_path() -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, sys.path)])}


def test_a_file_that_vanishes_before_it_is_read_is_told(top: Path) -> None:
    (top / "file").write_text("x")
    walk = walk_directory(top, ALL)
    next(walk)
    entry = next(walk)
    (top / "file").unlink()

    assert entry.content is not None
    with pytest.raises(SourceError, match="/top/file' vanished or was replaced while it was read"):
        entry.content.read()


def test_a_file_that_vanishes_during_the_walk_is_told(top: Path) -> None:
    (top / "a").touch()
    (top / "b").touch()
    walk = walk_directory(top, ALL)
    next(walk)
    (top / "b").unlink()
    next(walk)

    with pytest.raises(SourceError, match="/top/b' vanished"):
        next(walk)


@pytest.mark.parametrize("change", ["replaced", "symlink", "longer", "shorter", "same size"])
def test_a_file_that_changes_before_it_is_read_is_told(top: Path, change: str) -> None:
    path = top / "file"
    path.write_text("content")
    os.utime(path, (1, 1))
    content = read_file(top)
    if change in {"replaced", "symlink"}:
        path.rename(top.parent / "moved")
    if change == "symlink":
        path.symlink_to("../moved")
    else:
        path.write_text({"longer": "content!", "shorter": "con"}.get(change, "CONTENT"))

    with pytest.raises(SourceError, match=r"(changed|vanished or was replaced) while it was read"):
        content.read()


@pytest.mark.parametrize("size", [100, 3 << 20, 5 << 20])
def test_a_file_that_changes_while_it_is_read_is_told(top: Path, size: int) -> None:
    path = top / "file"
    path.write_bytes(bytes(4 << 20))
    os.utime(path, (1, 1))
    content = read_file(top)
    assert len(content.read(1 << 20)) == 1 << 20
    os.truncate(path, size)

    with pytest.raises(SourceError, match="changed while it was read"):
        content.read()


def test_no_descriptor_stays_open_after_a_walk_or_a_part_of_one(top: Path) -> None:
    for name in ("a/b/c/file", "a/z"):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text("some")
    before = open_descriptors()

    for entry in walk_directory(top, ALL):
        if entry.content:
            entry.content.read(1)
    part = walk_directory(top, ALL)
    reading = next(entry for entry in part if entry.path == "a/b/c/file")
    assert reading.content is not None
    reading.content.read(1)
    assert open_descriptors() > before
    part.close()  # type: ignore[attr-defined] # it is a generator

    assert open_descriptors() == before


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_paths_longer_than_the_kernel_takes_are_walked(top: Path) -> None:
    fd = os.open(top, os.O_RDONLY)
    for _ in range(30):
        os.mkdir("d" * 200, dir_fd=fd)
        deeper = os.open("d" * 200, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = deeper
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.close(fd)

    assert max(map(len, by_path(top))) == 30 * 201 + 4


def test_a_top_that_is_missing_or_no_directory_is_told_as_it_was_written(top: Path) -> None:
    (top / "file").touch()

    with pytest.raises(SourceError, match=r"'~/no' is not there"):
        list(walk_directory(top / "no", ALL, written="~/no"))
    with pytest.raises(SourceError, match=r"'~/file' is no directory"):
        list(walk_directory(top / "file", ALL, written="~/file"))


def test_messages_name_what_is_below_the_top_as_it_was_written(top: Path) -> None:
    (top / "a").mkdir()
    walk = walk_directory(top, ALL, written="~/skel/")
    next(walk)
    (top / "a").rmdir()

    with pytest.raises(SourceError, match="'~/skel/a' vanished"):
        next(walk)


def test_content_of_an_entry_gone_by_is_refused(top: Path) -> None:
    (top / "file").write_text("x")
    content = [entry.content for entry in walk_directory(top, ALL)][1]

    assert content is not None
    with pytest.raises(ValueError, match="next entry"):
        content.read()


def test_a_single_file_is_an_entry_with_an_empty_path(top: Path) -> None:
    (top / "real").write_text("dot")
    (top / "real").chmod(0o640)
    (top / "link").symlink_to("real")

    entry = read_file_entry(top / "link", TreeRules(mtime_s=5))

    assert (entry.path, entry.type, entry.mode, entry.uid) == ("", EntryType.FILE, 0o640, 0)
    assert (entry.mtime_ns, entry.size_bytes) == (5 * 10**9, 3)
    assert entry.content is not None
    assert entry.content.read() == b"dot"


@pytest.mark.parametrize("name", ["socket", "fifo", ".", "missing"])
def test_a_single_file_that_is_none_is_told(specials: Path, name: str) -> None:
    with pytest.raises(SourceError, match=r"is no regular file|is a directory|is not there"):
        read_file_entry(specials / name, ALL)


def test_a_measured_directory_counts_inodes_names_and_whole_blocks(top: Path) -> None:
    (top / "big").write_bytes(bytes(range(1, 256)) * 100)
    (top / "link").symlink_to("x" * 60)
    (top / "short").symlink_to("x")
    (top / "many").mkdir()
    for number in range(300):
        (top / f"many/{number:030}").hardlink_to(top / "big")

    totals = measure(walk_directory(top, TreeRules(xattrs=False)))

    assert (totals.inodes, totals.directories) == (5, 2)
    assert totals.data_bytes == 7 * 4096 + 4096
    assert totals.directory_bytes == 4096 + 2 * 3 * 4096


NAMES = st.binary(min_size=1, max_size=12).filter(
    lambda name: not {0, 47} & set(name) and name not in {b".", b".."}
)
TREES = st.recursive(
    st.binary(max_size=300), lambda children: st.dictionaries(NAMES, children, max_size=4), max_leaves=10
)


@settings(max_examples=40)
@given(tree=st.dictionaries(NAMES, TREES, max_size=4))
def test_any_tree_is_walked_whole_and_parents_come_first(
    tmp_path_factory: pytest.TempPathFactory, tree: dict[bytes, object]
) -> None:
    place = tmp_path_factory.mktemp("any")
    expected = build(tree, place / "top", "")

    met: dict[str, bytes | None] = {}
    for entry in walk_directory(place / "top", ALL):
        assert not entry.path or entry.path.rpartition("/")[0] in met
        met[entry.path] = entry.content.read() if entry.content else None

    assert met == expected
    shutil.rmtree(place)


def build(tree: object, path: Path, name: str) -> dict[str, bytes | None]:
    if isinstance(tree, bytes):
        path.write_bytes(tree)
        return {name: tree}
    path.mkdir()
    found: dict[str, bytes | None] = {name: None}
    assert isinstance(tree, dict)
    for raw, child in tree.items():
        part = os.fsdecode(raw)
        found |= build(child, path / part, f"{name}/{part}".lstrip("/"))
    return found
