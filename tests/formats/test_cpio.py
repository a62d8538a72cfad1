"""cpio archives: packed by GNU cpio, and put together so that something is wrong."""

from __future__ import annotations

import gzip
import stat
import tracemalloc
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import SourceError
from bangerbuild.formats.cpio import open_cpio
from bangerbuild.formats.limits import UnpackLimits
from bangerbuild.formats.totals import measure
from tests.formats.cpiomaking import TRAILER, pack_cpio, record

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20
SYMLINK, DIRECTORY, DEVICE = stat.S_IFLNK | 0o777, stat.S_IFDIR | 0o755, stat.S_IFCHR | 0o600


def read(path: Path, data: bytes, limits: UnpackLimits | None = None) -> list[tuple[str, str, bytes]]:
    """The path, type or target, and content of each entry."""
    path.write_bytes(data)
    with open_cpio(path, written="a.cpio", limits=limits or UnpackLimits()) as entries:
        return [
            (entry.path, entry.target or entry.type.value, entry.content.read() if entry.content else b"")
            for entry in entries
        ]


@pytest.mark.parametrize("form", ["newc", "crc"])
def test_what_gnu_cpio_packs_comes_out(tmp_path: Path, form: str) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a").write_bytes(b"content" * 1000)
    (tree / "b").hardlink_to(tree / "a")
    (tree / "link").symlink_to("../x//y")
    found = {
        path: (what, content)
        for path, what, content in read(tmp_path / "x", pack_cpio(tree, tmp_path / "p", form).read_bytes())
    }
    with_content = next(path for path in ("a", "b") if found[path][0] == "file")
    other = "b" if with_content == "a" else "a"
    assert found == {
        "": ("directory", b""),
        with_content: ("file", b"content" * 1000),
        other: (with_content, b""),
        "link": ("../x//y", b""),
    }


@pytest.mark.parametrize("form", ["odc", "bin"])
def test_what_gnu_cpio_packs_in_an_old_form_is_refused_by_name(tmp_path: Path, form: str) -> None:
    (tmp_path / "tree").mkdir()
    with pytest.raises(SourceError, match="of the old") as caught:
        read(tmp_path / "x", pack_cpio(tmp_path / "tree", tmp_path / "p", form).read_bytes())
    assert caught.value.hint == "pack it again, as `cpio --create --format=newc` does"


def test_numbers_are_what_the_header_says_and_content_may_be_left_unread(tmp_path: Path) -> None:
    data = record(b"dev", mode=DEVICE, uid=7, gid=0xFFFFFFFE, mtime=0xFFFFFFFF, own_major=5, own_minor=1)
    (tmp_path / "x").write_bytes(data + record(b"./f", b"abcde") + record(b"/g", b"x") + TRAILER)
    with open_cpio(tmp_path / "x") as entries:
        device, *others = entries
    assert (device.uid, device.gid, device.mode, device.device) == (7, 0xFFFFFFFE, 0o600, (5, 1))
    assert device.mtime_ns == 0xFFFFFFFF * 10**9
    assert [(entry.path, entry.size_bytes) for entry in others] == [("f", 5), ("g", 1)]


def test_inode_numbers_hold_for_one_archive_only(tmp_path: Path) -> None:
    one = record(b"a", b"1", ino=5, nlink=2) + TRAILER
    other = record(b"b", b"2", ino=5, nlink=2) + TRAILER
    assert read(tmp_path / "x", one + bytes(512) + gzip.compress(other)) == [
        ("a", "file", b"1"),
        ("b", "file", b"2"),
    ]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (record(b"../x") + TRAILER, "'a.cpio': '../x' leads out of the tree with '..'"),
        (record(b"a/../../x") + TRAILER, "leads out of the tree with '..'"),
        (record(b"."), "'a.cpio': '.' is the top of the tree and a file"),
        (record(b"x", mode=0o644), "'a.cpio': 'x' is of the unknown type '0'"),
        (record(b"x", uid=0xFFFFFFFF), "has an owner that no filesystem holds"),
        (record(b"x", mode=DEVICE, own_major=0x1000), "has a device number that Linux does not hold"),
        (record(b"x", mode=SYMLINK, size=0xFFFFFFFF), "is a symlink whose text has more than 4095 bytes"),
        (record(b"x", mode=SYMLINK), "is a symlink whose text is not 1 to 4095 bytes"),
        (record(b"x", size=0xFFFFFFFF) + TRAILER, "'a.cpio' ends in the middle of 'x'"),
        (record(b"x", namesize=0), "it has a name of 0 bytes"),
        (record(b"x", namesize=0xFFFFFFFF), "it has a name of 4294967295 bytes"),
        (record(b"x", namesize=1) + TRAILER, "it has a name without an end"),
        (record(b"x\0y"), "has a NUL byte in its name"),
        (record(b"x", b"abc"), "'a.cpio' ends after 'x'"),
        (record(b"x", b"abc", magic=b"070702", check=7) + TRAILER, "has content with another sum"),
        (record(b"n" * 256), "has a name longer than 255 bytes"),
    ],
)
def test_an_archive_that_lies_is_refused(tmp_path: Path, data: bytes, said: str) -> None:
    with pytest.raises(SourceError) as caught:
        read(tmp_path / "x", data)
    assert said in caught.value.brief


@pytest.mark.parametrize("what", ["content", "names", "waiting names", "zeros"])
def test_a_bomb_is_refused_by_its_limit(tmp_path: Path, what: str) -> None:
    bombs = {
        "content": record(b"x", bytes(8 * MIB)),
        "names": b"".join(record(b"%d" % number) for number in range(2000)),
        "waiting names": b"".join(record(b"%d" % number, nlink=2, ino=1) for number in range(2000)),
        "zeros": TRAILER + bytes(8 * MIB),
    }
    packed = gzip.compress(bombs[what] + TRAILER)
    with pytest.raises(SourceError, match="unpacks to more than 4 MiB"):
        read(tmp_path / "x", packed, UnpackLimits(4 * MIB))


def test_a_large_file_is_not_held_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(gzip.compress(record(b"x", bytes(64 * MIB)) + TRAILER))
    tracemalloc.start()
    try:
        with open_cpio(path) as entries:
            for entry in entries:
                while entry.content is not None and entry.content.read(MIB):
                    pass
        assert tracemalloc.get_traced_memory()[1] < 8 * MIB
    finally:
        tracemalloc.stop()


def test_it_is_measured_as_large_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(record(b"x", bytes(5000)) + record(b"d/e", mode=DIRECTORY) + TRAILER)
    with open_cpio(tmp_path / "x") as entries:
        totals = measure(entries)
    assert (totals.data_bytes, totals.directories) == (8192, 3)
