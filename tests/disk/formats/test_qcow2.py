"""Disks are judged by qemu-img, and by e2fsck on what qemu-img makes of them."""

from __future__ import annotations

import hashlib
import os
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk import checking, deduplication
from bangerbuild.disk.formats import FORMATS
from bangerbuild.disk.formats.values import Base, StoredDisk
from bangerbuild.errors import FilesystemError, OtherBaseError, OverlayError
from bangerbuild.tree import ALONE
from tests.disk.desk import Desk
from tests.disk.ext4_tools import assert_clean, debugfs, make_ext4
from tests.disk.formats.content import layers
from tests.disk.qemu_img import checked, converted
from tests.fakes import EPOCH
from tests.need import need
from tests.steps.guest_disks import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator


QCOW2 = FORMATS["qcow2"]
BASE = "images/debian/abc/rootfs.ext4"
OTHER = "images/other/abc/rootfs.ext4"


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
    return Base(make_ext4(path), BASE)


@pytest.fixture
def root(desk: Desk, base: Base) -> StoredDisk:
    """A new, empty one."""
    return made(desk, base)


def made(desk: Desk, base: Base, size_bytes: int | None = None) -> StoredDisk:
    disk = StoredDisk(desk.staging / "root.qcow2", "root.qcow2", base)
    QCOW2.make(base, disk, size_bytes, desk)
    return disk


@contextmanager
def judged(root: StoredDisk) -> Iterator[Path]:
    """The disk as qemu-img reads it, which finds nothing wrong with the file."""
    checked(root.path)
    target = converted(root.path, root.path.with_name("judged.ext4"))
    yield target
    target.unlink()


def filesystem_bytes(root: StoredDisk) -> int:
    """The size of the filesystem on a disk, as dumpe2fs gives it."""
    with judged(root) as disk:
        told = subprocess.run(
            [need("dumpe2fs", "e2fsprogs"), "-h", str(disk)], check=True, capture_output=True, text=True
        ).stdout
    fields = dict(line.split(":", 1) for line in told.splitlines() if ":" in line)
    return int(fields["Block count"]) * int(fields["Block size"])


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("size_bytes", [None, 96 * MIB, 3 << 30])
@pytest.mark.parametrize("shared_bytes", [0, deduplication.MOST_BYTES + 1], ids=["template", "alone"])
def test_layers_are_written_into_a_disk_of_its_size(
    desk: Desk, base: Base, size_bytes: int | None, shared_bytes: int
) -> None:
    before = digest(base.path)
    root = made(desk, base, size_bytes)
    written = QCOW2.fill(root, layers("web", size_bytes=shared_bytes), ALONE, desk)
    assert (written.shared, written.own) == (("alike",), "alike")
    wanted_bytes = size_bytes or base.path.stat().st_size
    assert QCOW2.size_of(root.path) == wanted_bytes
    with judged(root) as disk:
        assert disk.stat().st_size == wanted_bytes
        assert_clean(disk)
        assert (debugfs(disk, "cat /shared"), debugfs(disk, "cat /name")) == (b"alike", b"web")
    assert filesystem_bytes(root) == wanted_bytes
    assert root.path.stat().st_size < MIB
    assert digest(base.path) == before


def test_a_transaction_that_fails_leaves_every_byte_and_one_that_commits_is_read(
    desk: Desk, root: StoredDisk
) -> None:
    QCOW2.fill(root, layers("web"), ALONE, desk)
    before = digest(root.path)
    with suppress(RuntimeError), QCOW2.transaction(root, ALONE, EPOCH) as disk:
        disk.write_file("/f", b"new" * 100_000)
        raise RuntimeError
    assert digest(root.path) == before
    with QCOW2.transaction(root, ALONE, EPOCH) as disk:
        disk.write_file("/f", b"new" * 100_000)
    with QCOW2.opened(root, epoch=EPOCH, place=ALONE) as disk:
        assert (disk.read("/f"), disk.read("/name")) == (b"new" * 100_000, b"web")
    with judged(root) as merged:
        assert_clean(merged)
        assert debugfs(merged, "cat /name") == b"web"


def test_what_a_guest_wrote_stays_when_the_disk_grows(desk: Desk, root: StoredDisk, base: Base) -> None:
    QCOW2.fill(root, layers("web"), ALONE, desk)
    with QCOW2.transaction(root, ALONE, EPOCH) as disk:
        disk.write_file("/theirs", b"precious" * 50_000)
    before = digest(base.path)
    with pytest.raises(FilesystemError, match="a disk can't shrink"):
        QCOW2.grow(root, 32 * MIB, desk)
    QCOW2.grow(root, 700 * MIB, desk)
    assert QCOW2.size_of(root.path) == 700 * MIB
    with judged(root) as merged:
        assert merged.stat().st_size == 700 * MIB
        assert_clean(merged)
        assert debugfs(merged, "cat /theirs") == b"precious" * 50_000
    assert filesystem_bytes(root) == 700 * MIB
    assert root.path.stat().st_size < 4 * MIB
    assert digest(base.path) == before
    assert sorted(path.name for path in root.path.parent.iterdir()) == ["root.qcow2"]


def test_a_base_without_room_for_descriptors_grows_by_its_content(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / BASE
    path.parent.mkdir(parents=True)
    base = Base(make_ext4(path, "-O", "^resize_inode,^meta_bg"), BASE)
    subprocess.run(
        [need("debugfs", "e2fsprogs"), "-w", "-R", "write /etc/passwd passwd", str(path)],
        check=True,
        capture_output=True,
    )
    root = made(desk, base, 40 << 30)
    QCOW2.fill(root, layers("web"), ALONE, desk)
    with judged(root) as merged:
        assert_clean(merged)
        assert debugfs(merged, "cat /passwd") == Path("/etc/passwd").read_bytes()


def test_a_disk_in_order_is_checked_by_its_metadata(desk: Desk, root: StoredDisk, tmp_path: Path) -> None:
    QCOW2.fill(root, layers("web"), ALONE, desk)
    QCOW2.grow(root, 256 * MIB, desk)
    room = tmp_path / "room"
    (room / "skeletons").mkdir(parents=True)
    skeletons = checking.Skeletons(room / "skeletons")
    (room / "copies").mkdir()
    readable = QCOW2.check(root, checking.CheckRoom(room / "copies", skeletons, EPOCH))
    assert checking.errors_in(readable.path) == ()
    with readable.opened_filesystem(ALONE) as disk:
        assert disk.read("/name") == b"web"


def test_one_that_was_made_on_another_image_is_refused_by_name(root: StoredDisk, base: Base) -> None:
    moved = StoredDisk(root.path, root.name, Base(base.path, OTHER))
    with pytest.raises(OtherBaseError, match=f"and not on '{OTHER}'") as caught:
        QCOW2.inspect(moved, EPOCH)
    assert caught.value.made_on == base.name


def test_one_that_was_cut_is_refused(root: StoredDisk) -> None:
    os.truncate(root.path, 8)
    with pytest.raises(OverlayError, match="ends before its header does"):
        QCOW2.inspect(root, EPOCH)


def test_a_root_smaller_than_its_image_is_refused(desk: Desk, base: Base) -> None:
    with pytest.raises(FilesystemError, match="is too small for its image"):
        made(desk, base, 32 * MIB)
    assert not (desk.staging / "root.qcow2").exists()


def test_its_header_names_its_image(root: StoredDisk, base: Base, tmp_path: Path) -> None:
    assert QCOW2.base_of(root.path) == BASE
    (tmp_path / "cut").write_bytes(root.path.read_bytes()[:60])
    assert QCOW2.base_of(tmp_path / "cut") is None


def test_its_header_tells_it_from_a_raw_disk(root: StoredDisk, base: Base) -> None:
    assert QCOW2.recognises(root.path.read_bytes()[:4096])
    assert not QCOW2.recognises(base.path.read_bytes()[:4096])


def test_it_is_read_without_root_by_two_vmms_and_firecracker_is_told_why_not() -> None:
    attachment = QCOW2.attachment("root.qcow2", "../../images/one.ext4")
    (drive,) = attachment.drives
    assert (drive.path, drive.image_type) == ("root.qcow2", "qcow2")
    assert drive.options == {"cloud-hypervisor": {"backing_files": "on"}}
    assert set(attachment.refusals) == {"firecracker"}
