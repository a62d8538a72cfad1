from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk import clone, layers
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.disk.formats.values import StoredDisk
from bangerbuild.disk.overlayfs import filling
from bangerbuild.disk.sparse_disk import SparseDisk
from bangerbuild.tree import ALONE
from tests.disk.desk import Desk
from tests.disk.ext4_tools import assert_clean, make_ext4
from tests.disk.filesystems import opened
from tests.disk.formats.content import layers as content
from tests.disk.overlayfs.joined import joined, make_upper, upper_tree

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def lower(tmp_path: Path) -> Path:
    disk = make_ext4(tmp_path / "lower.ext4", size="8M")
    with opened(disk) as fs:
        fs.write_file("/name", b"the image's")
        fs.write_file("/shared", b"the image's")
        fs.write_file("/kept", b"the image's")
    return disk


def test_a_disk_that_is_filled_from_a_template_has_what_is_written_one_by_one(
    lower: Path, tmp_path: Path
) -> None:
    desk = Desk(tmp_path)

    @contextmanager
    def below() -> Iterator[Filesystem]:
        with RawFile(lower) as blocks, Filesystem(blocks) as fs:
            yield fs

    blank = make_upper(tmp_path / "empty.ext4", lower)
    empty = SparseDisk.of_file(blank, blank.stat().st_size, "empty")
    found = {}
    for name in ("web", "db"):
        disk = StoredDisk(make_upper(tmp_path / f"{name}.ext4", lower), f"{name}.ext4")
        new = filling.NewUpper(disk, "key", lambda: nullcontext(empty), below, ALONE)
        written = filling.fill(new, content(name), desk)
        assert (written.shared, written.own) == (("alike",), "alike")
        assert desk.digests[f"{name}.ext4"] == clone.digest(disk.path)
        assert_clean(disk.path)
        with joined(lower, disk.path) as tree:
            assert {path: tree.read(path) for path in ("/name", "/shared", "/kept")} == {
                "/name": name.encode(),
                "/shared": b"alike",
                "/kept": b"the image's",
            }
        found[name] = upper_tree(disk.path)
        alone = make_upper(tmp_path / f"{name}.alone", lower)
        with joined(lower, alone, writable=True, now=desk.epoch) as tree:
            layers.write(tree, content(name))
        assert found[name] == upper_tree(alone)
    assert sorted(found["web"]) == ["upper", "upper/name", "upper/shared"]
