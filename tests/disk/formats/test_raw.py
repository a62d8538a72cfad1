from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk.attachment import Attachment, Drive
from bangerbuild.disk.formats import RAW
from bangerbuild.disk.formats.values import Base, StoredDisk
from bangerbuild.errors import FilesystemError
from bangerbuild.tree import ALONE
from tests.disk.desk import Desk
from tests.disk.ext4_tools import assert_clean, make_ext4
from tests.fakes import EPOCH
from tests.steps.guest_disks import MIB, filesystem_bytes, label, precious, write_precious

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def stored(path: Path) -> StoredDisk:
    return StoredDisk(path, path.name)


@pytest.mark.parametrize("options", [("-t", "ext2"), ("-t", "ext3"), ("-O", "^resize_inode"), ("-b", "1024")])
def test_disks_of_other_makers_grow_too(desk: Desk, options: tuple[str, ...]) -> None:
    path = make_ext4(desk.staging / "disk.ext4", *options)
    before = write_precious(path)
    RAW.grow(stored(path), 256 * MIB, desk)
    assert filesystem_bytes(path) == 256 * MIB
    assert precious(path) == before


def test_a_disk_is_taken_over_as_it_is_where_size_and_label_are_right(desk: Desk) -> None:
    path = make_ext4(desk.staging / "disk.ext4", "-L", "work")
    before = path.read_bytes()
    RAW.grow(stored(path), 64 * MIB, desk, label="work")
    assert path.read_bytes() == before


def test_a_disk_of_any_size_and_label_is_taken_where_none_are_declared(desk: Desk) -> None:
    path = make_ext4(desk.staging / "disk.ext4", "-L", "mine")
    before = path.read_bytes()
    RAW.grow(stored(path), None, desk)
    assert path.read_bytes() == before


def test_a_label_is_all_that_changes_of_a_disk_taken_over(desk: Desk) -> None:
    path = make_ext4(desk.staging / "disk.ext4", "-L", "mine")
    before = write_precious(path)
    RAW.grow(stored(path), 64 * MIB, desk, label="data")
    assert label(path) == "data"
    assert precious(path) == before


def test_a_disk_that_would_have_to_shrink_is_refused_untouched(desk: Desk) -> None:
    path = make_ext4(desk.staging / "disk.ext4")
    before = path.read_bytes()
    with pytest.raises(FilesystemError, match="a disk can't shrink") as caught:
        RAW.grow(stored(path), 32 * MIB, desk, label="data")
    assert caught.value.hint == "give it at least that size in the manifest, or move the file away"
    assert path.read_bytes() == before


def test_a_disk_cut_short_is_refused(desk: Desk) -> None:
    path = make_ext4(desk.staging / "disk.ext4")
    with path.open("r+b") as file:
        file.truncate(32 * MIB)
    with pytest.raises(FilesystemError, match=r"'disk\.ext4' is cut short"):
        RAW.grow(stored(path), 64 * MIB, desk)


def test_a_root_is_a_clone_of_its_image(desk: Desk) -> None:
    image = make_ext4(desk.staging / "image.ext4")
    before = write_precious(image)
    RAW.make(Base(image, "image.ext4"), StoredDisk(desk.staging / "root.ext4", "root.ext4"), None, desk)
    assert precious(desk.staging / "root.ext4") == before


def test_a_root_is_grown_to_its_size(desk: Desk) -> None:
    image = make_ext4(desk.staging / "image.ext4")
    before = write_precious(image)
    root = desk.staging / "root.ext4"
    RAW.make(Base(image, "image.ext4"), StoredDisk(root, "root.ext4"), 128 * MIB, desk)
    assert filesystem_bytes(root) == root.stat().st_size == 128 * MIB
    assert precious(root) == before


def test_a_root_smaller_than_its_image_is_refused(desk: Desk) -> None:
    image = make_ext4(desk.staging / "image.ext4")
    with pytest.raises(FilesystemError, match="is too small for its image"):
        RAW.make(
            Base(image, "image.ext4"), StoredDisk(desk.staging / "root.ext4", "root.ext4"), 32 * MIB, desk
        )
    assert not (desk.staging / "root.ext4").exists()


def test_a_vmm_gets_the_file_itself() -> None:
    assert RAW.attachment("root.ext4", "../image.ext4") == Attachment((Drive("root.ext4"),))


def test_a_transaction_that_fails_leaves_the_disk_as_it_was(desk: Desk) -> None:
    path = make_ext4(desk.staging / "disk.ext4")
    before = path.read_bytes()
    with suppress(RuntimeError), RAW.transaction(stored(path), ALONE, EPOCH) as disk:
        disk.write_file("/f", b"new")
        raise RuntimeError
    assert path.read_bytes() == before
    with RAW.transaction(stored(path), ALONE, EPOCH) as disk:
        disk.write_file("/f", b"new")
    assert_clean(path)
    with RAW.opened(stored(path), epoch=EPOCH, place=ALONE) as disk:
        assert disk.read("/f") == b"new"
