"""Labels of files by their paths, on a disk that debugfs reads; more of it in tests/steps/test_labels.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from bangerbuild.tree import DiskMount, EntryType
from tests.disk.ext4_tools import debugfs
from tests.need import need

if TYPE_CHECKING:
    from pathlib import Path

import subprocess


class PathLabels:
    """Each path is its own label; what begins with `/no` has none."""

    attribute = "user.label"

    def __init__(self) -> None:
        self.without: list[str] = []

    def label(self, path: str, kind: EntryType) -> bytes | None:
        return None if path.startswith("/no") else f"{kind.value}:{path}".encode()

    def unknown(self, path: str) -> None:
        self.without.append(path)


def test_every_kind_of_file_is_labelled_by_its_path_without_symlinks(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    subprocess.run([need("mke2fs"), "-q", "-t", "ext4", path, "8M"], check=True)
    labels = PathLabels()
    with RawFile(path, writable=True) as blocks, Filesystem(blocks, writable=True) as disk:
        disk.make_symlink("/link", "real")
        disk.write_file("/no/there", b"", xattrs={"user.label": b"own"})
        disk.label_with(labels)
        disk.write_file("/link/deep/file", b"x")
        disk.make_symlink("/real/symlink", "x")
        disk.write_file("/given", b"x", xattrs={"user.label": b"given"})
        disk.write_file("/no/there", b"x")
        disk.write_file("/no/new", b"x")
        disk.label_with(None)
        disk.write_file("/real/later", b"x")
        disk.label_with(labels)
        disk.set_attributes("/real/later", mode=0o600)
        disk.set_attributes("/given", mode=0o600)
    names = {
        "/real": "directory:/real",
        "/real/deep": "directory:/real/deep",
        "/real/deep/file": "file:/real/deep/file",
        "/real/symlink": "symlink:/real/symlink",
        "/given": "given",
        "/no/there": "own",
        "/real/later": "file:/real/later",
    }
    shown = [debugfs(path, f"ea_get -V {name} user.label").decode().strip() for name in names]
    assert dict(zip(names, shown, strict=True)) == names
    assert labels.without == ["/no/new"]


def test_the_root_of_a_disk_that_is_mounted_somewhere_has_the_label_of_that_place(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    subprocess.run([need("mke2fs"), "-q", "-t", "ext4", path, "8M"], check=True)
    place = DiskMount("/root")
    with RawFile(path, writable=True) as blocks, Filesystem(blocks, writable=True, place=place) as disk:
        disk.label_with(PathLabels())
        disk.write_file("/root/a", b"x")
    shown = [debugfs(path, f"ea_get -V {name} user.label").decode().strip() for name in ("/", "/a")]
    assert shown == ["directory:/root", "file:/root/a"]
