"""The judge of the others: two trees that differ in anything are told apart."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.content.survey import differences, survey

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def plant(top: Path) -> Path:
    top.mkdir()
    (top / "file").write_bytes(b"data" * 5000)
    (top / "other").write_bytes(b"data" * 5000)
    os.link(top / "file", top / "link")
    (top / "symlink").symlink_to("file")
    (top / "directory").mkdir()
    with (top / "sparse").open("wb") as sparse:
        sparse.truncate(1 << 30)
        os.pwrite(sparse.fileno(), b"x", 1 << 29)
    for path in (*top.iterdir(), top):
        os.utime(path, ns=(0, 1), follow_symlinks=False)
    return top


def rewrite(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    os.utime(path, ns=(0, 1))


def shorten(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)
    os.utime(path, ns=(0, 1))


def link_to_another(path: Path) -> None:
    path.unlink()
    os.link(path.parent / "other", path)


def lead_elsewhere(path: Path) -> None:
    path.unlink()
    path.symlink_to("othr")
    os.utime(path, ns=(0, 1), follow_symlinks=False)


CHANGES: dict[str, Callable[[Path], object]] = {
    "missing": lambda top: (top / "directory").rmdir(),
    "extra": lambda top: (top / "new").touch(),
    "mode": lambda top: (top / "file").chmod(0o600),
    "mtime_ns": lambda top: os.utime(top / "symlink", ns=(0, 2), follow_symlinks=False),
    "digest": lambda top: rewrite(top / "other", b"data" * 4999 + b"dat."),
    "size_bytes": lambda top: shorten(top / "sparse"),
    "target": lambda top: lead_elsewhere(top / "symlink"),
    "first_name": lambda top: link_to_another(top / "link"),
    "names": lambda top: (top / "another").hardlink_to(top / "other"),
}


def test_equal_trees_are_equal_and_holes_are_data(tmp_path: Path) -> None:
    one, two = plant(tmp_path / "one"), plant(tmp_path / "two")
    os.posix_fallocate((fd := os.open(two / "sparse", os.O_RDWR)), 0, 1 << 20)
    os.close(fd)
    os.utime(two / "sparse", ns=(0, 1))
    assert differences(survey(one), survey(two)) == []


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_found(tmp_path: Path, change: str) -> None:
    one, two = plant(tmp_path / "one"), plant(tmp_path / "two")
    CHANGES[change](two)
    assert any(change in line for line in differences(survey(one), survey(two)))
