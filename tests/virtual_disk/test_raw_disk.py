"""Raw disks: a range of one becomes a file of its own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from bangerbuild.errors import FilesystemError, SourceError
from bangerbuild.formats.limits import Budget, UnpackLimits
from bangerbuild.virtual_disk import raw_disk
from bangerbuild.virtual_disk.raw_disk import RawDisk
from tests.virtual_disk.making import MIB, budget, starts

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A disk of 16 MiB: data, written zeros and a hole."""
    path = tmp_path / "disk"
    with path.open("wb") as file:
        os.pwrite(file.fileno(), b"a" * MIB, 0)
        os.pwrite(file.fileno(), bytes(4 * MIB), 4 * MIB)
        os.pwrite(file.fileno(), b"b" * 5000, 8 * MIB + 100)
        os.truncate(path, 16 * MIB)
    return path


def test_a_range_is_copied_with_holes_for_its_zeros(written: Path, tmp_path: Path) -> None:
    told: list[int] = []
    with RawDisk(written, "disk") as disk:
        disk.copy(MIB // 2, 12 * MIB, tmp_path / "out", budget=budget(), progress=told.append)
    out = tmp_path / "out"
    assert out.read_bytes() == written.read_bytes()[MIB // 2 :][: 12 * MIB]
    assert out.stat().st_blocks * 512 <= MIB
    assert told == [12 * MIB]


def test_a_filesystem_is_taken_out_of_a_disk(debian: Path, root: Path, tmp_path: Path) -> None:
    with RawDisk(debian, "disk") as disk:
        size = root.stat().st_size
        disk.copy(starts(debian)[1], size, tmp_path / "out", budget=budget(), progress=lambda _: None)
    assert (tmp_path / "out").read_bytes() == root.read_bytes()


def test_data_beyond_the_budget_is_refused_and_leaves_no_file(written: Path, tmp_path: Path) -> None:
    small = Budget(UnpackLimits(MIB // 2), 1, "disk")
    with RawDisk(written, "disk") as disk, pytest.raises(SourceError, match="unpacks to more than 512 KiB"):
        disk.copy(0, 16 * MIB, tmp_path / "out", budget=small, progress=lambda _: None)
    assert not (tmp_path / "out").exists()


def test_a_range_beyond_the_end_is_refused(written: Path, tmp_path: Path) -> None:
    with RawDisk(written, "disk") as disk, pytest.raises(FilesystemError, match="'disk' ends before byte"):
        disk.copy(8 * MIB, 9 * MIB, tmp_path / "out", budget=budget(), progress=lambda _: None)
    assert not (tmp_path / "out").exists()


def test_a_file_of_ours_gives_back_what_was_copied(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(raw_disk, "slices", lambda _length: iter([(0, 8 * MIB), (8 * MIB, 8 * MIB)]))
    before = written.read_bytes()
    with RawDisk(written, "disk", is_ours=True) as disk:
        disk.copy(0, 16 * MIB, tmp_path / "out", budget=budget(), progress=lambda _: None)
    assert (tmp_path / "out").read_bytes() == before
    assert written.stat().st_blocks == 0
