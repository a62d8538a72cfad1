from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk import deduplication
from bangerbuild.disk.attachment import Drive
from bangerbuild.disk.blocks import RawFile
from bangerbuild.disk.formats import FORMATS
from bangerbuild.disk.formats.values import Base, StoredDisk
from bangerbuild.disk.snapshot_store import SnapshotStore
from bangerbuild.errors import FilesystemError, OtherBaseError, OverlayError
from bangerbuild.tree import ALONE
from tests.disk.desk import Desk
from tests.disk.ext4_tools import assert_clean, debugfs, make_ext4, merge
from tests.disk.formats.content import layers
from tests.fakes import EPOCH
from tests.steps.guest_disks import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


SNAPSHOT = FORMATS["snapshot"]
OTHER = "images/other/rootfs.ext4"


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.close()


@pytest.fixture
def base(desk: Desk) -> Base:
    return Base(make_ext4(desk.staging / "image.ext4"), "images/debian/rootfs.ext4")


@pytest.fixture
def root(desk: Desk, base: Base) -> StoredDisk:
    """A new, empty one."""
    disk = StoredDisk(desk.staging / "root.cow", "root.cow", base)
    SNAPSHOT.make(base, disk, None, desk)
    return disk


@contextmanager
def merged(desk: Desk, root: StoredDisk) -> Iterator[Path]:
    assert root.base is not None
    target = desk.staging / "judged.ext4"
    with RawFile(root.base.path) as under, SnapshotStore(under, root.path) as store:
        yield merge(root.base.path, store, target)
    target.unlink()


def test_its_device_is_set_up_as_root_and_given_to_the_vmm() -> None:
    attachment = SNAPSHOT.attachment("root.cow", "../image.ext4")
    assert (attachment.drives, attachment.about) == ((Drive("root.dev"),), "a snapshot of its image")
    assert attachment.setup is not None
    assert attachment.setup.needs_root


def test_layers_are_written_and_say_what_they_returned(desk: Desk, root: StoredDisk) -> None:
    written = SNAPSHOT.fill(root, layers("web"), ALONE, desk)
    assert (written.shared, written.own) == (("alike",), "alike")
    with merged(desk, root) as disk:
        assert_clean(disk)
        assert (debugfs(disk, "cat /shared"), debugfs(disk, "cat /name")) == (b"alike", b"web")


def test_what_is_too_much_to_share_gives_the_same_content(desk: Desk, root: StoredDisk) -> None:
    SNAPSHOT.fill(root, layers("web", size_bytes=deduplication.MOST_BYTES + 1), ALONE, desk)
    assert desk.digests == {}  # no template was instantiated
    with merged(desk, root) as disk:
        assert_clean(disk)
        assert debugfs(disk, "cat /name") == b"web"


def test_a_transaction_and_what_is_read_after_it(desk: Desk, root: StoredDisk) -> None:
    SNAPSHOT.fill(root, layers("web"), ALONE, desk)
    with SNAPSHOT.transaction(root, ALONE, EPOCH) as disk:
        disk.write_file("/f", b"new")
    with SNAPSHOT.opened(root, epoch=EPOCH, place=ALONE) as disk:
        assert (disk.read("/f"), disk.read("/name")) == (b"new", b"web")


def test_it_grows_where_it_lies_and_never_shrinks(desk: Desk, root: StoredDisk) -> None:
    before = SNAPSHOT.size_of(root.path)
    with pytest.raises(FilesystemError, match="a disk can't shrink"):
        SNAPSHOT.grow(root, MIB, desk)
    SNAPSHOT.grow(root, before + MIB, desk)
    assert SNAPSHOT.size_of(root.path) == before + MIB
    SNAPSHOT.inspect(root, EPOCH)


def test_one_that_was_made_on_another_image_is_refused_by_name(root: StoredDisk, base: Base) -> None:
    moved = StoredDisk(root.path, root.name, Base(base.path, OTHER))
    with pytest.raises(OtherBaseError, match=f"and not on '{OTHER}'") as caught:
        SNAPSHOT.inspect(moved, EPOCH)
    assert caught.value.made_on == base.name


def test_one_that_was_cut_is_refused(root: StoredDisk) -> None:
    os.truncate(root.path, 8)
    with pytest.raises(OverlayError, match="ends before its header does"):
        SNAPSHOT.inspect(root, EPOCH)


def test_one_whose_image_is_not_known_is_refused(root: StoredDisk) -> None:
    with pytest.raises(FilesystemError, match=r"it is not known which image 'root\.cow' stands on"):
        SNAPSHOT.inspect(StoredDisk(root.path, root.name), EPOCH)


def test_its_header_tells_it_from_a_raw_disk(root: StoredDisk, base: Base) -> None:
    assert SNAPSHOT.recognises(root.path.read_bytes()[:4096])
    assert not SNAPSHOT.recognises(base.path.read_bytes()[:4096])


def test_a_store_says_which_image_it_stands_on(root: StoredDisk, base: Base) -> None:
    assert SNAPSHOT.base_of(root.path) == base.name
    with root.path.open("r+b") as file:
        file.seek(16)
        file.write(bytes(8))
    assert SNAPSHOT.base_of(root.path) is None
    assert FORMATS["raw"].base_of(base.path) is None
