"""The disk is judged by e2fsck, what is joined by the kernel's overlayfs, where a test may mount."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk import checking, deduplication
from bangerbuild.disk.attachment import Drive
from bangerbuild.disk.formats import FORMATS, recognised
from bangerbuild.disk.formats.values import Base, StoredDisk
from bangerbuild.errors import FilesystemError, OtherBaseError
from bangerbuild.tree import ALONE
from tests.disk.desk import Desk
from tests.disk.ext4_tools import assert_clean, debugfs, make_ext4
from tests.disk.filesystems import opened
from tests.disk.formats.content import layers
from tests.disk.overlayfs.joined import kernel_joined
from tests.fakes import EPOCH

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OVERLAY = FORMATS["overlay"]
BASE = "images/debian/abc/rootfs.ext4"
OTHER = "images/other/abc/rootfs.ext4"
MIB = 1 << 20


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    staging = tmp_path / "vms" / "web"
    staging.mkdir(parents=True)
    made = Desk(staging)
    yield made
    made.close()


@pytest.fixture
def base(tmp_path: Path) -> Base:
    path = tmp_path / BASE
    path.parent.mkdir(parents=True)
    make_ext4(path)
    with opened(path) as fs:
        fs.write_file("/image", b"the image's")
        fs.write_file("/gone", b"the image's")
    return Base(path, BASE)


@pytest.fixture
def root(desk: Desk, base: Base) -> StoredDisk:
    return made(desk, base)


def made(desk: Desk, base: Base, size_bytes: int | None = None) -> StoredDisk:
    disk = StoredDisk(desk.staging / "root.upper.ext4", "root.upper.ext4", base)
    OVERLAY.make(base, disk, size_bytes, desk)
    return disk


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("size_bytes", [None, 16 * MIB, 3 << 30])
@pytest.mark.parametrize("shared_bytes", [0, deduplication.MOST_BYTES + 1], ids=["template", "alone"])
def test_layers_are_written_into_a_small_disk_of_its_size(
    desk: Desk, base: Base, tmp_path: Path, size_bytes: int | None, shared_bytes: int
) -> None:
    before = digest(base.path)
    root = made(desk, base, size_bytes)
    written = OVERLAY.fill(root, layers("web", size_bytes=shared_bytes), ALONE, desk)
    assert (written.shared, written.own) == (("alike",), "alike")
    assert OVERLAY.size_of(root.path) == (size_bytes or 1024 * MIB)
    assert_clean(root.path)
    assert root.path.stat().st_blocks * 512 <= 256 << 10
    assert digest(base.path) == before
    with kernel_joined(base.path, root.path, tmp_path) as point:
        assert {name: (point / name).read_text() for name in ("shared", "name", "image")} == {
            "shared": "alike",
            "name": "web",
            "image": "the image's",
        }


def test_it_says_what_it_is_and_what_it_stands_on(root: StoredDisk, base: Base) -> None:
    with root.path.open("rb") as file:
        assert recognised(file.read(4096)) is OVERLAY
    assert OVERLAY.base_of(root.path) == BASE
    assert OVERLAY.base_of(base.path) is None
    OVERLAY.inspect(root, EPOCH)
    others = StoredDisk(root.path, root.name, Base(base.path, OTHER))
    with pytest.raises(OtherBaseError, match="other"):
        OVERLAY.inspect(others, EPOCH)
    with pytest.raises(OtherBaseError, match="other"), OVERLAY.opened(others, epoch=EPOCH, place=ALONE):
        pass


def test_a_guest_that_lost_the_mark_keeps_its_disk(root: StoredDisk) -> None:
    with root.path.open("r+b") as file:
        file.write(bytes(1024))
    OVERLAY.inspect(root, EPOCH)
    with OVERLAY.opened(root, epoch=EPOCH, place=ALONE) as disk:
        assert disk.read("/image") == b"the image's"


def test_a_disk_without_its_directories_is_none_in_good_order(root: StoredDisk) -> None:
    with opened(root.path) as fs:
        fs.remove("/work", recursive=True)
    with pytest.raises(FilesystemError, match=r"^'root\.upper\.ext4' is no upper disk: .* 'work'"):
        OVERLAY.inspect(root, EPOCH)


def test_a_transaction_that_fails_leaves_every_byte_and_one_that_commits_is_read(
    desk: Desk, root: StoredDisk
) -> None:
    OVERLAY.fill(root, layers("web"), ALONE, desk)
    before = digest(root.path)
    with suppress(RuntimeError), OVERLAY.transaction(root, ALONE, EPOCH) as disk:
        disk.write_file("/f", b"new" * 100_000)
        disk.remove("/gone")
        raise RuntimeError
    assert digest(root.path) == before
    with OVERLAY.transaction(root, ALONE, EPOCH) as disk:
        disk.write_file("/f", b"new" * 100_000)
        disk.remove("/gone")
    with OVERLAY.opened(root, epoch=EPOCH, place=ALONE) as disk:
        assert (disk.read("/f"), disk.read("/name"), disk.read("/gone")) == (b"new" * 100_000, b"web", None)
        assert disk.read("/image") == b"the image's"
    assert_clean(root.path)


def test_what_a_guest_wrote_stays_when_the_disk_grows(
    desk: Desk, root: StoredDisk, base: Base, tmp_path: Path
) -> None:
    with kernel_joined(base.path, root.path, tmp_path) as point:
        (point / "theirs").write_bytes(b"precious" * 50_000)
        (point / "gone").unlink()
    with pytest.raises(FilesystemError, match="a disk can't shrink"):
        OVERLAY.grow(root, 32 * MIB, desk)
    OVERLAY.grow(root, 3 << 30, desk)
    assert OVERLAY.size_of(root.path) == 3 << 30
    assert_clean(root.path)
    assert debugfs(root.path, "cat /upper/theirs") == b"precious" * 50_000
    assert OVERLAY.base_of(root.path) == BASE
    with OVERLAY.opened(root, epoch=EPOCH, place=ALONE) as disk:
        assert (disk.stat("/gone"), disk.read("/image")) == (None, b"the image's")
    OVERLAY.grow(root, None, desk)
    assert OVERLAY.size_of(root.path) == 3 << 30


def test_what_is_checked_is_the_disk_and_what_is_read_then_is_both(
    desk: Desk, root: StoredDisk, tmp_path: Path
) -> None:
    room = checking.CheckRoom(tmp_path / "room", checking.Skeletons(tmp_path), EPOCH)
    readable = OVERLAY.check(root, room)
    assert readable.path == root.path
    assert checking.errors_in(readable.path) == ()
    with readable.opened_filesystem(ALONE) as disk:
        assert disk.read("/image") == b"the image's"


def test_a_vm_gets_the_image_read_only_and_then_the_disk_and_an_init_that_joins_them() -> None:
    attachment = OVERLAY.attachment("root.upper.ext4", "../../images/base")
    assert attachment.drives == (Drive("../../images/base", is_read_only=True), Drive("root.upper.ext4"))
    assert (attachment.setup, attachment.refusals, attachment.is_mounted) == (None, {}, False)
    assert attachment.kernel_words == ("init=/sbin/bangerbuild-overlay-init",)
