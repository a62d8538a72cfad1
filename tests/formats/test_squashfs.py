"""squashfs images: what mksquashfs packs comes out, and what is damaged is told by name."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import SourceError, ToolError
from bangerbuild.formats.limits import UnpackLimits
from bangerbuild.formats.squashfs import open_squashfs
from bangerbuild.host import process
from tests.formats.cpiomaking import make_squashfs
from tests.need import need

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    need("sqfs2tar", "squashfs-tools-ng")
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


def test_a_bomb_is_refused_by_its_limit(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="unpacks to more than 4 MiB"):
        read(make_squashfs(tree, tmp_path / "a.sqfs"), UnpackLimits(4 * MIB))


def test_it_may_be_left_before_its_end(tree: Path, tmp_path: Path) -> None:
    path = make_squashfs(tree, tmp_path / "a.sqfs")
    with open_squashfs(path, written="a.sqfs") as entries:
        assert next(entries).path == ""
    assert not process.RUNNING


def test_a_host_without_the_program_is_told_its_package(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_squashfs(tree, tmp_path / "a.sqfs")
    monkeypatch.setattr(process, "SEARCH_PATH", str(tmp_path))
    with pytest.raises(ToolError, match="'sqfs2tar' is not installed") as caught:
        read(path)
    assert caught.value.hint == "apt install squashfs-tools-ng"
