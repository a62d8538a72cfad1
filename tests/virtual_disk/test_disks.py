"""What copies of virtual disks have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from bangerbuild.virtual_disk.disks import SLICE_BYTES, new_file, slices

if TYPE_CHECKING:
    from pathlib import Path


def test_slices_cover_a_range_without_gaps() -> None:
    assert list(slices(2 * SLICE_BYTES + 512)) == [
        (0, SLICE_BYTES),
        (SLICE_BYTES, SLICE_BYTES),
        (2 * SLICE_BYTES, 512),
    ]
    assert list(slices(0)) == []


def test_a_new_file_is_sparse_private_and_gone_after_an_error(tmp_path: Path) -> None:
    path = tmp_path / "new"
    with new_file(path, 1 << 30):
        pass
    found = path.stat()
    assert (found.st_size, found.st_blocks, found.st_mode & 0o777) == (1 << 30, 0, 0o600)
    path.unlink()
    with pytest.raises(ValueError, match="broken"), new_file(path, 512):
        raise ValueError("broken")
    assert not path.exists()


def test_what_is_there_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("kept")
    with pytest.raises(FileExistsError), new_file(tmp_path / "there", 512):
        pass
    assert (tmp_path / "there").read_text() == "kept"
