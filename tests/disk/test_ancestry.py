"""Images are built by mke2fs, and disks copied and changed as a guest would change them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk.ancestry import copied_from
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.ext4 import Filesystem
from tests.disk.ext4_tools import clone, make_ext4

if TYPE_CHECKING:
    from pathlib import Path

OTHER = "99999999-2222-3333-4444-555555555555"


def written(path: Path, **files: bytes) -> Path:
    """A file in a disk, for each name."""
    with RawFile(path, writable=True) as blocks, Filesystem(blocks, writable=True, now=1) as disk:
        for name, content in files.items():
            disk.write_file(f"/{name}", content)
    return path


def edited(source: Path, name: str, **files: bytes) -> Path:
    """A copy, with files written into it."""
    clone(source, target := source.with_name(name))
    return written(target, **files)


@pytest.fixture
def images(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Two editions of an image with one UUID, and an image with another."""
    first = written(make_ext4(tmp_path / "first.ext4", size="16M"), release=b"1" * 20000)
    second = edited(first, "second.ext4", release=b"2" * 20000)
    return first, second, make_ext4(tmp_path / "other.ext4", "-U", OTHER, size="16M")


def test_a_disk_is_known_by_its_uuid_whatever_was_written_to_it(images: tuple[Path, Path, Path]) -> None:
    for image in images[1:]:
        disk = edited(image, "disk.ext4", own=b"a guest's" * 5000)
        assert copied_from(disk, images[1:]) == image


def test_of_editions_with_one_uuid_it_is_the_one_that_it_has_the_blocks_of(
    images: tuple[Path, Path, Path],
) -> None:
    for image in images[:2]:
        disk = edited(image, "disk.ext4", own=b"a guest's" * 5000)
        assert copied_from(disk, images) == image
        assert copied_from(disk, images[::-1]) == image


def test_what_cannot_be_told_is_not_guessed(images: tuple[Path, Path, Path], tmp_path: Path) -> None:
    first, _, other = images
    clone(first, tmp_path / "same.ext4")
    disk = edited(first, "disk.ext4", own=b"a guest's")
    assert copied_from(disk, (first, tmp_path / "same.ext4")) is None
    assert copied_from(disk, (other,)) is None
    assert copied_from(disk, ()) is None


@pytest.mark.parametrize("content", [b"", b"\0" * 8192, b"no disk"])
def test_what_is_no_filesystem_is_no_copy(images: tuple[Path, Path, Path], content: bytes) -> None:
    disk = images[0].with_name("disk.ext4")
    disk.write_bytes(content)
    assert copied_from(disk, (*images, disk)) is None
