"""What a format gets for nothing once it says how its bytes are found; the toy of these tests is one."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from bangerbuild.disk import checking
from bangerbuild.disk.formats.values import Base, StoredDisk
from bangerbuild.errors import FilesystemError
from bangerbuild.tree import ALONE, DiskMount
from tests.disk.desk import Desk
from tests.disk.ext4_tools import assert_clean, change_superblock, debugfs, make_ext4
from tests.disk.formats.toy import HEADER, Toy, unpacked, write
from tests.disk.journals import Log, blocks_of
from tests.fakes import EPOCH
from tests.steps.guest_disks import as_guest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TOY = Toy()


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A filesystem with one file."""
    path = make_ext4(tmp_path / "raw.ext4", "-O", "^metadata_csum", size="16M")
    with as_guest(path) as disk:
        disk.write_file("/f", b"o" * 4096)
    return path


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def toy_of(raw: Path) -> StoredDisk:
    """A toy that holds what a raw disk does."""
    target = raw.with_name("disk.toy")
    target.unlink(missing_ok=True)
    write(raw, target)
    return StoredDisk(target, "vms/web/root.toy")


def judged(disk: StoredDisk) -> Path:
    """The ext4 in it, for other programs."""
    path = unpacked(disk.path, disk.path.with_name("judged.ext4"))
    assert_clean(path)
    return path


def test_it_is_read_and_paths_are_the_guests(raw: Path) -> None:
    with TOY.opened(toy_of(raw), epoch=EPOCH, place=DiskMount("/data")) as disk:
        assert disk.read("/data/f") == b"o" * 4096


def test_a_transaction_is_whole_or_not_at_all(raw: Path) -> None:
    toy = toy_of(raw)
    before = toy.path.read_bytes()
    with suppress(RuntimeError), TOY.transaction(toy, ALONE, EPOCH) as disk:
        disk.write_file("/new", b"x")
        raise RuntimeError
    assert toy.path.read_bytes() == before
    with TOY.transaction(toy, ALONE, EPOCH) as disk:
        disk.write_file("/new", b"x")
    assert debugfs(judged(toy), "cat /new") == b"x"
    assert toy.path.read_bytes().startswith(HEADER)


def test_a_new_disk_is_written_as_it_is(raw: Path, desk: Desk) -> None:
    toy = toy_of(raw)
    with TOY.opened_to_write(toy, ALONE, desk) as disk:
        disk.write_file("/new", b"x")
    assert debugfs(judged(toy), "cat /new") == b"x"


def journaled(raw: Path) -> None:
    """A guest was killed that had changed the file."""
    Log(raw).add({blocks_of(raw, "/f")[0]: b"n" * 4096})


def test_what_a_killed_guest_left_is_read_before_it_is_replayed(raw: Path) -> None:
    journaled(raw)
    toy = toy_of(raw)
    before = toy.path.read_bytes()
    with TOY.opened(toy, epoch=EPOCH, place=ALONE) as disk:
        assert disk.read("/f") == b"n" * 4096
    assert toy.path.read_bytes() == before


def test_a_journal_is_replayed_where_the_disk_lies(raw: Path, desk: Desk) -> None:
    journaled(raw)
    toy = toy_of(raw)
    inode = toy.path.stat().st_ino
    TOY.replay(toy, desk)
    assert debugfs(judged(toy), "cat /f") == b"n" * 4096
    assert toy.path.stat().st_ino == inode
    assert not (desk.staging / "merged.ext4").exists()


def test_a_disk_without_a_journal_to_replay_is_not_touched(raw: Path, desk: Desk) -> None:
    toy = toy_of(raw)
    before = toy.path.read_bytes()
    TOY.replay(toy, desk)
    assert toy.path.read_bytes() == before


def damaged_journal(raw: Path) -> None:
    journaled(raw)
    log = Log(raw)
    log.superblock(x4=2)


def test_a_damaged_journal_is_an_error_or_a_warning_that_it_may_be_old(raw: Path) -> None:
    damaged_journal(raw)
    toy = toy_of(raw)
    with pytest.raises(FilesystemError, match="journal"), TOY.opened(toy, epoch=EPOCH, place=ALONE):
        pass
    warnings: list[str] = []
    with TOY.opened(toy, epoch=EPOCH, place=ALONE, warn=warnings.append) as disk:
        assert disk.read("/f") == b"o" * 4096
    (warning,) = warnings
    assert warning.endswith("what is read here may be old")
    assert "vms/web/root.toy" in warning


@pytest.mark.parametrize(
    "damage", [lambda raw: change_superblock(raw, state=2), lambda raw: raw.write_bytes(bytes(1 << 20))]
)
def test_what_keeps_it_from_use_is_told_by_its_name(raw: Path, damage: Callable[[Path], object]) -> None:
    TOY.inspect(toy_of(raw), EPOCH)
    damage(raw)
    with pytest.raises(FilesystemError, match=r"'vms/web/root\.toy'"):
        TOY.inspect(toy_of(raw), EPOCH)


def test_a_file_that_is_none_of_the_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.toy").write_bytes(bytes(1 << 20))
    with pytest.raises(FilesystemError, match="is no toy"):
        TOY.inspect(StoredDisk(tmp_path / "x.toy", "x.toy"), EPOCH)


@pytest.mark.parametrize("leaves_journal", [False, True])
def test_e2fsck_gets_a_copy_that_is_replayed(raw: Path, tmp_path: Path, *, leaves_journal: bool) -> None:
    if leaves_journal:
        journaled(raw)
    toy = toy_of(raw)
    before = toy.path.read_bytes()
    (tmp_path / "room").mkdir()
    readable = TOY.check(toy, checking.CheckRoom(tmp_path / "room", checking.Skeletons(tmp_path), EPOCH))
    assert_clean(readable.path)
    assert debugfs(readable.path, "cat /f") == (b"n" if leaves_journal else b"o") * 4096
    assert toy.path.read_bytes() == before


def test_its_size_is_made_and_grown_through_a_raw_copy(raw: Path, desk: Desk) -> None:
    toy = StoredDisk(desk.staging / "root.toy", "root.toy")
    TOY.make(Base(raw, "base.ext4"), toy, None, desk)
    TOY.grow(toy, 32 << 20, desk)
    assert TOY.size_of(toy.path) == 32 << 20
    assert debugfs(judged(toy), "cat /f") == b"o" * 4096
