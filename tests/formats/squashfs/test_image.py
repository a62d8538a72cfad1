"""squashfs images: what mksquashfs packs comes out, and what is damaged is told by name."""

from __future__ import annotations

import os
import struct
import threading
import weakref
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import SourceError
from bangerbuild.formats.limits import UnpackLimits
from bangerbuild.formats.squashfs.image import open_squashfs
from tests.formats.cpiomaking import make_squashfs

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    top = tmp_path / "tree"
    (top / "bin").mkdir(parents=True)
    (top / "bin/tool").write_bytes(os.urandom(300_000))
    (top / "bin/tool").chmod(0o4755)
    (top / "bin/same").hardlink_to(top / "bin/tool")
    (top / "link").symlink_to("../x//y")
    (top / "zeros").write_bytes(bytes(8 * MIB))
    top.chmod(0o751)
    return top


def read(path: Path, limits: UnpackLimits | None = None) -> dict[str, tuple[str, int, bytes]]:
    """Target or type, mode and content of each entry by its path."""
    with open_squashfs(path, written="a.sqfs", limits=limits or UnpackLimits()) as entries:
        return {
            entry.path: (
                entry.target or entry.type.value,
                entry.mode,
                entry.content.read() if entry.content else b"",
            )
            for entry in entries
        }


@pytest.mark.parametrize("compression", ["zstd", "xz", "gzip", "lz4"])
def test_each_compression_is_read(tree: Path, tmp_path: Path, compression: str) -> None:
    found = read(make_squashfs(tree, tmp_path / "a.sqfs", "-comp", compression))
    assert set(found) == {"", "bin", "bin/same", "bin/tool", "link", "zeros"}
    assert found[""][:2] == ("directory", 0o751)
    assert found["link"][0] == "../x//y"
    assert found["bin/same"] == ("file", 0o4755, (tree / "bin/tool").read_bytes())
    assert found["bin/tool"][0] == "bin/same"


def test_one_that_is_cut_short_or_damaged_is_told_by_its_name(tree: Path, tmp_path: Path) -> None:
    path = make_squashfs(tree, tmp_path / "a.sqfs")
    whole = path.read_bytes()
    for damaged in (whole[:200], whole[: len(whole) // 2], whole[:4], b"none at all"):
        path.write_bytes(damaged)
        with pytest.raises(SourceError) as caught:
            read(path)
        assert caught.value.brief == "'a.sqfs' can't be read as a squashfs image"
        assert str(tmp_path) not in (caught.value.details or "")
        assert caught.value.hint


def test_damaged_content_is_told_by_the_name_of_its_file(tree: Path, tmp_path: Path) -> None:
    (tree / "bin/tool").write_bytes(b"tool" * 200_000)  # of which each block is compressed
    packed = bytearray((path := make_squashfs(tree, tmp_path / "a.sqfs")).read_bytes())
    packed[100:140] = bytes(40)
    path.write_bytes(packed)
    with pytest.raises(SourceError) as caught:
        read(path)
    assert "'bin/same' is a gzip stream that does not decompress" in (caught.value.details or "")


def test_a_bomb_is_refused_by_its_limit(tree: Path, tmp_path: Path) -> None:
    (tree / "ones").write_bytes(b"1" * (8 * MIB))
    with pytest.raises(SourceError, match="unpacks to more than 4 MiB"):
        read(make_squashfs(tree, tmp_path / "a.sqfs"), UnpackLimits(4 * MIB))


def test_it_may_be_left_before_its_end(tree: Path, tmp_path: Path) -> None:
    path = make_squashfs(tree, tmp_path / "a.sqfs")
    before = threading.active_count()
    with open_squashfs(path, written="a.sqfs") as entries:
        assert next(entries).path == ""
        content = next(entry.content for entry in entries if entry.content)
        assert content.read(10)
    assert threading.active_count() == before


def test_holes_stay_holes(tree: Path, tmp_path: Path) -> None:
    with (tree / "zeros").open("r+b") as file:
        file.seek(3 * MIB + 5)
        file.write(b"here")
        file.truncate(6 * MIB + 7)
    path = make_squashfs(tree, tmp_path / "a.sqfs", "-b", "64K")
    with open_squashfs(path, written="a.sqfs") as entries:
        zeros = next(entry for entry in entries if entry.path == "zeros")
        assert zeros.size_bytes == 6 * MIB + 7
        assert zeros.data_extents is not None
        assert zeros.data_extents[0] == (3 * MIB, 64 << 10)
        assert zeros.content is not None
        assert zeros.content.read(20) == b"\0" * 5 + b"here" + b"\0" * 11


def test_content_that_is_not_read_is_passed_over(tree: Path, tmp_path: Path) -> None:
    """As where a tree is measured, or a reader takes the beginning of a file alone."""
    (tree / "small").write_text("small")
    path = make_squashfs(tree, tmp_path / "a.sqfs")
    with open_squashfs(path, written="a.sqfs") as entries:
        for entry in entries:
            if entry.path == "bin/same":
                assert entry.content is not None
                assert len(entry.content.read(100)) == 100
            if entry.path == "small":
                assert entry.content is not None
                assert entry.content.read() == b"small"


def test_content_that_is_passed_over_is_not_kept(tree: Path, tmp_path: Path) -> None:
    for number in range(20):
        (tree / str(number)).write_text(str(number))
    kept = []
    with open_squashfs(make_squashfs(tree, tmp_path / "a.sqfs"), written="a.sqfs") as entries:
        for entry in entries:
            if entry.content is not None:
                kept.append(weakref.ref(entry.content))
                del entry
                assert sum(one() is not None for one in kept) <= 2


def test_what_other_compressions_and_versions_are_is_said(tree: Path, tmp_path: Path) -> None:
    path = make_squashfs(tree, tmp_path / "a.sqfs")
    whole = path.read_bytes()
    for at, value, said in (
        (20, 3, "compressed with lzo"),
        (20, 9, "unknown number 9"),
        (28, 3, "of version 3.0"),
        (12, 5000, "blocks have 136072 bytes"),
    ):
        path.write_bytes(whole[:at] + value.to_bytes(2, "little") + whole[at + 2 :])
        with pytest.raises(SourceError) as caught:
            read(path)
        assert said in (caught.value.details or "")


def changed(path: Path, old: bytes, new: bytes) -> Path:
    """An image with plain tables, in which something is replaced by as many bytes."""
    data = path.read_bytes()
    assert data.count(old) == 1
    path.write_bytes(data.replace(old, new))
    return path


@pytest.mark.parametrize("name", [b"../x", b"a/bc", b"ab\0c"])
def test_a_name_that_leads_elsewhere_is_refused(tree: Path, tmp_path: Path, name: bytes) -> None:
    (tree / "name").touch()
    path = make_squashfs(tree, tmp_path / "a.sqfs", "-noI", "-noD")
    with pytest.raises(SourceError) as caught:
        read(changed(path, b"name", name))
    assert "no name for a file" in (caught.value.details or "") or "NUL" in (caught.value.details or "")


def test_a_directory_that_is_in_the_tree_twice_is_refused(tmp_path: Path) -> None:
    """It may be above itself, and then the tree has no end."""
    (tmp_path / "tree/one/two").mkdir(parents=True)
    path = make_squashfs(tmp_path / "tree", tmp_path / "a.sqfs", "-noI", "-noD")
    data = path.read_bytes()
    (root,) = struct.unpack_from("<Q", data, 32)
    at = data.index(b"two") - 8
    path.write_bytes(data[:at] + struct.pack("<H", root & 0xFFFF) + data[at + 2 :])
    with pytest.raises(SourceError) as caught:
        read(path)
    assert "twice" in (caught.value.details or "")
